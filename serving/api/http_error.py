"""The HTTP status of each error."""

from __future__ import annotations

from collections.abc import Mapping

from serving.protocol.errors import ApiError, ErrorType

_BY_CODE = {
    "not_found": 404,
    "model_not_found": 404,
    "conflict": 409,
    "gate_required": 409,
    "engine_error": 502,
    "unavailable": 503,
    "engine_timeout": 504,
}
_BY_TYPE: Mapping[ErrorType, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "server_error": 500,
}
_TYPES = {status: type for type, status in _BY_TYPE.items()}


class HttpError(ApiError):
    """An error specific to HTTP, such as a body of the wrong media type, with its status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        type = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        super().__init__(code, message, type=type, param=param, headers=headers)
        self.status = status


def status_of(error: ApiError) -> int:
    """Returns the HTTP status of an error."""
    if isinstance(error, HttpError):
        return error.status
    return _BY_CODE.get(error.code, _BY_TYPE[error.type])
