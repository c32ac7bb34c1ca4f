"""Why a model's endpoint fails: the values of a label."""

from __future__ import annotations

from typing import Literal, get_args

FailureCause = Literal["throttled", "unauthorized", "unreachable", "timeout", "error"]
"""`throttled` is a 429, `unauthorized` a 401 or 403, `unreachable` no connection, `timeout` no answer in time, `error`
everything else."""
FAILURE_CAUSES: tuple[FailureCause, ...] = get_args(FailureCause)
