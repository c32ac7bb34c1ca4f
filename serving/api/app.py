"""The ASGI application: identifies callers, dispatches requests, formats errors uniformly, and accounts for every
request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api import anthropic_shape, request_log
from serving.api.addresses.absolute_links import absolute_links
from serving.api.app_gate import RUN
from serving.api.audit_recording import audited
from serving.api.background.evaluations import ROUTES
from serving.api.background.line_requests import Answers, answers
from serving.api.failures import as_api_error
from serving.api.http_error import HttpError, status_of
from serving.api.http_exchange import HttpExchange
from serving.api.idempotency import repeatable
from serving.api.mcp import shape as mcp_shape
from serving.api.openai_parameters import refuse
from serving.api.openapi.document import document
from serving.api.operation import Operation
from serving.api.operations import OPERATIONS
from serving.api.operations.page import PAGE_OPERATIONS
from serving.api.request_span import traced
from serving.api.response_headers import DROPPED, completed, over_tls
from serving.api.resumable import detaching
from serving.api.scopes import require_for
from serving.api.services import Services
from serving.config import Cors
from serving.core.ids import new_request_id
from serving.core.principal import Principal
from serving.core.uninterrupted import finish
from serving.inference.apps.runs import AppRun
from serving.metering import charge
from serving.protocol.batches import ENDPOINTS
from serving.protocol.errors import (
    ApiError,
    invalid,
    not_found,
)
from serving.security.browser import Forged
from serving.security.keys import AuthenticationError
from serving.security.lockout import LockedOut
from serving.telemetry import metrics
from serving.telemetry.catalogue import UNKNOWN

log = logging.getLogger("headrace.api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_EXPOSED = ("headrace-stream", "idempotency-replayed", "retry-after", "x-request-id", DROPPED, *charge.HEADERS)

_DOCUMENTATION = ("/docs", "/redoc", "/swagger", "/api", "/api/docs", "/v1", "/v1/docs")
"""Where people look for a description of an API."""

_SHAPES: Mapping[str, Callable[[HttpExchange], None]] = {
    **dict.fromkeys(anthropic_shape.MESSAGES, anthropic_shape.shape),
    mcp_shape.MCP: mcp_shape.shape,
}
"""Paths that speak as another API: their errors do so too, also those that no route raises."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """Headrace's HTTP API as one ASGI callable."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._document: dict[str, Any] | None = None
        served = (*OPERATIONS, *PAGE_OPERATIONS)
        metrics.introduce_routes(op.path for op in served)
        endpoints = [(op, self._endpoint(op)) for op in served]
        lines: dict[str, Answers] = {
            op.path: answers(services, op) for op in OPERATIONS if op.method == "POST" and op.path in ENDPOINTS
        }
        services.batch_runner.serve(lines)
        services.hub.evaluating.serve(
            {op.path: answers(services, op) for op in OPERATIONS if op.method == "POST" and op.path in ROUTES}
        )
        services.app_gate.serve(self)
        # Most requests are to paths without parameters: a look-up by path avoids the router and its wrappers.
        self._named = {(op.method, op.path): endpoint for op, endpoint in endpoints if "{" not in op.path}
        self._router = Router(
            routes=[Route(op.path, endpoint, methods=[op.method]) for op, endpoint in endpoints],
            default=_no_route,
            redirect_slashes=False,
        )
        linking = absolute_links(self._serve, services.config.oidc.url)
        self._entry = _for_pages(linking, services.config.cors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] == "http":
            await self._entry(scope, receive, send)
        elif scope["type"] == "websocket":
            await _no_websocket(scope, receive, send)
        else:
            raise ValueError(f"the API serves HTTP, not {scope['type']}")

    def document(self) -> dict[str, Any]:
        """Returns the OpenAPI document of this API."""
        if self._document is None:
            self._document = document(OPERATIONS)
        return self._document

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        resumable = RUN not in scope and detaching.wants_resumable(scope)  # requests of an app end with its run
        if resumable:
            await self._services.detaching.serve(self._handle, scope, receive, send, lambda: self._stream_id(scope))
        else:
            await self._handle(scope, receive, send, unclear=resumable is None)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, *, unclear: bool = False) -> None:
        given = _request_id(scope)
        x = HttpExchange(
            given or new_request_id(),
            receive,
            send,
            method=scope["method"],
            tls=over_tls(scope),
        )
        if (shape := _SHAPES.get(scope["path"])) is not None:
            shape(x)
        scope["headrace"] = x
        scope["app"] = self  # makes the router raise for a wrong method instead of answering in plain text
        with traced(self._services.tracer, x, scope):
            try:
                if given is None:
                    message = "x-request-id must be 1 to 64 of A-Z a-z 0-9 . _ -"
                    await _fail(x, invalid(message, code="invalid_request_id"))
                elif unclear:
                    await _fail(x, invalid("headrace-resumable must be true or false.", "headrace-resumable"))
                else:
                    await self._answer(x, scope, receive)
            finally:
                x.account()
                request_log.write(x)

    def _stream_id(self, scope: Scope) -> str:
        x: HttpExchange = scope["headrace"]
        return self._services.stream_ids.new(self._services.peers.address, x.caller)

    async def _answer(self, x: HttpExchange, scope: Scope, receive: Receive) -> None:
        try:
            named = self._named.get((scope["method"], scope["path"]))
            if named is None:
                await self._router(scope, receive, x.send)
            else:
                response = await named(Request(scope, receive, x.send))
                await response(scope, receive, x.send)
        except asyncio.CancelledError:
            if not x.disconnected:
                raise
            task = asyncio.current_task()
            if task is not None:  # the disconnect cancelled this, not the server: nobody waits for an answer
                task.uncancel()
        except ClientDisconnect:
            x.disconnected = True
        except Exception as e:
            error = as_api_error(e, x.request_id)
            await _fail(x, _preflight_error(error) if scope["method"] == "OPTIONS" else error)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                # Serve waits for the connections that it knows; streams whose caller is disconnected get the same grace
                # period.
                await self._services.detaching.drain()
                await self._services.close()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    def _endpoint(self, op: Operation) -> Endpoint:
        handler = repeatable(op)

        async def endpoint(request: Request) -> Response:
            x: HttpExchange = request.scope["headrace"]
            x.begin(op.path)
            if op.authenticated:
                x.principal = await self._identify(request, x)
                require_for(op, x.principal, self._services.audit)
            x.timeline.end_of("identify")
            refuse(op, request)
            if op.audited is None:
                response = await handler(self._services, request, x)
            else:  # actions are recorded even if the caller disconnects meanwhile
                response = await finish(audited(op, handler, self._services, request, x))
            return response if response is not None else _Sent()

        return endpoint

    async def _identify(self, request: Request, x: HttpExchange) -> Principal:
        run: AppRun | None = request.scope.get(RUN)
        if run is not None:
            x.run, x.paid = run, True
            return run.caller
        try:
            return await self._services.caller(request)
        except AuthenticationError:
            given = anthropic_shape.authorization_of(request) or request.cookies
            self._services.audit.count("authentication", "invalid" if given else "missing")
            raise
        except LockedOut:
            self._services.audit.count("authentication", "locked_out")
            raise
        except Forged as e:
            self._services.audit.count("authentication", e.code)
            raise


