"""MCP servers that fail, lie, flood or are none, and what they must not learn."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools

import pytest
from aiohttp import web

from serving.assistants.tools import mcp, mcp_session
from serving.assistants.tools.mcp import McpServer
from serving.assistants.tools.tool import MAX_OBSERVATION, Toolbox
from serving.config import SecretRef
from tests.contract.assistants.mcp.toolbox import Clock, box, settings
from tests.servers.mcp_process import Process


@contextlib.asynccontextmanager
async def pretender(handler):
    """Serves what `handler` answers to anything, and yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp"  # ty: ignore[missing-attribute]
    await runner.cleanup()


async def test_a_flood_is_cut_off(servers, process):
    tools = await box(servers, settings(process.url, timeout_s=60))
    said = await tools.call("t_flood", "")
    assert said.startswith("Error: t failed: ")
    assert len(said) < MAX_OBSERVATION
    assert await tools.call("t_add", '{"a": 1}') == "1"


async def test_a_restarted_server_is_reconnected(process_of_its_own, caplog):
    clock = Clock()
    server = McpServer(settings(process_of_its_own.url), clock)
    process_of_its_own.stop()
    (apology,) = await server.tools()
    assert apology.name == "t"
    assert (await Toolbox([apology], 9, 9).call("t", "")).startswith("Error: t cannot be reached: ")
    process_of_its_own.start()
    assert [tool.name for tool in await server.tools()] == ["t"]  # it is not tried again at once
    clock.now += 2 * mcp.LONGEST_WAIT_S
    tools = Toolbox(await server.tools(), 9, 60)
    assert await tools.call("t_add", '{"a": 1}') == "1"
    process_of_its_own.stop()
    assert (await tools.call("t_add", '{"a": 1}')).startswith("Error: t ")
    assert "t_add" in {tool.name for tool in await server.tools()}  # what it last had
    await server.close(at_once=True)


@pytest.fixture
def process_of_its_own():
    process = Process()
    yield process
    process.close()


async def test_a_server_that_fails_is_tried_ever_more_seldom():
    tries = []

    async def fail(request):
        tries.append(request.method)
        return web.Response(status=500)

    async with pretender(fail) as url:
        clock = Clock()
        server = McpServer(settings(url), clock)
        per_open = None
        waits = []
        for _ in range(200):
            before = len(tries)
            await asyncio.gather(*(server.tools() for _ in range(8)))
            if len(tries) > before:
                per_open = per_open or len(tries)
                assert len(tries) == before + per_open  # eight ask, one tries
                waits.append(clock.now)
            clock.now += 1
        assert [b - a for a, b in itertools.pairwise(waits)] == [1, 2, 4, 8, 16, 32, 60, 60]
        await server.close(at_once=True)


async def test_headers_carry_secrets_and_errors_do_not_show_them(servers, tmp_path, monkeypatch, caplog):
    process = Process("secret-1")
    try:
        (tmp_path / "key").write_text("Bearer secret-1")
        right = settings(process.url, headers={"Authorization": SecretRef(ref=f"file:{tmp_path / 'key'}")})
        assert await (await box(servers, right)).call("t_add", '{"a": 1}') == "1"
        monkeypatch.setenv("WRONG", "Bearer secret-2")
        wrong = settings(process.url, headers={"Authorization": SecretRef(ref="env:WRONG")})
        said = await (await box(servers, wrong)).call("t", "")
        assert said == "Error: t cannot be reached: it answers 401."
        none = settings(process.url, headers={"Authorization": SecretRef(ref="env:NOTHING_THERE")})
        assert await (await box(servers, none)).call("t", "") == "Error: t is not set up."
        monkeypatch.setenv("WRONG", "Bearer sécret-2\nX: y")
        odd = settings(process.url, timeout_s=19, headers={"Authorization": SecretRef(ref="env:WRONG")})
        assert (await (await box(servers, odd)).call("t", "")).startswith("Error: t cannot be reached")
        assert "NOTHING_THERE" in caplog.text
        assert "cret-2" not in caplog.text
    finally:
        process.close()


