"""The requests that the dashboard proxy forwards, byte for byte, and its answers when either side misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from serving import dashboard_proxy, orphaned_actors
from serving.dashboard_proxy import APPLICATIONS, Settings, serve
from tests.servers.process import held_port

TOKEN = "0123456789abcdef" * 4
DOCUMENT: dict[str, Any] = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000},
    "applications": [{"name": "a", "route_prefix": None, "args": {"x": 0.2, "y": 10.0, "on": True, "t": "a<b&é"}}],
}
MOUNTED = json.dumps(DOCUMENT, indent=2).encode()
# What Go writes after a turn through YAML: sorted keys, escaped <, > and &, whole floats as integers.
AS_GO = (
    r'{"applications":[{"args":{"on":true,"t":"a\u003cb\u0026é","x":0.2,"y":10},"name":"a","route_prefix":null}],'
    r'"http_options":{"host":"0.0.0.0","port":8000},"proxy_location":"EveryNode"}'
).encode()

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Ray:
    """Stands where Ray's dashboard does, and keeps what reached it."""

    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Answer | None = None
    port: int = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"applications": {}})


@dataclass
class Place:
    ray: Ray
    port: int
    settings: Settings

    async def send(self, raw: bytes) -> tuple[int, bytes]:
        """Sends bytes as they are; returns the status and the body of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            await writer.drain()
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body) if head else (0, b"")

    async def ask(self, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, Any]:
        lines = [f"{method} {target} HTTP/1.1", "Host: proxy", f"Content-Length: {len(body)}", *headers]
        status, answer = await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return status, json.loads(answer) if answer.startswith(b"{") else answer.decode()

    async def put(self, body: bytes, *headers: str) -> tuple[int, str]:
        status, answer = await self.ask("PUT", APPLICATIONS, body, *headers)
        return status, answer["error"]["code"] if "error" in answer else ""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    ray = Ray()
    runner = web.ServerRunner(web.Server(ray.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ray.port = runner.addresses[0][1]
    settings = Settings(f"http://127.0.0.1:{ray.port}", tmp_path / "token", tmp_path / "serve.json")
    settings.token_file.write_text(TOKEN + "\n")
    settings.document.write_bytes(MOUNTED)
    with held_port() as port:
        ready = asyncio.Event()
        task = asyncio.create_task(serve(settings, "127.0.0.1", port, ready))
        listening = asyncio.create_task(ready.wait())
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        assert ready.is_set(), task
        yield Place(ray, port, settings)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await runner.cleanup()


@pytest.mark.parametrize("target", [APPLICATIONS, f"{APPLICATIONS}?api_type=declarative", "/api/gcs_healthz"])
async def test_reads_are_forwarded_with_the_token_only(place: Place, target: str) -> None:
    status, answer = await place.ask(
        "GET", target, b"", "Authorization: Bearer mine", "Cookie: a=b", "X-HTTP-Method-Override: DELETE"
    )
    assert (status, answer) == (200, {"applications": {}})
    [(method, path, headers, body)] = place.ray.seen
    assert (method, path, body) == ("GET", target, b"")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert not {"cookie", "x-http-method-override"} & {h.lower() for h in headers}


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /",
        "GET /api/jobs/",
        "POST /api/jobs/",
        "GET /api/serve/applications",
        "GET //api/serve/applications/",
        "GET /api/serve/applications//",
        "GET /api/serve/applications/../../jobs/",
        "GET /api/serve/applications/%2e%2e/%2e%2e/jobs/",
        "GET /api/serve/applications%2f",
        "GET /api/./serve/applications/",
        "GET /api/serve/applications/?api_type=imperative",
        "GET /api/serve/applications/?api_type=declarative&api_type=imperative",
        "GET /api/serve/applications/?",
        "GET /api/serve/applications/;x",
        "GET /api/serve/applications/#x",
        "GET /API/serve/applications/",
        "GET http://127.0.0.1/api/serve/applications/",
        "GET /api/gcs_healthz/",
        "PUT /api/serve/applications/?api_type=declarative",
        "PUT /api/gcs_healthz",
        "DELETE /api/serve/applications/",
        "POST /api/serve/applications/",
        "PATCH /api/serve/applications/",
        "HEAD /api/serve/applications/",
        "OPTIONS /api/serve/applications/",
        "get /api/serve/applications/",
        "CONNECT 127.0.0.1:22",
        "PUT /healthz",
    ],
)
async def test_no_other_request_reaches_ray(place: Place, request_line: str) -> None:
    status, _ = await place.ask(*request_line.split(" ", 1), MOUNTED)
    assert status in (400, 403)
    assert place.ray.seen == []


async def test_smuggled_requests_are_not_forwarded(place: Place) -> None:
    both = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n" + f"GET {APPLICATIONS} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    status, _ = await place.send(both)
    assert status == 403
    twice = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    status, _ = await place.send(f"PUT {APPLICATIONS} HTTP/1.1\r\nHost: a\r\n".encode() + twice + b"\r\n0\r\n\r\n")
    assert status == 400
    assert place.ray.seen == []


@pytest.mark.parametrize("body", [MOUNTED, AS_GO])
async def test_the_mounted_document_is_deployed_verbatim(place: Place, body: bytes) -> None:
    assert await place.put(body) == (200, "")
    [(method, path, headers, sent)] = place.ray.seen
    assert (method, path, sent) == ("PUT", APPLICATIONS, MOUNTED)
    assert headers["Authorization"] == f"Bearer {TOKEN}"


def changed(**keys: Any) -> bytes:
    return json.dumps({**DOCUMENT, **keys}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b"[]",
        changed(target_capacity=50),
        changed(http_options={"host": "0.0.0.0", "port": True}),
        changed(applications=[]),
        changed(applications=DOCUMENT["applications"] * 2),
        AS_GO.replace(b'"on":true', b'"on":1'),
        AS_GO.replace(b'"route_prefix":null', b'"route_prefix":""'),
        AS_GO.replace(b'"name":"a"', b'"name":"A"'),
    ],
)
async def test_another_document_is_refused(place: Place, body: bytes) -> None:
    assert await place.put(body) == (403, "not_the_mounted_document")
    assert place.ray.seen == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe{}", 400),
        (b'{"a": NaN}', 400),
        (b"9" * 5000, 400),
        (b"[" * 200_000, 400),
        (b" " * (dashboard_proxy.BODY_BYTES + 1), 413),
    ],
)
async def test_a_hostile_body_is_refused(place: Place, body: bytes, status: int) -> None:
    assert (await place.put(body))[0] == status
    assert place.ray.seen == []


async def test_a_compressed_body_is_not_inflated(place: Place) -> None:
    assert await place.put(gzip.compress(MOUNTED), "Content-Encoding: gzip") == (415, "encoded_body")


async def test_a_deeply_nested_document_is_compared(place: Place) -> None:
    nested: Any = 1
    for _ in range(900):
        nested = [nested]
    place.settings.document.write_text(json.dumps(nested))
    assert (await place.put(json.dumps(nested).encode()))[0] == 200


async def test_a_rejected_document_is_deployed_once_mounted(place: Place) -> None:
    new = changed(proxy_location="HeadOnly")
    async with dashboard_proxy.aiohttp.ClientSession() as session:
        it = dashboard_proxy.DashboardProxy(place.settings, session)
        server = web.ServerRunner(web.Server(it.handle))
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        there = Place(place.ray, server.addresses[0][1], place.settings)

        # Mounted, but not requested: the old cluster's proxy during an upgrade.
        place.settings.document.write_bytes(new)
        await it.apply_late()
        assert place.ray.seen == []

        # Asked for before it is mounted.
        place.settings.document.write_bytes(MOUNTED)
        assert await there.put(new) == (403, "not_the_mounted_document")
        await it.apply_late()
        assert place.ray.seen == []
        place.settings.document.write_bytes(new)
        place.ray.answer = unwell
        await it.apply_late()
        place.ray.answer = None
        await it.apply_late()
        await it.apply_late()
        assert [(m, b) for m, _, _, b in place.ray.seen] == [("PUT", new), ("PUT", new)]
        await server.cleanup()


async def unwell(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=500, text="unwell")


async def test_rays_own_errors_are_passed_on(place: Place) -> None:
    place.ray.answer = unwell
    assert await place.ask("GET", APPLICATIONS) == (500, "unwell")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_token_is_a_server_error(place: Place, status: int) -> None:
    async def refuse(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, text=TOKEN)

    place.ray.answer = refuse
    code, answer = await place.ask("GET", APPLICATIONS)
    assert (code, answer["error"]["code"]) == (502, "token_refused")
    assert TOKEN not in str(answer)


async def test_a_redirect_is_not_followed(place: Place) -> None:
    async def elsewhere(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{place.ray.port}/api/jobs/"})

    place.ray.answer = elsewhere
    assert (await place.ask("GET", APPLICATIONS))[0] == 307
    assert len(place.ray.seen) == 1


async def test_an_endless_answer_is_cut(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_proxy, "ANSWER_BYTES", 1000)

    async def long(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 1001)

    place.ray.answer = long
    assert (await place.ask("GET", APPLICATIONS))[1]["error"]["code"] == "bad_answer"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time from when a request's head has come: before, its connection would be closed without a word."""
    handle = dashboard_proxy.DashboardProxy.handle

    async def hurry(it: dashboard_proxy.DashboardProxy, request: web.BaseRequest) -> web.StreamResponse:
        monkeypatch.setattr(dashboard_proxy, "REQUEST_S", 0.2)
        return await handle(it, request)

    monkeypatch.setattr(dashboard_proxy.DashboardProxy, "handle", hurry)


