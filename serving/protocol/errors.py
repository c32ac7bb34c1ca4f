"""Errors in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`; the only module that names them.

`param` is a field path: of the caller's text, it contains only the name of an unknown field that has the form of one.
Messages contain the caller's text only as `quoted`. Only `serving.api` knows the HTTP status of an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import orjson

QUOTED = 64
"""Maximum number of characters of the caller's text in a message."""

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"
]
"""OpenAI's types of errors: all but the last are the caller's to correct."""


class ApiError(Exception):
    """An error that the caller gets as the answer."""

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
        self.counted = False
        """Whether it was counted as a failure of a model's endpoint: another endpoint's may enclose it."""

    def body(self) -> bytes:
        """Returns the JSON body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def frame(self) -> bytes:
        """Returns the error as the last frame of an event stream."""
        return b"data: " + self.body() + b"\n\n"


class EngineLost(ApiError):
    """The engine cannot be reached, or was lost before the first byte of its answer: another may be tried.

    One that had been `asked` may have crashed because of the request.
    """

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__("engine_error", message, type="server_error")
        self.asked = asked


class EngineMissing(ApiError):
    """The model has no engine now."""

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message, type="server_error", headers={"Retry-After": "5"})


class EngineRefused(ApiError):
    """The engine did nothing, for a reason that is not the caller's fault."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_error", message, type="server_error")


def may_have_worked(e: BaseException) -> bool:
    """Returns whether an engine that failed with `e` may have read and written tokens."""
    if isinstance(e, EngineLost):
        return e.asked
    return not isinstance(e, EngineRefused | EngineMissing) and not (
        isinstance(e, ApiError) and e.type != "server_error"
    )


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Returns the error for a well-formed request that asks for something impossible."""
    return ApiError(code, message, param=param)


def conflict(message: str) -> ApiError:
    """Returns the error for an object whose state does not allow the call, or that was changed concurrently."""
    return ApiError("conflict", message)


def forbidden(code: str, message: str, param: str | None = None) -> ApiError:
    """Returns the error for a caller without permission."""
    return ApiError(code, message, type="permission_error", param=param)


def not_found(what: str, param: str | None = None) -> ApiError:
    """Returns the error for an object that does not exist or belongs to another tenant; `param` is the body's field
    that names it.
    """
    return ApiError("not_found", f"There is no such {what}.", param=param)


def no_model(name: str) -> ApiError:
    """Returns the error for a name that is not a model that the caller may call."""
    return ApiError("model_not_found", f"There is no model {quoted(name)} that you may call.", param="model")


def wrong_task(name: str, task: str, asked: str) -> ApiError:
    """Returns the error for a model that the caller may call, but that cannot do what is `asked` of it."""
    does, route = _TASKS[task]
    message = f"The model {quoted(name)} {does} and does not {asked}: use it with {route}."
    return ApiError("model_not_found", message, param="model")


_TASKS = {
    "chat": ("answers chats", "/v1/chat/completions or /v1/responses"),
    "embed": ("embeds texts", "/v1/embeddings"),
    "rerank": ("ranks documents", "/v1/rerank"),
}


def quoted(text: str) -> str:
    """Returns the caller's text for a message: one line of at most 64 characters, all of them printable."""
    shown = "".join(c if c.isprintable() and c != "`" else "?" for c in text[:QUOTED])
    return f"`{shown}{'...' if len(text) > QUOTED else ''}`"


def no_instructions(place: str) -> ApiError:
    """Returns the error for a caller who may not give instructions; `place` is their location."""
    return forbidden("insufficient_scope", "Rejected: instructions need a key with the scope prompt.", place)


def too_many(message: str, retry_after_s: int = 1) -> ApiError:
    """Returns the error when the gateway or the model is at its limit; the request may be retried."""
    return rate_limited("overloaded", message, {"Retry-After": str(retry_after_s)})


def busy(what: str, retry_after_s: int = 1) -> ApiError:
    """Returns `too_many` for load that passes by itself; `what` is a clause that says of what there is too much."""
    return too_many(f"{what}; try again soon.", retry_after_s)


def rate_limited(code: str, message: str, headers: Mapping[str, str]) -> ApiError:
    """Returns the error when the caller, or all callers together, exceed a rate limit; `headers` tell when to retry."""
    return ApiError(code, message, type="rate_limit_error", headers=headers)


def unavailable(message: str) -> ApiError:
    """Returns the error when a dependency is unavailable."""
    return ApiError("unavailable", message, type="server_error", headers={"Retry-After": "5"})


def upstream(message: str) -> ApiError:
    """Returns the error when the engine failed or its answer was cut off."""
    return ApiError("engine_error", message, type="server_error")


def timed_out() -> ApiError:
    """Returns the error when the engine did not answer in time."""
    return ApiError("engine_timeout", "The model's endpoint did not answer in time.", type="server_error")