async def test_a_rotated_credential_is_used_from_the_next_call_on(servers, tmp_path):
    key = tmp_path / "key"
    key.write_text("Bearer secret-1")
    seen = []

    async def call(request):
        seen.append(request.headers["authorization"])
        return tool_result("done")

    async with pretender(speaks([listed("say")], call)) as url:
        tools = await box(servers, settings(url, headers={"Authorization": SecretRef(ref=f"file:{key}")}))
        assert await tools.call("t_say", "") == "done"
        key.unlink()  # as it is for a moment when a file is written in another's place
        assert await tools.call("t_say", "") == "done"
        key.write_text("Bearer secret-2")
        assert [await tools.call("t_say", "") for _ in range(2)] == ["done"] * 2
    assert seen == ["Bearer secret-1"] * 2 + ["Bearer secret-2"] * 2


async def test_redirects_lead_nowhere_else(servers):
    asked = []

    async def other(request):
        asked.append(request.headers)
        return web.json_response({})

    async with pretender(other) as elsewhere:

        async def redirect(request):
            raise web.HTTPTemporaryRedirect(elsewhere)

        async with pretender(redirect) as url:
            (apology,) = await servers.tools(settings(url))
            assert apology.name == "t"
            assert asked == []


async def html(request):
    return web.Response(text="<html>Hello</html>", content_type="text/html")


async def no_rpc(request):
    return web.json_response({"hello": "there"})


async def other_type(request):
    return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": {"tools": 5}})


async def not_json(request):
    return web.Response(text="{", content_type="application/json")


async def deep(request):
    return web.Response(text="[" * 100_000, content_type="application/json")


async def broken(request):
    return web.Response(status=500)


async def cut(request):
    request.transport.abort()
    return web.Response()


async def endless(request):
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * 65536)
    return response


async def endless_events(request):
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    event = b'id: 1\nretry: 0\ndata: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(event * 1000)
    return response


async def bomb(request):
    body = gzip.compress(b" " * 50_000_000)
    return web.Response(body=body, headers={"content-type": "application/json", "content-encoding": "gzip"})


async def silent(request):
    with contextlib.suppress(ConnectionError):
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.01)
    return web.Response()


@pytest.mark.parametrize(
    "handler",
    [html, no_rpc, other_type, not_json, deep, broken, cut, endless, endless_events, bomb, silent],
    ids=lambda handler: handler.__name__,
)
async def test_a_non_mcp_server_breaks_nothing(servers, modern, handler):
    async with pretender(handler) as url:
        (apology,), tools = await asyncio.gather(
            servers.tools(settings(url, timeout_s=2)), servers.tools(settings(modern.url))
        )
        assert (await Toolbox([apology], 9, 9).call("t", "")).startswith("Error: t ")
        assert len(tools) > 10


async def test_addresses_inside_the_network_need_to_be_allowed(servers, modern):
    said = await (await box(servers, settings(modern.url, private=False))).call("t", "")
    assert said == "Error: t cannot be reached: its address is not one that this tool may connect to."