@pytest.mark.usefixtures("hurried")
async def test_a_silent_ray_is_a_503(place: Place) -> None:
    place.ray.answer = forever
    status, answer = await place.ask("GET", APPLICATIONS)
    assert (status, answer["error"]["code"]) == (503, "ray_silent")


async def forever(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_something_else_on_rays_port_is_a_502(place: Place, tmp_path: Path) -> None:
    async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nothing\r\n")
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with dashboard_proxy.aiohttp.ClientSession() as session:
            it = dashboard_proxy.DashboardProxy(Settings(url, place.settings.token_file, tmp_path / "none"), session)
            with pytest.raises(dashboard_proxy.ProxyRefusal) as e:
                await it._ask("GET", APPLICATIONS, 5)
    assert e.value.status == 502


async def test_missing_files_are_503_and_new_tokens_are_used(place: Place) -> None:
    place.settings.token_file.unlink()
    status, answer = await place.ask("GET", APPLICATIONS)
    assert (status, answer["error"]["code"]) == (503, "no_token")
    place.settings.token_file.write_text("another")
    assert (await place.ask("GET", APPLICATIONS))[0] == 200
    assert place.ray.seen[0][2]["Authorization"] == "Bearer another"
    place.settings.document.unlink()
    assert await place.put(MOUNTED) == (503, "no_document")
    assert (await place.ask("GET", "/healthz"))[0] == 200


async def test_a_disconnect_does_not_abort_the_deployment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asked, apply = [], dashboard_proxy.DashboardProxy._apply

    def counted(it: dashboard_proxy.DashboardProxy, document: bytes) -> asyncio.Task[dashboard_proxy.ProxyAnswer]:
        asked.append(document)
        return apply(it, document)

    monkeypatch.setattr(dashboard_proxy.DashboardProxy, "_apply", counted)

    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        reached.set()
        await go.wait()
        done.set()
        return web.Response(text="")

    place.ray.answer = slow
    _, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(f"PUT {APPLICATIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(AS_GO)}\r\n\r\n".encode() + AS_GO)
    await reached.wait()
    writer.transport.abort()
    second = asyncio.create_task(place.put(MOUNTED))
    while len(asked) < 2:
        await asyncio.sleep(0.01)
    assert not second.done()
    go.set()
    assert await second == (200, "")
    assert done.is_set()
    assert len(place.ray.seen) == 1


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX: ", f"PUT {APPLICATIONS} HTTP/1.1\r\n".encode()])
async def test_silent_connections_time_out(place: Place, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(dashboard_proxy, "REQUEST_S", 0.2)
    assert await asyncio.wait_for(place.send(begun), 120) == (0, b"")


@pytest.mark.usefixtures("hurried")
async def test_a_missing_body_is_a_408(place: Place) -> None:
    head = f"PUT {APPLICATIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n".encode()
    assert (await place.send(head + b"{"))[0] == 408


async def test_idle_connections_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_proxy, "CONNECTIONS", 3)
    idle = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(3)]
    assert await place.send(b"") == (0, b"")
    for _, writer in idle:
        writer.close()
    for _ in range(200):
        if (await place.ask("GET", "/healthz"))[0] == 200:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the places are not given back")


