"""The door: the only way from outside of a head pod to Ray's dashboard.

Ray's dashboard submits jobs and deploys code, so it needs Ray's token; KubeRay (1.5) cannot send one. This program
stands between them: it adds the token to the few requests that KubeRay's RayService controller makes, and refuses
every other. It deploys one document only, the one mounted beside it, whoever asks:

- `PUT` of that document is passed on, as the mounted bytes and never as the caller's.
- `PUT` of another one is a 403, and remembered. A mounted ConfigMap lags behind its object by up to a minute and
  KubeRay waits longer and longer between its tries, so once the remembered document is the mounted one it is applied
  without another request. The mounted document alone is never a reason to deploy it: during an upgrade the old
  cluster's pod sees the new cluster's document too.
- The first document of a cluster waits for its workers, `WORKERS_S` at most: Serve spreads replicas over the nodes that
  are there, and moves none later. With the first pod alone, one pod's death would take every gateway.

Nobody asks for the one other thing that it does: it has Ray end actors that are alive on dead nodes (`stranded`).
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

from serving import stranded
from serving.core.json_values import equal
from serving.telemetry import logs

APPLICATIONS = "/api/serve/applications/"
"""Where Serve's document is put and its state is read."""

READS = {path: path for path in (f"{APPLICATIONS}?api_type=declarative", APPLICATIONS, "/api/gcs_healthz")}
"""What may be read: the request target, byte for byte, and what Ray is asked for it."""

HEALTH = "/healthz"
"""The door's own health, for a probe: it says nothing about Ray."""

BODY_BYTES = 8_000_000
"""A ConfigMap holds 1 MiB; Go writes some of its characters as six."""

ANSWER_BYTES = 32_000_000
REQUEST_S = 10
"""Within this time a caller must have sent its request, and Ray must have answered a read."""

DEPLOY_S = 60
"""Serve's controller starts with the first document: seconds on a busy host."""

WORKERS_S = 120
"""So long the first document waits for workers; then it goes to those that are there."""

CONNECTIONS = 64
POLL_S = 2.0

log = logging.getLogger("headrace.door")


class DoorRefused(Exception):
    """An answer that is the door's own; `status` is the HTTP status."""

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
    """Where things are: Ray's dashboard (base URL), the file of its token, the file of the document.

    `workers` is how many the first document waits for.
    """

    ray: str
    token_file: Path
    document: Path
    workers: int = 0


@dataclass(frozen=True)
class DoorAnswer:
    """What Ray answered: callers that wait for one deployment get a response each."""

    status: int
    body: bytes
    content_type: str

    def response(self) -> web.Response:
        """Returns it as the door's answer."""
        return web.Response(status=self.status, body=self.body, content_type=self.content_type)