def speaks(tools=(), call=None):
    """Answers as a server with `tools`, whose calls `call` answers."""

    async def answer(request):
        if request.method != "POST":
            return web.Response(status=405)
        asked = await request.json()
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                about = {"name": "tests", "version": "1"}
                result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
            case "tools/list":
                result = {"tools": list(tools)}
            case "tools/call":
                answered = await call(request)  # ty: ignore[not-callable]
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], **answered})
            case _ if "id" not in asked:
                return web.Response(status=202)
            case _:
                error = {"code": -32601, "message": "no such method"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    return answer


def tool_result(text, *, failed=False):
    return {"result": {"content": [{"type": "text", "text": text}], "isError": failed}}


def listed(name, **schema):
    return {"name": name, "inputSchema": {"type": "object", **schema}}


async def test_only_the_invalid_tool_is_left_out(servers):
    tools = [
        listed("huge", minProperties=10**400),
        listed("large", properties={"a": {"enum": [2**64]}}),
        listed("types", properties={"a": {"type": [{"a": i} for i in range(500)]}}),
        listed("good"),
    ]
    async with pretender(speaks(tools)) as url:
        assert [tool.name for tool in await servers.tools(settings(url))] == ["t_huge", "t_good"]


async def test_unreadable_results_break_no_turn(servers, modern, monkeypatch, caplog):
    clock = Clock()
    server = McpServer(settings(modern.url), clock)

    def broken(schema):
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(mcp, "restrict", broken)
        said = await Toolbox(await server.tools(), 9, 9).call("t", "")
    assert said == "Error: the tools of t cannot be read."
    assert "MCP server t: its tools cannot be read: ZeroDivisionError" in caplog.messages
    clock.now += mcp.FIRST_WAIT_S
    known = await server.tools()
    assert len(known) > 10
    monkeypatch.setattr(mcp, "restrict", broken)
    clock.now += mcp.LIFETIME_S
    assert await server.tools() is known
    await server.close(at_once=True)


async def test_many_tools_are_not_looked_at(servers, caplog):
    tools = [listed(f"n{i}", properties={"a": {"type": 5}}) for i in range(mcp.MAX_TOOLS - 2)]
    async with pretender(speaks([listed("first"), *tools, *(listed(f"m{i}") for i in range(8000))])) as url:
        assert [tool.name for tool in await servers.tools(settings(url))] == ["t_first", "t_m0"]
        assert "MCP server t: only the first 64 of its tools are used" in caplog.messages
        assert len(caplog.messages) == mcp.MAX_TOOLS - 1
        assert [tool.name for tool in await servers.tools(settings(url, tools=("m7999",)))] == ["t_m7999"]


async def test_omitted_tools_do_not_count_towards_the_limit(servers, caplog):
    large = {"properties": {"a": {"enum": ["x" * 7500]}}}
    tools = [*(listed(f"large{i}", **large) for i in range(8)), listed("small")]
    async with pretender(speaks(tools)) as url:
        names = [tool.name for tool in await servers.tools(settings(url))]
    assert names == [*(f"t_large{i}" for i in range(6)), "t_small"]
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        f"its tool 'large{i}' is not used: with it the descriptions exceed 48000 characters" for i in (6, 7)
    ]


async def test_credentials_that_a_server_repeats_are_masked(servers, monkeypatch, caplog):
    monkeypatch.setenv("KEY", "Bearer 0123456789")

    async def call(request):
        named = (await request.json())["params"]["name"]
        text = f"You sent {request.headers['authorization']}"
        if named == "error":
            return {"error": {"code": -32000, "message": text}}
        return tool_result(text, failed=named == "fail")

    async def refuse(request):
        error = {"code": -32000, "message": f"not you, {request.headers['authorization']}"}
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "error": error})

    headers = {"Authorization": SecretRef(ref="env:KEY")}
    tools = [{**listed(name), "description": "Knows 0123456789"} for name in ("say", "fail", "error")]
    async with pretender(speaks(tools, call)) as url:
        tools = await box(servers, settings(url, headers=headers))
        assert tools.tools["t_say"].description == "Knows [secret]"
        assert await tools.call("t_say", "") == "You sent [secret]"
        assert await tools.call("t_fail", "") == "Error: You sent [secret]."
        assert await tools.call("t_error", "") == "Error: t failed: You sent [secret]."
    async with pretender(refuse) as url:
        tools = await box(servers, settings(url, headers=headers))
        assert await tools.call("t", "") == "Error: t cannot be reached: not you, [secret]."
    assert "0123456789" not in caplog.text


async def test_calls_may_last_until_their_timeout(servers, monkeypatch):
    monkeypatch.setattr(mcp_session, "_QUIET_S", 0.05)

    async def call(request):
        await asyncio.sleep(0.5)
        return tool_result("done")

    async with pretender(speaks([listed("slow")], call)) as url:
        assert await (await box(servers, settings(url))).call("t_slow", "") == "done"


async def test_no_server_can_say_that_it_was_not_asked(servers):
    codes = iter([-31001, -31002, -31003, -31004])
    calls = []

    async def call(request):
        calls.append(request)
        return {"error": {"code": next(codes), "message": "no"}}

    async with pretender(speaks([listed("twice")], call)) as url:
        tools = await box(servers, settings(url))
        for count in range(1, 5):
            assert await tools.call("t_twice", "") == "Error: t failed: no."
            assert len(calls) == count