async def test_refusals_are_logged_on_one_line_without_secrets(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headrace.dashboard_proxy"):
        await place.ask("GET", "/x%0d%0ay" + "z" * 1000, b"", "Authorization: Bearer planted")
        await place.put(b'{"planted": 1}')
    lines = [r.getMessage() for r in caplog.records if r.name == "headrace.dashboard_proxy"]
    assert len(lines) == 2
    assert all("403" in line and "\n" not in line and "planted" not in line and len(line) < 500 for line in lines)


def test_a_busy_port_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = f"127.0.0.1:{s.getsockname()[1]}"
        assert (
            dashboard_proxy.main(["--listen", address, "--token-file", str(tmp_path), "--document", str(tmp_path)]) == 1
        )
    assert capsys.readouterr().err.startswith("dashboard proxy: cannot listen on 127.0.0.1 port")


# The first document waits for workers


def nodes(*workers: str) -> dict[str, Any]:
    """As Ray's state API lists a head and workers in these states."""
    listed = [{"state": "ALIVE", "is_head_node": True}, *({"state": w, "is_head_node": False} for w in workers)]
    return {"data": {"result": {"result": listed}}}


@pytest.fixture
async def waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Place, dashboard_proxy.DashboardProxy]]:
    """A proxy that waits for two workers, one of which is dead."""
    monkeypatch.setattr(dashboard_proxy, "POLL_S", 0.01)
    place.ray.answer = listing(nodes("ALIVE", "DEAD"))
    settings = Settings(place.settings.ray, place.settings.token_file, place.settings.document, workers=2)
    async with aiohttp.ClientSession() as session:
        yield place, dashboard_proxy.DashboardProxy(settings, session)


