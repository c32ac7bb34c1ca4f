"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. The one place for their names.

`param` is a field path and never the caller's text.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson


class ApiError(Exception):
    """An answer that is not the one asked for; `status` is the HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """OpenAI's class of the error."""
        if self.status == 401:
            return "authentication_error"
        if self.status == 403:
            return "permission_error"
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

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
        super().__init__(502, "engine_error", message)
        self.asked = asked


class EngineRefused(ApiError):
    """The engine did nothing, for a reason that is not the caller's."""

    def __init__(self, message: str) -> None:
        super().__init__(502, "engine_error", message)


def may_have_worked(e: BaseException) -> bool:
    """Whether an engine that failed with `e` may have read and written tokens."""
    if isinstance(e, EngineLost):
        return e.asked
    return not isinstance(e, EngineRefused) and not (isinstance(e, ApiError) and e.status < 500)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """The request is well-formed but asks for something impossible."""
    return ApiError(400, code, message, param=param)


def not_found(what: str, param: str | None = None) -> ApiError:
    """There is no such object, or it is another tenant's; `param` is the body's field that names it."""
    return ApiError(404, "not_found", f"There is no such {what}.", param=param)


def no_model() -> ApiError:
    """Nothing has that name that the caller may call."""
    return ApiError(404, "model_not_found", "There is no such model.", param="model")


def no_instructions(place: str) -> ApiError:
    """The caller may not give instructions; `place` is where they stand."""
    return ApiError(403, "insufficient_scope", "Rejected: instructions need a key with the scope prompt.", param=place)


def too_many(message: str, retry_after_s: int = 1) -> ApiError:
    """The gateway or the model is at its bound; the request may be tried again."""
    return ApiError(429, "overloaded", message, headers={"Retry-After": str(retry_after_s)})


def unavailable(message: str) -> ApiError:
    """Something that the request needs is down."""
    return ApiError(503, "unavailable", message, headers={"Retry-After": "5"})


def upstream(message: str) -> ApiError:
    """The engine failed or broke off."""
    return ApiError(502, "engine_error", message)
