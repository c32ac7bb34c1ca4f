"""The dashboard proxy: the only access to Ray's dashboard from outside of a head pod (its container is named `door`).

Ray's dashboard submits jobs and deploys code, so it requires Ray's token; KubeRay (1.5) cannot send one. This proxy
adds the token to the few requests that KubeRay's RayService controller makes, and rejects all others. It deploys only
one document, the one mounted beside it, whoever asks:

- A `PUT` of that document is passed on, with the mounted bytes and never the caller's.
- A `PUT` of another one is a 403, and remembered. A mounted ConfigMap lags behind its object by up to a minute and
  KubeRay waits longer and longer between its attempts, so once the remembered document is the mounted one it is applied
  without another request. The mounted document alone is never a reason to deploy it: during an upgrade the old
  cluster's pod sees the new cluster's document too.
- The first document of a cluster waits for its workers, at most `WORKERS_S`: Serve distributes replicas over the
  existing nodes, and moves none later. With only the first pod, one pod's death would end every gateway.

By itself it does one other thing: it has Ray kill actors that are alive on dead nodes (`orphaned_actors`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from serving import orphaned_actors
from serving.core.json_values import equal
from serving.telemetry import logs

APPLICATIONS = "/api/serve/applications/"
"""Path to which Serve's document is put, and from which its state is read."""

READS = {path: path for path in (f"{APPLICATIONS}?api_type=declarative", APPLICATIONS, "/api/gcs_healthz")}
"""Allowed reads: the exact request target, and the path requested from Ray."""

HEALTH = "/healthz"
"""The proxy's own health, for a probe, independent of Ray."""

BODY_BYTES = 8_000_000
"""A ConfigMap has at most 1 MiB; Go encodes some of its characters as six."""

ANSWER_BYTES = 32_000_000
REQUEST_S = 10
"""Timeout of receiving a caller's request, and of Ray's answer to a read."""

DEPLOY_S = 60
"""Timeout of a deployment: Serve's controller starts with the first document, which takes seconds on a busy host."""

WORKERS_S = 120
"""How long the first document waits for workers; then it is deployed on those that are ready."""

CONNECTIONS = 64
POLL_S = 2.0

log = logging.getLogger("headrace.dashboard_proxy")


class ProxyRefusal(Exception):
    """An error of the proxy itself; `status` is the HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> web.Response:
        """Returns the error as JSON."""
        error = {"message": str(self), "code": self.code}
        headers = {"Retry-After": "2"} if self.status == 503 else {}
        return web.json_response({"error": error}, status=self.status, headers=headers)


@dataclass(frozen=True)
class Settings:
    """The base URL of Ray's dashboard, the file with its token, and the file with the document.

    `workers` is the number of workers that the first document waits for.
    """

    ray: str
    token_file: Path
    document: Path
    workers: int = 0


@dataclass(frozen=True)
class ProxyAnswer:
    """An answer of Ray: each caller that waits for the same deployment gets it as a response."""

    status: int
    body: bytes
    content_type: str

    def response(self) -> web.Response:
        """Returns it as the proxy's response."""
        return web.Response(status=self.status, body=self.body, content_type=self.content_type)


