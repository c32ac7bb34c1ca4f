"""`POST /mcp`: the Model Context Protocol over Streamable HTTP, without sessions and without streams."""

from __future__ import annotations

import asyncio
import importlib
from functools import cache, partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import read_json
from serving.api.http_exchange import HttpExchange
from serving.api.mcp.origins import require_known_origin
from serving.api.services import Services
from serving.protocol.errors import ApiError
from serving.protocol.mcp import errors
from serving.protocol.mcp.messages import McpMessage


async def answer(s: Services, request: Request, x: HttpExchange) -> Response:
    """Answers a request of the Model Context Protocol, and acknowledges a notification with a 202."""
    try:
        require_known_origin(request.headers, {s.config.oidc.url, *s.config.cors.origins})
    except ApiError as e:
        s.audit.count("authentication", e.code, x.caller.tenant)
        raise
    message = await read_json(request, McpMessage, s.limits)
    x.error_body = partial(errors.body, id=message.id)
    if message.id is None:
        return Response(status_code=202)  # none has an effect: there are no sessions, and a closed connection cancels
    server = _server() if _server.cache_info().currsize else await asyncio.to_thread(_server)
    response: Response = await server.answer(s, request, x, message)
    return response


@cache
def _server() -> Any:
    """Returns the server, whose SDK takes half a second to import: no gateway does before somebody asks."""
    return importlib.import_module("serving.api.mcp.server")
