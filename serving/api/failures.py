"""Converts exceptions to the errors that callers get."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException

from serving.api.http_error import HttpError
from serving.metering import charge
from serving.protocol.errors import (
    ApiError,
    conflict,
    forbidden,
    invalid,
    not_found,
    rate_limited,
    too_many,
    unavailable,
)
from serving.quotas.quota import QuotaExceeded
from serving.retrieval.client import RetrievalUnavailable
from serving.retrieval.errors import CollectionNotFound
from serving.security.browser import Forged
from serving.security.keys import AuthenticationError
from serving.security.lockout import LockedOut
from serving.security.person import TokenError
from serving.security.provider import ProviderUnavailable
from serving.security.sign_in_codes import CodeError, NotHere
from serving.store.errors import (
    Conflict,
    InvalidValue,
    LeaseLost,
    NotFound,
    NotOwner,
    PlatformOnly,
    StoreUnavailable,
    TooMany,
)
from serving.telemetry.dashboards.prometheus import PrometheusUnavailable, QueryFailed

log = logging.getLogger("headrace.api")


def as_api_error(e: Exception, request_id: str) -> ApiError:
    """Returns the caller's error for an exception, and logs what the operator must fix."""
    if isinstance(e, ApiError):
        return e
    if isinstance(e, TokenError):
        return HttpError(401, "invalid_token", str(e), headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    if isinstance(e, AuthenticationError):
        return HttpError(401, "invalid_api_key", str(e), headers={"WWW-Authenticate": "Bearer"})
    if isinstance(e, CodeError):
        return HttpError(401, "invalid_sign_in_code", f"Rejected: {e}.")
    if isinstance(e, NotHere):
        return forbidden("sign_in_links_not_here", "Sign-in links do not work from this address: sign in with a key.")
    if isinstance(e, LockedOut):
        headers = {"Retry-After": str(e.retry_after_s)}
        return rate_limited("too_many_invalid_keys", f"Rejected: {e}.", headers)
    if isinstance(e, Forged):
        return forbidden(e.code, str(e))
    if isinstance(e, ProviderUnavailable):
        log.debug("request %s: %s", request_id, e)
        return unavailable("The identity provider does not answer.")
    if isinstance(e, InvalidValue):
        return invalid(e.message, e.param)
    if isinstance(e, NotFound):
        return not_found(e.kind, e.param)
    if isinstance(e, NotOwner):
        return forbidden("not_owner", str(e))
    if isinstance(e, QuotaExceeded):
        return charge.quota_error(e)
    if isinstance(e, PlatformOnly):
        return forbidden("platform_quota", "The platform set this; changing it requires a key with the scope platform.")
    if isinstance(e, Conflict):
        return conflict(str(e))
    if isinstance(e, TooMany):
        return too_many(str(e), retry_after_s=30)
    if isinstance(e, LeaseLost):
        return conflict("Another request with this Idempotency-Key took over.")
    if isinstance(e, CollectionNotFound):
        return unavailable("The assistant's documents are not loaded yet.")
    if isinstance(e, RetrievalUnavailable):
        log.error("request %s: %s", request_id, e)
        return unavailable("Retrieval does not answer.")
    if isinstance(e, PrometheusUnavailable | QueryFailed):  # these routes are the platform's, who may know why
        return unavailable(str(e))
    if isinstance(e, StoreUnavailable):
        log.error("request %s: store unavailable: %s", request_id, e)
        return unavailable("The store cannot be reached or is full.")
    if isinstance(e, HTTPException):
        message = "This route does not support the method." if e.status_code == 405 else "The request cannot be served."
        return HttpError(e.status_code, "method_not_allowed", message, headers=e.headers)
    log.exception("request %s failed", request_id)
    return HttpError(500, "internal_error", f"Something went wrong here; the request's id is {request_id}.")