def listing(found: Any, applications: Any = None) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(found if request.path == "/api/v0/nodes" else {"applications": applications or {}})

    return answer


def puts(place: Place) -> int:
    return sum(method == "PUT" for method, *_ in place.ray.seen)


async def test_the_first_document_waits_for_the_workers(waiting: tuple[Place, dashboard_proxy.DashboardProxy]) -> None:
    place, it = waiting
    deploying = it._apply(MOUNTED)
    await asyncio.sleep(0.2)
    assert puts(place) == 0
    place.ray.answer = listing(nodes("ALIVE", "DEAD", "ALIVE"))
    assert (await deploying).status == 200
    assert puts(place) == 1


@pytest.mark.parametrize("found", [nodes("ALIVE"), {}, [], {"data": None}, {"data": {"result": {"result": [1]}}}])
async def test_upstream_requests_time_out(
    waiting: tuple[Place, dashboard_proxy.DashboardProxy], found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, it = waiting
    place.ray.answer = listing(found)
    monkeypatch.setattr(dashboard_proxy, "WORKERS_S", 0.05)
    assert (await it._apply(MOUNTED)).status == 200
    assert puts(place) == 1


async def test_an_unchanged_document_is_answered_at_once(waiting: tuple[Place, dashboard_proxy.DashboardProxy]) -> None:
    """A new head of an old cluster, whose workers come back one by one."""
    place, it = waiting
    place.ray.answer = listing(nodes(), {"headrace": {}})
    assert (await it._apply(MOUNTED)).status == 200
    assert [method for method, *_ in place.ray.seen] == ["GET", "PUT"]


# Actors on dead nodes


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphaned_actors, "POLL_S", 0.01)
    monkeypatch.setattr(orphaned_actors, "GRACE_S", 0.01)


async def test_actors_on_dead_nodes_are_ended_automatically(hasty: None, place: Place) -> None:
    actor = {"actor_id": "1f", "name": "a", "ray_namespace": "serve", "state": "ALIVE", "node_id": "2f"}
    lists = {"/api/v0/nodes": [{"node_id": "2f", "state": "DEAD"}], "/api/v0/actors": [actor]}
    asked = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            asked.set()
        return web.json_response({"data": {"result": {"result": lists.get(request.path, [])}}})

    place.ray.answer = answer
    await asyncio.wait_for(asked.wait(), 120)
    [_, path, headers, body] = next(seen for seen in place.ray.seen if seen[0] == "POST")
    assert (path, headers["Authorization"]) == ("/api/jobs/", f"Bearer {TOKEN}")
    assert json.loads(body)["entrypoint"].endswith("-m serving.orphaned_actors 1f")
