"""Access of gateway replicas to each other's streams: a small listener in each, on the address that engines use too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
from aiohttp import web

from serving.api.http_error import HttpError, status_of
from serving.api.resumable.buffer import Buffers
from serving.api.resumable.ids import StreamIds, owner_lost
from serving.protocol.errors import ApiError, not_found
from serving.telemetry import metrics

CONNECT_S = 5
SILENCE_S = 600
"""Time without data after which an owner counts as lost; timeouts of silent engines are shorter."""


class Peers:
    """Reads and stops streams on any replica. `start()` is called before the first request."""

    def __init__(self, buffers: Buffers, ids: StreamIds, host: str) -> None:
        self._buffers = buffers
        self._ids = ids
        self._host = host
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.address = ""

    async def start(self) -> None:
        """Listens on a free port of `host`."""
        app = web.Application()
        app.router.add_get("/{id}", self._serve_stream)
        app.router.add_delete("/{id}", self._serve_stop)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # as many as there are callers
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Stops listening and closes every connection."""
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @asynccontextmanager
    async def following(self, owner: str, id: str, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Returns the same as `Stream.reader`, for a stream at `owner`.

        Raises the same errors, and a 503 when the owner does not answer; the iteration can raise that too.
        """
        try:
            if owner == self.address:
                with self._buffers.get(id).reader(after) as pieces:
                    metrics.child(metrics.stream_resumes, "here").inc()
                    yield pieces
                return
            async with self._request_peer("GET", owner, id, after) as response:
                metrics.child(metrics.stream_resumes, "elsewhere").inc()
                yield _pieces(response)
        except ApiError as e:
            if e.code == "stream_lost":
                metrics.child(metrics.stream_resumes, "lost").inc()
            raise

    async def stop(self, owner: str, id: str, *, keep: bool = False) -> None:
        """Stops a stream at `owner`, and returns once it has ended.

        With `keep` its readers get an end, and it is kept as other ended streams are; otherwise it is dropped. Raises a
        410 or a 503.
        """
        if owner == self.address:
            await self._stop_here(id, keep)
            return
        async with self._request_peer("DELETE", owner, id, keep=keep):
            pass

    async def _stop_here(self, id: str, keep: bool) -> None:
        stream = self._buffers.get(id)
        stream.stopped |= keep
        stream.stop.set()
        await stream.over.wait()
        if not keep:
            self._buffers.forget(id)

    @asynccontextmanager
    async def _request_peer(
        self, method: str, owner: str, id: str, after: int = 0, *, keep: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise AssertionError("start() must be called first")
        headers = {"Authorization": f"Bearer {self._ids.ticket(id)}"}
        try:
            response = await self._session.request(
                method,
                f"http://{owner}/{id}",
                params={"after": after, "keep": int(keep)},
                headers=headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError):
            raise owner_lost() from None
        try:
            if response.status != 200:
                raise await _refusal(response)
            yield response
        finally:
            response.close()

    def _check(self, request: web.Request) -> str:
        """Returns the requested id if the request has a valid ticket; raises a 404."""
        id = request.match_info["id"]
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._ids.is_ticket(shown, id):
            raise not_found("stream")
        return id

    async def _serve_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            with self._buffers.get(self._check(request)).reader(int(request.query["after"])) as pieces:
                await response.prepare(request)
                async for piece in pieces:
                    await response.write(piece)
        except ApiError as e:
            if not response.prepared:
                return _as_answer(e)
            await response.write(e.frame())
        return response

    async def _serve_stop(self, request: web.Request) -> web.StreamResponse:
        try:
            await self._stop_here(self._check(request), request.query.get("keep") == "1")
        except ApiError as e:
            return _as_answer(e)
        return web.Response()


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_any():
            yield piece
    except (aiohttp.ClientError, TimeoutError):
        raise owner_lost() from None


def _as_answer(e: ApiError) -> web.Response:
    return web.Response(status=status_of(e), body=e.body(), content_type="application/json")


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """Returns the owner's error; any other answer means that the owner is gone."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, LookupError, TypeError):
        error = orjson.loads(await response.content.read(65536))["error"]
        if response.status in (400, 410, 429):
            return HttpError(response.status, str(error["code"]), str(error["message"]), param=error["param"])
    return owner_lost()
