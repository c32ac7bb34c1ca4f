"""Reads requests within limits, and writes responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from serving.api.http_error import HttpError
from serving.config import Limits
from serving.protocol.errors import ApiError, invalid
from serving.protocol.validation import validate, validate_supported

M = TypeVar("M", bound=BaseModel)

FORM_OVERHEAD = 65_536
"""Bytes of a body beside its files."""

MAX_FIELDS = 10_000
"""Maximum number of fields of one object in a body."""


class JsonResponse(Response):
    """A JSON body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Returns the encoded body."""
        return content if isinstance(content, bytes) else orjson.dumps(content)


def made_id(response: Response | None) -> str | None:
    """Returns the id of the object that an answer describes, or None if there is no single one."""
    document = orjson.loads(response.body) if isinstance(response, JsonResponse) else None
    id = document.get("id") if isinstance(document, dict) else None
    return id if isinstance(id, str) else None


async def read_body(request: Request, limits: Limits) -> bytes:
    """Returns the whole body.

    Raises a 413 over `body_bytes`, a 408 when it does not arrive in `body_timeout_s`, and a 415 for a content encoding
    (bodies are never decompressed, so that decompression bombs have no effect).
    """
    check_encoding(request.headers)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise too_large(limits.body_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        with request.scope["headrace"].timeline.during("receive"):
            async with asyncio.timeout(limits.body_timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limits.body_bytes:
                        raise too_large(limits.body_bytes)
                    chunks.append(chunk)
    except TimeoutError:
        raise HttpError(408, "timeout", "The request body did not arrive in time.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def unread(body: bytes, request: Request) -> Request:
    """Returns the request, whose body was read, as if it had not been read."""

    async def receive() -> Message:
        nonlocal body
        given, body = body, b""  # the body is released before the answer is complete
        return {"type": "http.request", "body": given, "more_body": False}

    return Request(request.scope, receive)


def check_encoding(headers: Mapping[str, str]) -> None:
    """Raises a 415 for a compressed body."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "unsupported_encoding", "Compressed request bodies are not accepted.")


def too_large(limit: int) -> ApiError:
    """Returns a 413."""
    return HttpError(413, "request_too_large", f"The request body is larger than {limit} bytes.")


async def read_json(request: Request, model: type[M], limits: Limits, *, drop_unsupported: bool = False) -> M:
    """Returns the body as `model`; raises a 400 that names the first invalid field.

    With `drop_unsupported`, fields that are unknown or not supported are left out, and the answer names them.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(415, "unsupported_media_type", "The request body must be application/json.")
    body = await read_body(request, limits)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("The request body is not valid JSON.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise invalid("The request body must be a JSON object.", code="invalid_json")
    check_shape(document, limits)
    if not drop_unsupported:
        return validate(model, document)
    supported, request.scope["headrace"].dropped = validate_supported(model, document)
    return supported


async def read_form(request: Request, limits: Limits, *, files: int = 1) -> FormData:
    """Returns the form in a request with at most that many files; the caller closes it. Raises the API's errors."""
    check_encoding(request.headers)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HttpError(415, "unsupported_media_type", "The request body must be multipart/form-data.")
    body = _bounded(request, limits.upload_bytes + FORM_OVERHEAD)
    parser = MultiPartParser(request.headers, body, max_files=files, max_fields=8)
    try:
        async with asyncio.timeout(max(limits.body_timeout_s, limits.upload_bytes / 1_000_000)):
            return await parser.parse()
    except TimeoutError:
        raise HttpError(408, "timeout", "The request body did not arrive in time.") from None
    except MultiPartException as e:
        raise invalid(e.message, code="invalid_multipart") from None
    except (UnicodeDecodeError, KeyError, ValueError):
        raise invalid("The multipart body is malformed.", code="invalid_multipart") from None


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        yield chunk


def check_shape(document: Any, limits: Limits) -> None:
    """Raises a 400 when `document` is nested deeper than `json_depth`, has more than `json_containers` objects and
    lists, or an object with more than `MAX_FIELDS` fields: each unknown one is an error, which takes time.
    """
    level, left = [document], limits.json_containers
    for _ in range(limits.json_depth):
        left -= len(level)
        if left < 0:
            message = f"The request body has more than {limits.json_containers} objects and lists."
            raise invalid(message, code="invalid_json")
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict) and len(item) > MAX_FIELDS:
                raise invalid(f"An object of the request body has more than {MAX_FIELDS} fields.", code="invalid_json")
            children = item.values() if isinstance(item, dict) else item
            deeper.extend(c for c in children if isinstance(c, dict | list))
        if not deeper:
            return
        level = deeper
    raise invalid(f"The request body is nested deeper than {limits.json_depth} levels.", code="invalid_json")
