"""Errors in Anthropic's format: `{"type": "error", "error": {"type", "message", "param", "code"}, "request_id"}`.

`param` and `code`, which Anthropic lacks, are those of OpenAI's format. Source: Anthropic's API reference (errors).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from serving.protocol.errors import ApiError, ErrorType

_BY_CODE = {
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "request_too_large": "request_too_large",
    "engine_timeout": "timeout_error",
}
_BY_TYPE: Mapping[ErrorType, str] = {"server_error": "api_error"}

_DETAILS = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}
"""By the field: what Anthropic's client needs to go on without it."""


def body(error: ApiError, request_id: str) -> bytes:
    """Returns the JSON body of an error."""
    kind = _BY_CODE.get(error.code) or _BY_TYPE.get(error.type, error.type)
    told = {"type": kind, "message": error.message, "param": error.param, "code": error.code}
    details = {"details": found} if (found := _DETAILS.get(error.param or "")) else {}
    return orjson.dumps({"type": "error", "error": told | details, "request_id": request_id})


def frame(error: ApiError, request_id: str) -> bytes:
    """Returns an error as the last event of a stream."""
    return b"event: error\ndata: " + body(error, request_id) + b"\n\n"
