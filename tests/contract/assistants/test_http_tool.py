"""The HTTP tool before real servers on loopback: slow, endless, lying, and ones that lead elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from serving.assistants.tools import http
from serving.assistants.tools.http import http_tool
from serving.assistants.tools.tool import Toolbox, ToolError
from serving.config import HttpTool, SecretRef

TOKEN = "Bearer s3cret-of-the-tool"


class Server:
    """Answers by path, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}
        self.port = 0

    async def handle(self, request):
        self.asked.append((request.method, request.path_qs, await request.text(), dict(request.headers)))
        answer = self.answers[request.path]
        if callable(answer):
            return await answer(request)
        kind, body, headers = (*answer, {})[:3] if isinstance(answer, tuple) else ("text/plain", answer, {})
        body = body.encode() if isinstance(body, str) else body
        return web.Response(body=body, headers={"Content-Type": kind, **headers})

    def tool(self, resolver=None, **settings):
        given = {
            "name": "web",
            "description": "reads",
            "allow": [f"http://127.0.0.1:{self.port}/"],
            "private": True,
            "timeout_s": 60,
        }
        return http_tool(HttpTool.model_validate({**given, **settings}), resolver)

    async def get(self, path, **settings):
        return await self.tool(**settings).call({"url": f"http://127.0.0.1:{self.port}{path}"})


@pytest.fixture
async def server():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = site._server.sockets[0].getsockname()[1]  # ty: ignore[missing-attribute]
    yield server
    await runner.cleanup()


@asynccontextmanager
async def raw(data):
    """Serves `data` as it is to whoever connects, and yields the port."""

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