class Door:
    """Answers requests; `watch` applies what was refused too early."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._wanted: Any = None
        self._applying: tuple[bytes, asyncio.Task[DoorAnswer]] | None = None
        self._deadline: float | None = None
        self._gathered = settings.workers == 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request and closes its connection."""
        try:
            response = await self._answer(request)
        except DoorRefused as e:
            log.warning("%s %.200r from %s: %d %s", request.method, request.raw_path, request.remote, e.status, e)
            response = e.response()
        except Exception:
            log.exception("%s %.200r", request.method, request.raw_path)
            response = DoorRefused(500, "internal_error", "The door failed; its log says how.").response()
        response.force_close()
        return response

    async def watch(self) -> None:
        """Runs `apply_late` until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.apply_late()

    async def apply_late(self) -> None:
        """Applies the mounted document if it is the one that was refused last."""
        if self._wanted is None:
            return
        try:
            mounted = self._mounted()
            if equal(self._wanted, _parse(mounted)):
                answer = await self._apply(mounted)
                log.info("applied the document that was asked for before it was mounted: %d", answer.status)
        except DoorRefused as e:
            log.warning("cannot apply the mounted document yet: %s", e)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        # The target is compared whole, as it came: no encoding, dot or query can make it mean something else to Ray.
        method, target = request.method, request.raw_path
        if method == "GET" and target == HEALTH:
            return web.Response(text="ok\n")
        if method == "GET" and target in READS:
            return (await self._ask("GET", READS[target], REQUEST_S)).response()
        if method == "PUT" and target == APPLICATIONS:
            return (await self._put(request)).response()
        raise DoorRefused(403, "forbidden", "This request is not one that KubeRay makes; Ray's dashboard is closed.")

    async def _put(self, request: web.BaseRequest) -> DoorAnswer:
        asked = _parse(await _body(request))
        mounted = self._mounted()
        if not equal(asked, _parse(mounted)):
            self._wanted = asked
            raise DoorRefused(
                403,
                "not_the_mounted_document",
                "This is not the document of the ConfigMap that the head mounts; if the ConfigMap was just changed, "
                "the head sees it within a minute and applies it then.",
            )
        # Goes on when the caller hangs up: KubeRay waits for 2 s only, and asks again.
        return await asyncio.shield(self._apply(mounted))

    def _apply(self, document: bytes) -> asyncio.Task[DoorAnswer]:
        """Deploys the document, once for all who ask for it at the same time."""
        if self._applying is not None:
            known, task = self._applying
            if known == document and not task.done():
                return task
        task = asyncio.create_task(self._deploy(document))
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # the caller may be gone
        self._applying = (document, task)
        return task

    async def _gather(self) -> None:
        """Returns when the workers are there, when Serve has applications already, or when it took too long."""
        if self._gathered:
            return
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + WORKERS_S
        serving = _parse_or_none((await self._ask("GET", APPLICATIONS, REQUEST_S)).body)
        while not (isinstance(serving, dict) and serving.get("applications")):
            there = _workers(_parse_or_none((await self._ask("GET", stranded.NODES, REQUEST_S)).body))
            if there >= self._settings.workers:
                break
            if loop.time() > self._deadline:
                log.warning("%d of %d workers are there; replicas go to those", there, self._settings.workers)
                break
            log.info("%d of %d workers are there", there, self._settings.workers)
            await asyncio.sleep(POLL_S)
        self._gathered = True

    async def _deploy(self, document: bytes) -> DoorAnswer:
        await self._gather()
        answer = await self._ask("PUT", APPLICATIONS, DEPLOY_S, document)
        if answer.status < 300 and equal(self._wanted, _parse(document)):
            self._wanted = None
        return answer

    async def ask(self, method: str, path: str, seconds: float, body: bytes | None = None) -> bytes:
        """Asks Ray's dashboard on the door's own behalf. Raises `stranded.Unanswered`."""
        try:
            answer = await self._ask(method, path, seconds, body)
        except DoorRefused as e:
            raise stranded.Unanswered(str(e)) from None
        if answer.status >= 300:
            raise stranded.Unanswered(f"{path} was answered by {answer.status}")
        return answer.body

    async def _ask(self, method: str, path: str, seconds: float, body: bytes | None = None) -> DoorAnswer:
        try:
            # Read at each request, so that another token needs no restart.
            token = self._settings.token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise DoorRefused(503, "no_token", "Ray's token cannot be read yet.") from None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=seconds)
        url = self._settings.ray + path
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await _bounded(answer.content, ANSWER_BYTES)
        except TimeoutError:
            raise DoorRefused(503, "ray_silent", f"Ray did not answer within {seconds:g} s.") from None
        except (aiohttp.ClientConnectorError, ConnectionError):
            raise DoorRefused(503, "ray_down", "Ray's dashboard does not listen yet, or no more.") from None
        except (aiohttp.ClientError, ValueError):
            raise DoorRefused(
                502, "bad_answer", "Ray broke off, or answered with something that is not HTTP."
            ) from None
        if answer.status in (401, 403):
            raise DoorRefused(502, "token_refused", "Ray refused its token: the file does not hold the running Ray's.")
        return DoorAnswer(answer.status, content, answer.content_type)

    def _mounted(self) -> bytes:
        try:
            return self._settings.document.read_bytes()
        except OSError as e:
            raise DoorRefused(503, "no_document", f"The document cannot be read yet: {e.strerror}.") from None


def _workers(listing: Any) -> int:
    """Counts what Ray's state API lists as alive and not the head; 0 for what is no such list."""
    try:
        nodes = listing["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" and not node["is_head_node"] for node in nodes)
    except (KeyError, TypeError):
        return 0


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DoorRefused(400, "invalid_json", "The document is not JSON.") from None


