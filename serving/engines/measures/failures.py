"""Counts requests that failed in a model's endpoint, by model and cause."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from serving.engines.endpoint import Endpoint
from serving.protocol.errors import ApiError, EngineLost
from serving.telemetry import metrics
from serving.telemetry.failure_causes import FailureCause

_CODES = ("engine_error", "engine_timeout")
"""Error codes of failures of models."""


@contextlib.contextmanager
def counted(endpoint: Endpoint) -> Iterator[None]:
    """Counts the error with which the block fails, if it is one of a model that was not counted before."""
    try:
        yield
    except ApiError as e:
        if e.code in _CODES and not e.counted:
            _count(endpoint, e, _cause_of(e))
        raise


def refused(endpoint: Endpoint, status: int, error: ApiError) -> ApiError:
    """Counts an answer with another status than 200, and returns the error that it became."""
    if (cause := _cause_of_status(status)) is not None:
        _count(endpoint, error, cause)
    return error


def _count(endpoint: Endpoint, error: ApiError, cause: FailureCause) -> None:
    error.counted = True
    if endpoint.served:
        metrics.count_failure(endpoint.served, cause)


def _cause_of(error: ApiError) -> FailureCause:
    if error.code == "engine_timeout":
        return "timeout"
    return "unreachable" if isinstance(error, EngineLost) and not error.asked else "error"


def _cause_of_status(status: int) -> FailureCause | None:
    """Returns why an endpoint answered with `status`; None where the request's caller is the cause."""
    if status == 429:
        return "throttled"
    if status in (401, 403):
        return "unauthorized"
    return None if 200 <= status < 500 else "error"