class DashboardProxy:
    """Answers requests; `watch` applies a document that was rejected because its mount was outdated."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._wanted: Any = None
        self._applying: tuple[bytes, asyncio.Task[ProxyAnswer]] | None = None
        self._deadline: float | None = None
        self._gathered = settings.workers == 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request and closes its connection."""
        try:
            response = await self._answer(request)
        except ProxyRefusal as e:
            log.warning("%s %.200r from %s: %d %s", request.method, request.raw_path, request.remote, e.status, e)
            response = e.response()
        except Exception:
            log.exception("%s %.200r", request.method, request.raw_path)
            response = ProxyRefusal(
                500, "internal_error", "The dashboard proxy failed; its log has the reason."
            ).response()
        response.force_close()
        return response

    async def watch(self) -> None:
        """Runs `apply_late` until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.apply_late()

    async def apply_late(self) -> None:
        """Applies the mounted document if it is the one that was rejected last."""
        if self._wanted is None:
            return
        try:
            mounted = self._mounted()
            if equal(self._wanted, _parse(mounted)):
                answer = await self._apply(mounted)
                log.info("applied the document that was requested before it was mounted: %d", answer.status)
        except ProxyRefusal as e:
            log.warning("cannot apply the mounted document yet: %s", e)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        # The raw target is compared as a whole: no encoding, dot or query can make Ray interpret it differently.
        method, target = request.method, request.raw_path
        if method == "GET" and target == HEALTH:
            return web.Response(text="ok\n")
        if method == "GET" and target in READS:
            return (await self._ask("GET", READS[target], REQUEST_S)).response()
        if method == "PUT" and target == APPLICATIONS:
            return (await self._put(request)).response()
        raise ProxyRefusal(403, "forbidden", "This request is not one that KubeRay makes; Ray's dashboard is closed.")

    async def _put(self, request: web.BaseRequest) -> ProxyAnswer:
        asked = _parse(await _body(request))
        mounted = self._mounted()
        if not equal(asked, _parse(mounted)):
            self._wanted = asked
            raise ProxyRefusal(
                403,
                "not_the_mounted_document",
                "This is not the document of the ConfigMap that the head mounts; if the ConfigMap was just changed, "
                "the head sees it within a minute and applies it then.",
            )
        # Continues when the caller disconnects: KubeRay waits only 2 s, and asks again.
        return await asyncio.shield(self._apply(mounted))

    def _apply(self, document: bytes) -> asyncio.Task[ProxyAnswer]:
        """Deploys the document, once for all concurrent requests."""
        if self._applying is not None:
            known, task = self._applying
            if known == document and not task.done():
                return task
        task = asyncio.create_task(self._deploy(document))
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # the caller may have disconnected
        self._applying = (document, task)
        return task

    async def _gather(self) -> None:
        """Returns when the workers are ready, when Serve has applications already, or after the timeout."""
        if self._gathered:
            return
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + WORKERS_S
        serving = _parse_or_none((await self._ask("GET", APPLICATIONS, REQUEST_S)).body)
        while not (isinstance(serving, dict) and serving.get("applications")):
            there = _workers(_parse_or_none((await self._ask("GET", orphaned_actors.NODES, REQUEST_S)).body))
            if there >= self._settings.workers:
                break
            if loop.time() > self._deadline:
                log.warning("%d of %d workers are ready; deploying on these", there, self._settings.workers)
                break
            log.info("%d of %d workers are ready", there, self._settings.workers)
            await asyncio.sleep(POLL_S)
        self._gathered = True

    async def _deploy(self, document: bytes) -> ProxyAnswer:
        await self._gather()
        answer = await self._ask("PUT", APPLICATIONS, DEPLOY_S, document)
        if answer.status < 300 and equal(self._wanted, _parse(document)):
            self._wanted = None
        return answer

    async def ask(self, method: str, path: str, seconds: float, body: bytes | None = None) -> bytes:
        """Sends a request of the proxy itself to Ray's dashboard. Raises `orphaned_actors.Unanswered`."""
        try:
            answer = await self._ask(method, path, seconds, body)
        except ProxyRefusal as e:
            raise orphaned_actors.Unanswered(str(e)) from None
        if answer.status >= 300:
            raise orphaned_actors.Unanswered(f"{path} was answered by {answer.status}")
        return answer.body

    async def _ask(self, method: str, path: str, seconds: float, body: bytes | None = None) -> ProxyAnswer:
        try:
            # Read for each request, so that a new token needs no restart.
            token = self._settings.token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise ProxyRefusal(503, "no_token", "Ray's token cannot be read yet.") from None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=seconds)
        url = self._settings.ray + path
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await _bounded(answer.content, ANSWER_BYTES)
        except TimeoutError:
            raise ProxyRefusal(503, "ray_silent", f"Ray did not answer within {seconds:g} s.") from None
        except (aiohttp.ClientConnectorError, ConnectionError):
            raise ProxyRefusal(503, "ray_down", "Ray's dashboard does not listen yet, or no longer.") from None
        except (aiohttp.ClientError, ValueError):
            raise ProxyRefusal(502, "bad_answer", "Ray closed the connection, or its answer is not HTTP.") from None
        if answer.status in (401, 403):
            raise ProxyRefusal(
                502, "token_refused", "Ray rejected the token: the file does not have the running Ray's."
            )
        return ProxyAnswer(answer.status, content, answer.content_type)

    def _mounted(self) -> bytes:
        try:
            return self._settings.document.read_bytes()
        except OSError as e:
            raise ProxyRefusal(503, "no_document", f"The document cannot be read yet: {e.strerror}.") from None


