"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. The one place for their names.

`param` is a field path and never the caller's text. Which HTTP status an error has is known to `serving.api` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import orjson

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"
]
"""OpenAI's classes of errors: all but the last are the caller's to mend."""


class ApiError(Exception):
    """An answer that is not the one asked for."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Returns the JSON body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def frame(self) -> bytes:
        """Returns the error as the last frame of an event stream."""
        return b"data: " + self.body() + b"\n\n"


class EngineLost(ApiError):
    """The engine cannot be reached, or was gone before the first byte of its answer: another may be asked.

    One that had been `asked` may have died of the request.
    """

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__("engine_error", message, type="server_error")
        self.asked = asked


class EngineMissing(ApiError):
    """There is no engine of the model now."""

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message, type="server_error", headers={"Retry-After": "5"})


class EngineRefused(ApiError):
    """The engine did nothing, for a reason that is not the caller's."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_error", message, type="server_error")


def may_have_worked(e: BaseException) -> bool:
    """Whether an engine that failed with `e` may have read and written tokens."""
    if isinstance(e, EngineLost):
        return e.asked
    return not isinstance(e, EngineRefused | EngineMissing) and not (
        isinstance(e, ApiError) and e.type != "server_error"
    )


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """The request is well-formed but asks for something impossible."""
    return ApiError(code, message, param=param)


def conflict(message: str) -> ApiError:
    """The object is in a state that does not allow the call, or somebody else was quicker."""
    return ApiError("conflict", message)


def forbidden(code: str, message: str, param: str | None = None) -> ApiError:
    """The caller may not do this."""
    return ApiError(code, message, type="permission_error", param=param)


def not_found(what: str, param: str | None = None) -> ApiError:
    """There is no such object, or it is another tenant's; `param` is the body's field that names it."""
    return ApiError("not_found", f"There is no such {what}.", param=param)


def no_model() -> ApiError:
    """Nothing has that name that the caller may call."""
    return ApiError("model_not_found", "There is no such model.", param="model")


def no_instructions(place: str) -> ApiError:
    """The caller may not give instructions; `place` is where they stand."""
    return forbidden("insufficient_scope", "Rejected: instructions need a key with the scope prompt.", place)


def too_many(message: str, retry_after_s: int = 1) -> ApiError:
    """The gateway or the model is at its bound; the request may be tried again."""
    return rate_limited("overloaded", message, {"Retry-After": str(retry_after_s)})


def rate_limited(code: str, message: str, headers: Mapping[str, str]) -> ApiError:
    """The caller, or all callers together, ask for too much; `headers` say when to ask again."""
    return ApiError(code, message, type="rate_limit_error", headers=headers)


def unavailable(message: str) -> ApiError:
    """Something that the request needs is down."""
    return ApiError("unavailable", message, type="server_error", headers={"Retry-After": "5"})


def upstream(message: str) -> ApiError:
    """The engine failed or broke off."""
    return ApiError("engine_error", message, type="server_error")


def timed_out() -> ApiError:
    """The engine was given its time and did not answer."""
    return ApiError("engine_timeout", "The model's endpoint did not answer in time.", type="server_error")