def _parse_or_none(body: bytes) -> Any:
    with contextlib.suppress(DoorRefused):
        return _parse(body)
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


async def _body(request: web.BaseRequest) -> bytes:
    if request.headers.get("Content-Encoding"):
        raise DoorRefused(415, "encoded_body", "The body must not be compressed.")
    try:
        async with asyncio.timeout(REQUEST_S):
            return await _bounded(request.content, BODY_BYTES)
    except TimeoutError:
        raise DoorRefused(408, "slow_body", f"The body did not come within {REQUEST_S} s.") from None
    except ValueError:
        raise DoorRefused(413, "too_large", f"The body is longer than {BODY_BYTES} bytes.") from None
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ConnectionError):
        raise DoorRefused(400, "broken_body", "The body cannot be read.") from None


async def _bounded(content: aiohttp.StreamReader, limit: int) -> bytes:
    """Reads to the end. Raises `ValueError` when that is longer than `limit` bytes."""
    parts = bytearray()
    async for chunk in content.iter_any():
        parts += chunk
        if len(parts) > limit:
            raise ValueError("too long")
    return bytes(parts)


def _factory(door: Door) -> tuple[web.Server, Any]:
    """Returns a server, and a factory of its connections that bounds their number and their time."""
    served: set[Any] = set()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        served.add(request.protocol)
        return await door.handle(request)

    server = web.Server(handle, access_log=None, lingering_time=1)
    loop = asyncio.get_running_loop()

    def connection() -> Any:
        protocol = server()
        full = len(server.connections) >= CONNECTIONS

        def close_unless_served() -> None:
            if protocol in served:
                served.remove(protocol)  # one request is all that a connection gets
            else:
                protocol.force_close()

        # aiohttp waits for a request's headers without end.
        loop.call_later(0 if full else REQUEST_S, close_unless_served)
        return protocol

    return server, connection


async def serve(settings: Settings, host: str, port: int, ready: asyncio.Event | None = None) -> None:
    """Serves until cancelled. Raises `OSError` when the port is taken."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, force_close=True)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
    ) as session:
        door = Door(settings, session)
        server, connection = _factory(door)
        listener = await asyncio.get_running_loop().create_server(connection, host, port)
        watcher = asyncio.gather(door.watch(), stranded.Watch(door.ask, asyncio.get_running_loop().time).run())
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
    """Runs the door until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m serving.door", description="the only way to Ray's dashboard")
    parser.add_argument("--listen", type=_address, default=("0.0.0.0", 8265), metavar="HOST:PORT")  # noqa: S104
    parser.add_argument("--ray", default="http://127.0.0.1:8266", help="base URL of Ray's dashboard")
    parser.add_argument("--token-file", type=Path, required=True, help="file of Ray's token")
    parser.add_argument("--document", type=Path, required=True, help="the one Serve document that may be deployed")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="wait for them with the first document")
    args = parser.parse_args(argv)
    logs.to_stderr({"component": "door"}, logging.INFO)
    host, port = args.listen
    settings = Settings(args.ray.rstrip("/"), args.token_file, args.document, args.workers)
    try:
        asyncio.run(_until_sigterm(settings, host, port))
    except OSError as e:
        print(f"door: cannot listen on {host} port {port}: {e.strerror}", file=sys.stderr)
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