def _workers(listing: Any) -> int:
    """Returns the number of live nodes except the head in a list of Ray's state API; 0 for an invalid list."""
    try:
        nodes = listing["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" and not node["is_head_node"] for node in nodes)
    except (KeyError, TypeError):
        return 0


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ProxyRefusal(400, "invalid_json", "The document is not JSON.") from None


def _parse_or_none(body: bytes) -> Any:
    with contextlib.suppress(ProxyRefusal):
        return _parse(body)
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


async def _body(request: web.BaseRequest) -> bytes:
    if request.headers.get("Content-Encoding"):
        raise ProxyRefusal(415, "encoded_body", "The body must not be compressed.")
    try:
        async with asyncio.timeout(REQUEST_S):
            return await _bounded(request.content, BODY_BYTES)
    except TimeoutError:
        raise ProxyRefusal(408, "slow_body", f"The body did not come within {REQUEST_S} s.") from None
    except ValueError:
        raise ProxyRefusal(413, "too_large", f"The body is longer than {BODY_BYTES} bytes.") from None
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ConnectionError):
        raise ProxyRefusal(400, "broken_body", "The body cannot be read.") from None


async def _bounded(content: aiohttp.StreamReader, limit: int) -> bytes:
    """Reads to the end. Raises `ValueError` beyond `limit` bytes."""
    parts = bytearray()
    async for chunk in content.iter_any():
        parts += chunk
        if len(parts) > limit:
            raise ValueError("too long")
    return bytes(parts)


def _factory(proxy: DashboardProxy) -> tuple[web.Server, Any]:
    """Returns a server, and a factory of its connections that limits their number and their duration."""
    served: set[Any] = set()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        served.add(request.protocol)
        return await proxy.handle(request)

    server = web.Server(handle, access_log=None, lingering_time=1)
    loop = asyncio.get_running_loop()

    def connection() -> Any:
        protocol = server()
        full = len(server.connections) >= CONNECTIONS

        def close_unless_served() -> None:
            if protocol in served:
                served.remove(protocol)  # a connection serves one request
            else:
                protocol.force_close()

        # aiohttp itself has no timeout for a request's headers.
        loop.call_later(0 if full else REQUEST_S, close_unless_served)
        return protocol

    return server, connection


async def serve(settings: Settings, host: str, port: int, ready: asyncio.Event | None = None) -> None:
    """Serves until cancelled. Raises `OSError` when the port is taken."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, force_close=True)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
    ) as session:
        proxy = DashboardProxy(settings, session)
        server, connection = _factory(proxy)
        listener = await asyncio.get_running_loop().create_server(connection, host, port)
        watcher = asyncio.gather(proxy.watch(), orphaned_actors.Watch(proxy.ask, asyncio.get_running_loop().time).run())
        log.info("listening on %s port %d, for Ray at %s", host, port, settings.ray)
        if ready is not None:
            ready.set()
        try:
            await watcher
        finally:
            watcher.cancel()
            listener.close()
            await server.shutdown(timeout=1)


def main(argv: list[str] | None = None) -> int:
    """Runs the proxy until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.dashboard_proxy",
        description="the only access to Ray's dashboard from outside of its pod",
    )
    parser.add_argument("--listen", type=_address, default=("0.0.0.0", 8265), metavar="HOST:PORT")  # noqa: S104
    parser.add_argument("--ray", default="http://127.0.0.1:8266", help="base URL of Ray's dashboard")
    parser.add_argument("--token-file", type=Path, required=True, help="file with Ray's token")
    parser.add_argument("--document", type=Path, required=True, help="the only Serve document that may be deployed")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="number of workers that the first document waits for"
    )
    args = parser.parse_args(argv)
    logs.to_stderr({"component": "door"}, logging.INFO)
    host, port = args.listen
    settings = Settings(args.ray.rstrip("/"), args.token_file, args.document, args.workers)
    try:
        asyncio.run(_until_sigterm(settings, host, port))
    except OSError as e:
        print(f"dashboard proxy: cannot listen on {host} port {port}: {e.strerror}", file=sys.stderr)
        return 1
    return 0


async def _until_sigterm(settings: Settings, host: str, port: int) -> None:
    task = asyncio.ensure_future(serve(settings, host, port))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