class Resolver(AbstractResolver):
    """Finds what it is told, one list of addresses a time."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in self.answers.pop(0)
        ]

    async def close(self):
        pass


async def test_text_is_read(server):
    server.answers["/a"] = "hello"
    assert await server.get("/a?b=%2F") == "HTTP 200 text/plain\nhello"
    ((method, path, body, headers),) = server.asked
    assert (method, path, body) == ("GET", "/a?b=%2F", "")
    assert "Cookie" not in headers


async def test_a_page_is_read_as_its_text(server):
    page = (
        "<html><head><title>Sea</title><script>alert(1)</script></head><body><p>It is <b>42 m</b> deep.</body></html>"
    )
    server.answers["/a"] = ("text/html; charset=utf-8", page)
    said = await server.get("/a")
    assert said.startswith("HTTP 200 text/html\nSea\n")
    assert "42 m" in said
    assert "<b>" not in said
    assert "alert" not in said


async def test_a_post_sends_its_secret_and_hides_it_from_the_model(server, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    server.answers["/a"] = ("application/json", '{"ok": true}')
    tool = server.tool(methods=["GET", "POST"], headers={"Authorization": SecretRef(ref=f"file:{tmp_path / 'token'}")})
    given = {"url": f"http://127.0.0.1:{server.port}/a", "method": "POST", "body": '{"x": 1}'}
    assert await tool.call(given) == 'HTTP 200 application/json\n{"ok": true}'
    ((method, _, body, headers),) = server.asked
    assert (method, body, headers["Content-Type"]) == ("POST", '{"x": 1}', "application/json")
    assert headers["Authorization"] == TOKEN
    assert tool.effects(given)
    assert not tool.effects({"url": "x"})
    assert "s3cret" not in json.dumps(tool.schema)


async def test_a_configured_header_replaces_the_default(server, tmp_path):
    (tmp_path / "agent").write_text("ours/1")
    server.answers["/a"] = "hello"
    await server.get("/a", headers={"user-agent": SecretRef(ref=f"file:{tmp_path / 'agent'}")})
    ((_, _, _, headers),) = server.asked
    assert [value for name, value in headers.items() if name.lower() == "user-agent"] == ["ours/1"]


async def test_a_secret_that_the_server_repeats_is_not_shown(server, tmp_path):
    (tmp_path / "token").write_text(TOKEN)

    async def echo(request):
        value = request.headers["Authorization"]
        return web.Response(text=f"{value}; {value.split()[1]}")

    server.answers["/a"] = echo
    said = await server.get("/a", headers={"Authorization": SecretRef(ref=f"file:{tmp_path / 'token'}")})
    assert said == "HTTP 200 text/plain\n[secret]; [secret]"


async def test_a_missing_secret_sends_no_request(server):
    with pytest.raises(ToolError, match=r"^a secret of this tool cannot be read$"):
        await server.get("/a", headers={"X": SecretRef(ref="env:NOT_THERE_AT_ALL")})
    assert server.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/a",
        "https://127.0.0.1:{port}/a",
        "http://localhost:{port}/a",
        "http://127.0.0.1:{port}/private",
        "http://127.0.0.1:{port}/public/../private",
        "http://127.0.0.1:{port}/public/%2e%2e/private",
        "http://127.0.0.1:{port}/public%2f..%2fprivate",
        "http://127.0.0.1:{port}/publicity",
        "http://127.0.0.1:{port}@evil.example/public",
        "http://evil.example\\@127.0.0.1:{port}/public",
        "http://2130706433:{port}/public",
        "http://127.1:{port}/public",
        "http://[::ffff:127.0.0.1]:{port}/public",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/public",
        "",
    ],
)
async def test_addresses_off_the_allow_list_are_not_requested(server, target):
    tool = server.tool(allow=[f"http://127.0.0.1:{server.port}/public"])
    with pytest.raises(ToolError):
        await tool.call({"url": target.format(port=server.port)})
    assert server.asked == []


async def test_arguments_are_checked(server):
    tools = Toolbox([server.tool(methods=["GET", "POST"])], 9, 5)
    url = f"http://127.0.0.1:{server.port}/a"
    for wrong in (
        {"url": url, "method": "DELETE"},
        {"url": url, "headers": {"Host": "x"}},
        {"url": 5},
        {"url": url, "body": "x"},  # a GET
        {"url": url, "method": "POST", "body": "\ud800"},
        {},
    ):
        assert (await tools.call("web", json.dumps(wrong))).startswith("Error: ")
    assert server.asked == []


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254", "fe80::1", "224.0.0.1"])
async def test_addresses_that_are_never_connected_to(server, private, address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ToolError, match="its address is not one"):
        await server.tool(allow=[f"http://{host}/"], private=private).call({"url": f"http://{host}/"})
    named = server.tool(Resolver([address]), allow=["http://a.example/"], private=private)
    with pytest.raises(ToolError, match="its address is not one"):
        await named.call({"url": "http://a.example/"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_must_be_allowed(server, host):
    tool = server.tool(allow=[f"http://{host}:{server.port}/"], private=False)
    with pytest.raises(ToolError, match="its address is not one"):
        await tool.call({"url": f"http://{host}:{server.port}/a"})
    assert server.asked == []


async def test_dns_rebinding_is_rejected(server):
    server.answers["/a"] = "hello"
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"], ["169.254.169.254", "127.0.0.1"])
    base = f"http://a.example:{server.port}/"
    tool = server.tool(resolver, allow=[base])
    assert "hello" in await tool.call({"url": f"{base}a"})
    with pytest.raises(ToolError, match="its address is not one"):
        await tool.call({"url": f"{base}a"})
    assert len(server.asked) == 1
    assert "hello" in await tool.call({"url": f"{base}a"})  # at the address that is allowed


def leads_to(target, status=302):
    async def answer(request):
        return web.Response(status=status, headers={"Location": target.format(port=request.url.port)})

    return answer


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/",
        "http://localhost:{port}/b",
        "//evil.example/b",
        "https://127.0.0.1:{port}/public/b",
        "/private",
        "../private",
        "/public/..%2fprivate",
        "file:///etc/passwd",
        "http://127.0.0.1:{port}@evil.example/public/b",
    ],
)
async def test_redirects_off_the_allow_list_are_not_followed(server, target):
    async def answer(request):
        where = target.format(port=server.port)
        return web.Response(status=302, headers={"Location": where})

    server.answers |= {"/public/a": answer, "/private": "secret"}
    prefix = f"http://127.0.0.1:{server.port}/public"
    with pytest.raises(ToolError):
        await server.tool(allow=[prefix], max_redirects=5).call({"url": f"{prefix}/a"})
    assert len(server.asked) == 1


async def test_redirects_have_a_bound(server):
    server.answers |= {"/a": leads_to("/b"), "/b": leads_to("/c", 307), "/c": "there", "/loop": leads_to("/loop")}
    assert await server.get("/a", max_redirects=2) == "HTTP 200 text/plain\nthere"
    with pytest.raises(ToolError, match="does not follow"):
        await server.get("/a")
    with pytest.raises(ToolError, match="more than 1 times"):
        await server.get("/a", max_redirects=1)
    server.asked.clear()
    with pytest.raises(ToolError, match="more than 5 times"):
        await server.get("/loop", max_redirects=5)
    assert len(server.asked) == 6


async def test_a_post_is_not_sent_on(server):
    server.answers |= {"/a": leads_to("/b", 307), "/b": "there"}
    tool = server.tool(methods=["POST"], max_redirects=5)
    assert await tool.call({"url": f"http://127.0.0.1:{server.port}/a", "body": "x"}) == "HTTP 307, without a body"
    assert len(server.asked) == 1


async def test_a_silent_server_times_out(server):
    async def hang(request):
        await asyncio.Event().wait()

    server.answers["/a"] = hang
    with pytest.raises(ToolError, match=r"longer than 0\.1 s"):
        await server.get("/a", timeout_s=0.1)


async def test_a_body_that_never_ends_times_out(server):
    async def drip(request):
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()

    server.answers["/a"] = drip
    with pytest.raises(ToolError, match=r"longer than 0\.2 s"):
        await server.get("/a", timeout_s=0.2)


async def test_an_endless_body_is_cut_off(server):
    async def flood(request):
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    server.answers["/a"] = flood
    said = await server.get("/a", max_bytes=100_000)
    assert said.endswith("x\n[only the first 100000 bytes]")
    assert len(said) < 100_100


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_packed_body_is_read_as_far_as_it_may_be(server, encoding, pack):
    server.answers |= {
        "/a": ("text/plain", pack(b"hello"), {"Content-Encoding": encoding}),
        "/bomb": ("text/plain", pack(bytes([65]) * 50_000_000), {"Content-Encoding": encoding}),
        "/lie": ("text/plain", b"hello", {"Content-Encoding": encoding}),
    }
    assert await server.get("/a") == "HTTP 200 text/plain\nhello"
    assert len(await server.get("/bomb", max_bytes=100_000)) < 100_100
    with pytest.raises(ToolError, match="is not valid"):
        await server.get("/lie")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
async def test_unsupported_content_encodings_are_rejected(server, encoding):
    server.answers["/a"] = ("text/plain", b"hello", {"Content-Encoding": encoding})
    with pytest.raises(ToolError, match="does not support"):
        await server.get("/a")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: -5\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nlonger",
        b"HTTP/1.1 302 OK\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00" * 1000,
        b"",
    ],
    ids=range(10),
)
async def test_a_server_that_does_not_keep_to_http(server, data):
    async with raw(data) as port:
        base = f"http://127.0.0.1:{port}/"
        with pytest.raises(ToolError):
            await server.tool(allow=[base]).call({"url": base})


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/pdf", "", "text", "video/mp4"])
async def test_binary_responses_are_rejected(server, kind):
    server.answers["/a"] = (kind, b"hello")
    with pytest.raises(ToolError, match="not text"):
        await server.get("/a")


async def test_mislabelled_binary_responses_are_rejected(server):
    server.answers["/a"] = ("text/plain", b"\x7fELF" + bytes(1000))
    with pytest.raises(ToolError, match="is not valid"):
        await server.get("/a")


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("iso-8859-1", b"caf\xe9", "café"),
        ("utf-8", b"a long enough caf\xe9", "a long enough caf\ufffd"),
        ("no-such", "café".encode(), "café"),
        ("punycode", "café".encode(), "café"),
        ("hex", b"636166", "636166"),
        ("utf-16", "café".encode("utf-16"), "café"),
    ],
)
async def test_text_is_decoded_by_its_charset(server, charset, body, text):
    server.answers["/a"] = (f"text/plain; charset={charset}", body)
    assert await server.get("/a") == f"HTTP 200 text/plain\n{text}"


async def test_a_missing_page_is_an_error(server):
    server.answers["/a"] = ("text/html", "%PDF-1.4 " + "x" * 100)
    with pytest.raises(ToolError, match="the page cannot be read"):
        await server.get("/a")


async def test_an_unreachable_server_is_an_error(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(ToolError, match="no connection"):
            await server.tool(allow=[base]).call({"url": base})


async def test_server_errors_are_reported_to_the_model(server):
    async def no(request):
        return web.json_response({"error": "no such thing"}, status=404)

    server.answers["/a"] = no
    assert await server.get("/a") == 'HTTP 404 application/json\n{"error": "no such thing"}'


async def test_head_has_no_body(server):
    server.answers["/a"] = "hello"
    tool = server.tool(methods=["HEAD"])
    assert await tool.call({"url": f"http://127.0.0.1:{server.port}/a"}) == "HTTP 200 text/plain"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "calculator"},
        {"name": "Web"},
        {"name": "a-b"},
        {"allow": []},
        {"allow": ["ftp://a.b/"]},
        {"allow": ["https://user@a.b/"]},
        {"allow": ["https://a.b/?q"]},
        {"allow": ["https://a.b/../c"]},
        {"allow": ["*"]},
        {"methods": []},
        {"methods": ["CONNECT"]},
        {"headers": {"Host": {"ref": "env:A"}}},
        {"headers": {"transfer-encoding": {"ref": "env:A"}}},
        {"headers": {"X-Key": {"ref": "env:A"}, "x-key": {"ref": "env:B"}}},
        {"headers": {"A\r\nB": {"ref": "env:A"}}},
        {"headers": {"Authorization": "plain"}},
        {"max_redirects": 6},
        {"timeout_s": 0},
        {"max_bytes": 10**9},
        {"description": ""},
        {"unknown": 1},
    ],
    ids=str,
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(ValueError):
        HttpTool.model_validate({"name": "web", "description": "reads", "allow": ["https://a.b/"], **wrong})


async def test_an_invalid_header_value_is_quoted_safely():
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: \xff\xfe\r\nContent-Length: 1\r\n\r\nx") as port:
        url = f"http://127.0.0.1:{port}/"
        settings = HttpTool(name="web", description="reads", allow=[url], private=True)
        said = await Toolbox([http_tool(settings)], 1, 10).call("web", json.dumps({"url": url}))
    assert said == "Error: the answer has the encoding ??, which this tool does not support."


async def test_a_page_is_read_by_a_thread_of_the_tools_own(server, monkeypatch):
    threads = []
    parse = http.parse_isolated

    def spy(*given):
        threads.append(threading.current_thread().name)
        return parse(*given)

    monkeypatch.setattr(http, "parse_isolated", spy)
    server.answers["/a"] = ("text/html", "<p>read</p>")
    assert "read" in await server.get("/a")
    assert [name.rpartition("_")[0] for name in threads] == ["http-tool"]
