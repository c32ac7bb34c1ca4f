"""The OpenAPI 3.1 document, generated from the operations and the request models."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic.json_schema import models_json_schema

from serving.api.anthropic_shape import KEY_HEADER, MESSAGES
from serving.api.idempotency import KEY, MAX_KEY
from serving.api.mcp.shape import MCP
from serving.api.openapi.answers import answer_schema
from serving.api.openapi.links import links, operation_id, path_parameters
from serving.api.operation import Operation
from serving.telemetry.catalogue import GENERATION_ROUTES

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_MESSAGES_ERROR = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": _ERROR["properties"]["error"],
        "request_id": {"type": "string"},
    },
}
_RPC_ERROR = {
    "type": "object",
    "required": ["jsonrpc", "id", "error"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer", "null"]},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
        },
    },
}
_REFUSALS = (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 429, 500, 502, 503, 504)

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": f"the caller's choice, 1 to {MAX_KEY} characters: a repetition with it gets the first one's answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": KEY},
}
_STREAM = {"description": "the id of the stream, if it is resumable", "schema": {"type": "string"}}
_REPLAYED = {
    "description": "whether the answer is that of an earlier request",
    "schema": {"type": "string", "enum": ["true"]},
}


def document(operations: tuple[Operation, ...]) -> dict[str, Any]:
    """Returns the document."""
    bodies = [op.body for op in operations if op.body is not None]
    _, definitions = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for op in operations:
        described = paths.setdefault(op.path, {})[op.method.lower()] = _operation(op)
        if (following := links(op, operations)) and op.statuses:
            described["responses"][str(op.statuses[0])]["links"] = following
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace", "version": api_version(), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {
                **definitions.get("$defs", {}),
                "Error": _ERROR,
                "MessagesError": _MESSAGES_ERROR,
                "McpError": _RPC_ERROR,
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "anthropic_key": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
            },
        },
    }


def _operation(op: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": (op.handler.__doc__ or "").strip().partition("\n")[0],
        "operationId": operation_id(op),
        "security": _security(op),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in path_parameters(op)
        ]
        + [{"name": p.name, "in": "query", "schema": p.schema, "style": p.style} for p in op.query]
        + [{"name": p.name, "in": "header", "schema": p.schema} for p in op.headers]
        + ([_KEY] if op.once is not None else []),
        "responses": {str(status): _response(op, status) for status in (*op.statuses, *_refusals(op))},
    }
    if op.body is not None:
        schema = {"$ref": f"#/components/schemas/{op.body.__name__}"}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif op.upload:
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": op.upload}}}
    return described


def _security(op: Operation) -> list[dict[str, list[str]]]:
    if not op.authenticated:
        return []
    return [{"key": []}, {"anthropic_key": []}] if op.path in MESSAGES else [{"key": []}]


def _refusals(op: Operation) -> tuple[int, ...]:
    return _REFUSALS if op.once is None else tuple(sorted((*_REFUSALS, 422)))


def _response(op: Operation, status: int) -> dict[str, Any]:
    if status == 303:
        return {"description": "where the browser goes", "headers": {"Location": {"schema": {"type": "string"}}}}
    if status == 202:
        return {"description": "the notification is received"}
    if status in op.statuses:
        if op.path.endswith("/content"):
            content: dict[str, Any] = {"application/octet-stream": {"schema": {}}}
        elif op.path.endswith("/export"):
            content = {"application/x-ndjson": {"schema": {}}}
        else:
            content = {"application/json": {"schema": answer_schema(op)}}
        if op.method == "POST" and op.path in GENERATION_ROUTES:
            content["text/event-stream"] = {"schema": {}}
        if op.method == "GET" and op.path == "/v1/responses/{response_id}":
            content["text/event-stream"] = {"schema": {}}
        if op.method == "GET" and op.path == "/v1/streams/{stream_id}":
            content = {"text/event-stream": {"schema": {}}}
        answer: dict[str, Any] = {"description": "the answer", "content": content}
        headers = {"Idempotency-Replayed": _REPLAYED} if op.once is not None else {}
        headers |= {"headrace-stream": _STREAM} if any(p.name == "headrace-resumable" for p in op.headers) else {}
        return answer | ({"headers": headers} if headers else {})
    name = "MessagesError" if op.path in MESSAGES else "McpError" if op.path == MCP else "Error"
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": "an error", "content": {"application/json": {"schema": schema}}}


def api_version() -> str:
    """Returns the version of the API, which is that of the package if it is installed."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0"
