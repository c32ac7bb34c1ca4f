"""Errors as JSON-RPC's: `{"jsonrpc": "2.0", "id", "error": {"code", "message", "data": {"type", "param", "code"}}}`.

The `data` is what OpenAI's format has beside the message. Source: JSON-RPC 2.0, section 5.1.
"""

from __future__ import annotations

import orjson

from serving.protocol.errors import ApiError

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603


def rpc_code(error: ApiError) -> int:
    """Returns JSON-RPC's code of an error."""
    if error.type == "server_error":
        return INTERNAL_ERROR
    return PARSE_ERROR if error.code == "invalid_json" else INVALID_REQUEST


def data(error: ApiError) -> dict[str, str | None]:
    """Returns what an error says beside its message."""
    return {"type": error.type, "param": error.param, "code": error.code}


def body(error: ApiError, id: int | str | None = None) -> bytes:
    """Returns the JSON body of an error; `id` is the request's, None if it is not known."""
    told = {"code": rpc_code(error), "message": error.message, "data": data(error)}
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "error": told})