def _for_pages(app: ASGIApp, cors: Cors) -> ASGIApp:
    """Returns `app` with answers that pages of the origins in `cors` may read."""
    if not cors.origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=cors.origins,
        allow_credentials=cors.credentials,
        allow_methods=sorted({op.method for op in OPERATIONS}),
        allow_headers=["*"],  # OpenAI's SDKs send many headers of their own
        expose_headers=_EXPOSED,
    )


class _Sent(Response):
    """Represents a response that the handler has already sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        return


async def _fail(x: HttpExchange, error: ApiError) -> None:
    x.fail(error)
    if x.started:
        await x.write(x.error_frame(error), last=True)
        return
    headers = [(b"content-type", b"application/json")]
    headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
    await x.send({"type": "http.response.start", "status": status_of(error), "headers": headers})
    await x.write(x.error_body(error), last=True)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].rstrip("/") in _DOCUMENTATION:
        raise ApiError(
            "not_found",
            "There is no such route. /docs and /openapi.json describe all routes, and / is the web page.",
        )
    raise not_found("route")


def _preflight_error(error: ApiError) -> ApiError:
    """Returns the error for a request with which a browser asks whether a page of another origin may call a route."""
    if status_of(error) != 405:
        return error
    message = "Pages of other origins may call this API only if the setting headrace:cors names their origins."
    return HttpError(405, error.code, message, headers=error.headers)


async def _no_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Rejects a handshake, which no route supports: with a 404 if the server can send one, else with its 403."""
    await receive()  # the handshake, which must be received before it can be rejected
    error = ApiError("not_found", "There is no such route: WebSockets are not served.")
    metrics.child(metrics.requests_started, UNKNOWN).inc()
    metrics.child(metrics.errors, UNKNOWN, error.code, "refused").inc()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = completed([(b"content-type", b"application/json")], tls=over_tls(scope))
    await send({"type": "websocket.http.response.start", "status": status_of(error), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": error.body()})


def _request_id(scope: Scope) -> str | None:
    """Returns the request's id, or None when the caller sent an invalid one.

    Serve gives every request an id, repeating the caller's if there is one, and adds it to every response.
    """
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            return given if _REQUEST_ID.fullmatch(given) else None
    return new_request_id()
