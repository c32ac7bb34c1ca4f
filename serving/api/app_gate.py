"""The listener in each gateway for requests of apps whose runs it has.

It serves the whole API on behalf of a run's caller, and the run's checkpoints and tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import uvicorn
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.failures import as_api_error
from serving.api.http import JsonResponse
from serving.api.http_error import HttpError, status_of
from serving.inference.apps.runs import AppRun, AppRuns, RunOver
from serving.protocol.app_runs import AppToolCall, CheckpointRequest
from serving.protocol.errors import forbidden, invalid, not_found
from serving.store.apps.checkpoints import Checkpoint, Checkpoints, Packed

log = logging.getLogger("headrace.api")

RUN = "headrace.run"
"""Key of a request's scope with its run, which no header can set."""

_CHECKPOINTS, _TOOLS, _BATCHES = "/run/checkpoints", "/run/tools", "/v1/batches"
_SIGN_IN = "/auth/"
_OWN_KEYS = "/v1/me/keys"

MAX_BODY = 32_000_000


class AppGate:
    """Answers requests of apps on a free port of `host`. `serve` is called before the first run."""

    def __init__(self, runs: AppRuns, checkpoints: Checkpoints, host: str) -> None:
        self._runs = runs
        self._checkpoints = checkpoints
        self._host = host
        self._api: ASGIApp | None = None
        self._server: _AppGateServer | None = None
        self._serving: asyncio.Task[None] | None = None

    def serve(self, api: ASGIApp) -> None:
        """Sets the API that is served to runs."""
        self._api = api

    async def start(self) -> None:
        """Starts to listen."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, 0), family=family)
        host, port = listening.getsockname()[:2]
        self._runs.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _AppGateServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Stops listening and closes every connection."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            run = self._run_of(scope)
            async with run.place():
                await self._within(run, scope, receive, send)
        except RunOver:
            await _refuse(_run_over(), scope, receive, send)
        except Exception as e:
            await _refuse(e, scope, receive, send)

    def _run_of(self, scope: Scope) -> AppRun:
        """Returns the run whose token the request has; raises a 401."""
        shown = next((v for n, v in scope["headers"] if n == b"authorization"), b"").decode("latin-1")
        scheme, _, token = shown.partition(" ")
        run = self._runs.find(token) if scheme.lower() == "bearer" else None
        if run is None:
            raise _run_over()
        return run

    async def _within(self, run: AppRun, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == _CHECKPOINTS:
            answer = await run.do(self._of_checkpoints(run, Request(scope, receive)))
            await JsonResponse(answer)(scope, receive, send)
            return
        run.asking += 1
        try:
            if path == _TOOLS:
                answer = await run.do(self._of_tools(run, Request(scope, receive)))
                await JsonResponse(answer)(scope, receive, send)
            elif path == _BATCHES and scope["method"] == "POST":
                raise invalid("Requests of an app end with its run, so it cannot create batches.")
            elif path.startswith(_SIGN_IN):
                raise forbidden("app_cannot_sign_in", "Requests of an app end with its run, so it cannot sign in.")
            elif path.startswith(_OWN_KEYS):
                raise forbidden("app_cannot_use_keys", "Requests of an app end with its run, so it gets no key.")
            else:
                await self._of_api(run, scope, receive, send)
        finally:
            run.asking -= 1

    async def _of_tools(self, run: AppRun, request: Request) -> dict[str, Any]:
        if request.method == "GET":
            return {"tools": [tool.schema for tool in run.tools.tools.values()]}
        call = await _read(request, AppToolCall)
        if call.name not in run.tools.tools:
            raise not_found("tool", "name")
        return {"text": await run.tools.call(call.name, call.arguments)}

    async def _of_api(self, run: AppRun, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the API answer; when the run is over, the API sees a disconnected caller."""
        if self._api is None:
            raise AssertionError("serve() must be called first")
        over = asyncio.create_task(run.over.wait())
        received: asyncio.Task[Message] | None = None

        async def receive_or_end() -> Message:
            nonlocal received
            received = received or asyncio.ensure_future(_as_coroutine(receive))
            await asyncio.wait((received, over), return_when=asyncio.FIRST_COMPLETED)
            if run.over.is_set() or not received.done():
                return {"type": "http.disconnect"}
            message, received = received.result(), None
            return message

        try:
            await self._api({**scope, RUN: run}, receive_or_end, send)
        finally:
            over.cancel()
            if received is not None:
                received.cancel()

    async def _of_checkpoints(self, run: AppRun, request: Request) -> dict[str, Any]:
        asked = await _read(request, CheckpointRequest)
        thread, caller, store = run.thread, run.caller, self._checkpoints
        for each in (asked.get, asked.list, asked.put, asked.writes, asked.delete):
            if each is not None and each.thread != thread.name:
                raise invalid("A run has access only to the checkpoints of its own thread.", "thread")
        if asked.get is not None:
            found = await store.get(caller, thread, asked.get.namespace, asked.get.id)
            return {"checkpoint": _document(found) if found is not None else None}
        if asked.list is not None:
            listed = await store.newest_first(caller, thread, asked.list.namespace, asked.list.before)
            return {"checkpoints": [_document(each) for each in listed]}
        run.checkpointed = True
        if asked.put is not None:
            put, changes, quiet = asked.put, run.changes, not (run.asking or asked.put.namespace)
            await store.put(caller, thread, put.namespace, Checkpoint(put.id, put.parent, put.checkpoint, put.metadata))
            if quiet:  # the nodes that changed something have finished, and are not run again
                run.changes_kept = changes
        elif asked.writes is not None:
            of = asked.writes
            await store.put_writes(caller, thread, of.namespace, of.id, of.task, of.writes)
        else:
            await store.delete(caller, thread)
        return {}


class _AppGateServer(uvicorn.Server):
    """Leaves signals to the process that it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _run_over() -> HttpError:
    return HttpError(401, "invalid_api_key", "The run is over, or there was none.")


async def _refuse(e: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    error = as_api_error(e, "")
    await JsonResponse(orjson.loads(error.body()), status_of(error))(scope, receive, send)


async def _as_coroutine(receive: Callable[[], Awaitable[Message]]) -> Message:
    return await receive()


async def _read(request: Request, model: type[Any]) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise HttpError(413, "request_too_large", f"The request body is larger than {MAX_BODY} bytes.")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as e:
        raise invalid(f"The request of the run is not valid: {e.errors()[0]['msg']}") from None


def _document(found: Checkpoint) -> dict[str, Any]:
    writes: list[tuple[str, str, Packed]] = list(found.writes)
    return {
        "id": found.id,
        "parent": found.parent,
        "checkpoint": found.state,
        "metadata": found.metadata,
        "writes": writes,
    }
