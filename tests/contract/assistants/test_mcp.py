"""Tools of MCP servers: real ones, and what pretends to be one."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import logging
import ssl
import subprocess
import sys

import pytest
from aiohttp import web

from serving.assistants.tools import mcp, mcp_session
from serving.assistants.tools.mcp import McpServer, McpServers
from serving.assistants.tools.tool import MAX_OBSERVATION, Toolbox
from serving.config import McpTool, SecretRef
from tests.servers.mcp_process import Process


@pytest.fixture(scope="module")
def modern():
    process = Process()
    yield process
    process.close()


@pytest.fixture(scope="module")
def legacy():
    process = Process("legacy")
    yield process
    process.close()


@pytest.fixture(params=["modern", "legacy"])
def process(request):
    """A server of either kind: without sessions, or with a handshake and sessions."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def servers():
    servers = McpServers()
    yield servers
    await servers.close()
    assert {asyncio.current_task()} == asyncio.all_tasks()  # nothing of it is left


@contextlib.asynccontextmanager
async def pretender(handler):
    """Serves what `handler` answers to anything, and yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp"
    await runner.cleanup()


def settings(url, **more):
    more = {"approval": "never", "private": True, "timeout_s": 20, **more}
    return McpTool(name="t", url=url, **more)


async def box(servers, given):
    return Toolbox(await servers.tools(given), 1000, 60, characters=10_000_000)


async def test_its_tools_are_there(servers, process, caplog):
    caplog.set_level(logging.INFO, "headrace.tools")
    given = settings(process.url, read_only=("add",), approval="tainted")
    tools = {tool.name: tool for tool in await servers.tools(given)}
    assert {"t_add", "t_calls", "t_dotted_name_x"} < set(tools)
    assert all(tool.untrusted for tool in tools.values())
    assert all(tool.effects is (name != "t_add") for name, tool in tools.items())  # "lies" says that it only reads
    assert {tool.approval for tool in tools.values()} == {"tainted"}
    assert tools["t_add"].description == "Adds two[31m numbers. Ignore me."
    assert tools["t_add"].parameters == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"allOf": [{"type": "integer"}]}},
        "required": ["a"],
    }
    assert tools["t_calls"].description == "Tells how often it was asked"
    assert tools["t_fail"].description == "(no description)"
    assert len(tools["t_long"].description) == 1000
    for name, why in {
        "dotted_name_x": "another has its name",
        "nnn": "its name is too long",
        "wide": "its schema cannot be used: it has more than 500 parts",
        "remote": "its schema cannot be used: it refers to something outside of it",
        "broken": "its schema cannot be used: it is not a JSON Schema",
    }.items():
        assert any(f"its tool '{name}" in line and line.endswith(why) for line in caplog.messages)
        assert name == "dotted_name_x" or f"t_{name}" not in tools


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("add", '{"a": 1, "b": 2}', "3"),
        ("add", '{"a": "x"}', "Error: the arguments are wrong: $.a: 'x' is not of type 'integer'."),
        ("add", "{}", "Error: the arguments are wrong: $: 'a' is a required property."),
        ("fail", "", "Error: the printer is on fire."),
        ("structured", "", '{"größe": [1, 2]}'),
        (
            "things",
            "",
            "one\n[image: image/png, 5 bytes]\n[audio: audio/wav, 5 bytes]\n[resource: file:///l, of unknown kind]\n"
            "[resource: file:///a.bin, application/x, 5 bytes]\na page",
        ),
    ],
)
async def test_tools_are_called(servers, process, name, arguments, said):
    assert await (await box(servers, settings(process.url))).call(f"t_{name}", arguments) == said


async def test_what_fails_is_said_and_the_next_call_works(servers, process):
    tools = await box(servers, settings(process.url))
    assert (await tools.call("t_raise", "")).startswith("Error: t failed: ")
    assert await tools.call("t_add", '{"a": 1}') == "1"


async def test_arguments_are_checked_before_the_server_is_asked(servers, process):
    tools = await box(servers, settings(process.url))
    before = int(await tools.call("t_calls", ""))
    await tools.call("t_add", '{"a": "x"}')
    assert int(await tools.call("t_calls", "")) == before + 1


async def test_many_call_at_once_over_one_session(servers, process):
    given = settings(process.url)
    toolboxes = await asyncio.gather(*(box(servers, given) for _ in range(32)))
    (server,) = servers._servers.values()
    session = server._session
    calls = (tools.call("t_together", json.dumps({"n": i})) for i, tools in enumerate(toolboxes))
    assert await asyncio.gather(*calls) == [str(i) for i in range(32)]  # none answers before all have come
    assert server._session is session


async def test_more_calls_than_a_server_may_have_are_refused(servers, process, monkeypatch):
    tools = await box(servers, settings(process.url, timeout_s=20))
    monkeypatch.setattr(mcp, "MAX_IN_FLIGHT", 2)
    hanging = [asyncio.create_task(tools.call("t_hang", "")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await tools.call("t_add", '{"a": 1}') == "Error: t is busy: 2 calls are under way."
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert await tools.call("t_add", '{"a": 1}') == "1"


async def test_a_tool_that_hangs_holds_nobody_up(servers, modern, legacy):
    async def hangs(process):
        given = settings(process.url, timeout_s=55)
        tools, others = await box(servers, given), await box(servers, settings(process.url))
        hanging = asyncio.create_task(tools.call("t_hang", ""))
        assert await others.call("t_add", '{"a": 1}') == "1"
        assert await tools.call("t_add", '{"a": 2}') == "2"
        assert not hanging.done()
        session = servers._servers[given.model_dump_json()]._session
        assert session._seconds == 55
        session._seconds = 0.5  # for the next one alone
        assert await tools.call("t_hang", "") == "Error: t failed: it did not answer within 0.5 s."
        assert await tools.call("t_add", '{"a": 3}') == "3"
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

    await asyncio.gather(hangs(modern), hangs(legacy))


async def test_who_is_cancelled_leaves_the_others_alone(servers, process):
    tools = await box(servers, settings(process.url))
    hanging = asyncio.create_task(tools.call("t_hang", ""))
    other = asyncio.create_task(tools.call("t_add", '{"a": 1}'))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await other == "1"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await tools.call("t_hang", "")
    assert asyncio.current_task().cancelling() == 0
    assert await tools.call("t_add", '{"a": 2}') == "2"


async def test_who_hangs_up_does_not_stop_the_opening_for_others(servers, process):
    given = settings(process.url)
    hasty, patient = asyncio.create_task(servers.tools(given)), asyncio.create_task(servers.tools(given))
    await asyncio.sleep(0)
    hasty.cancel()
    assert "t_add" in {tool.name for tool in await patient}


async def test_a_flood_is_cut_off(servers, process):
    tools = await box(servers, settings(process.url, timeout_s=60))
    said = await tools.call("t_flood", "")
    assert said.startswith("Error: t failed: ")
    assert len(said) < MAX_OBSERVATION
    assert await tools.call("t_add", '{"a": 1}') == "1"


async def test_a_tool_that_disappears(servers, process):
    given = settings(process.url)
    tools = await box(servers, given)
    assert await tools.call("t_fleeting", "") == "done"
    # The server says that its tools are others; nobody waits for the end of the list's lifetime.
    async with asyncio.timeout(20):
        while "t_fleeting" in {tool.name for tool in await servers.tools(given)}:
            # Again, since one with another session listens a little later than it is there.
            assert await tools.call("t_vanish", "") == "gone"
            await asyncio.sleep(0.05)
    assert (await tools.call("t_fleeting", "")).startswith("Error: t failed: ")  # a turn that began before


async def test_a_server_that_starts_again_between_calls_is_not_noticed(servers, process):
    tools = await box(servers, settings(process.url))
    assert await tools.call("t_add", '{"a": 1}') == "1"
    process.stop()
    process.start()
    assert await tools.call("t_add", '{"a": 2}') == "2"


async def test_a_server_that_is_gone_comes_back(process_of_its_own, caplog):
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


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


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


async def test_its_tools_are_asked_for_again_after_a_while(modern):
    clock = Clock()
    server = McpServer(settings(modern.url), clock)
    first = await server.tools()
    clock.now += mcp.LIFETIME_S - 1
    assert await server.tools() is first
    clock.now += 2
    again = await server.tools()
    assert again is not first
    assert [tool.name for tool in again] == [tool.name for tool in first]
    await server.close(at_once=True)


async def test_only_tools_that_are_allowed_are_there(servers, modern, caplog):
    tools = await box(servers, settings(modern.url, tools=("add", "nothing")))
    assert list(tools.tools) == ["t_add"]
    assert "MCP server t: it has no tool 'nothing'" in caplog.messages
    assert (await tools.call("t_fail", "")).startswith("Error: t_fail is not a valid tool")


async def test_credentials(servers, tmp_path, monkeypatch, caplog):
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
        return said("done")

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
async def test_what_is_no_mcp_server_breaks_nothing(servers, modern, handler):
    async with pretender(handler) as url:
        (apology,), tools = await asyncio.gather(
            servers.tools(settings(url, timeout_s=2)), servers.tools(settings(modern.url))
        )
        assert (await Toolbox([apology], 9, 9).call("t", "")).startswith("Error: t ")
        assert len(tools) > 10


async def test_addresses_inside_the_network_need_to_be_allowed(servers, modern):
    said = await (await box(servers, settings(modern.url, private=False))).call("t", "")
    assert said == "Error: t cannot be reached: its address is not one that this tool may connect to."


async def test_a_server_that_is_not_named_any_more_is_left(servers, modern):
    given = settings(modern.url)
    await servers.tools(given)
    (server,) = servers._servers.values()
    session = server._session
    servers.configure([given])
    assert session.usable
    servers.configure([settings(modern.url, timeout_s=5)])
    async with asyncio.timeout(20):
        while session.usable:
            await asyncio.sleep(0.01)


async def test_nothing_is_opened_that_nobody_needs():
    server = McpServer(settings("http://127.0.0.1:1/mcp"))
    await server.close(at_once=True)
    assert server._session is None


def test_the_sdk_is_imported_by_those_who_use_it():
    code = "import sys, serving.api.app; print([m for m in ('mcp', 'mcp_types', 'httpx2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "given",
    [
        {"name": "T"},
        {"name": "x" * 33},
        {"url": "ftp://tools.example.com"},
        {"url": "https://"},
        {"url": "https://me:secret@tools.example.com/mcp"},
        {"url": "https://tools.example.com:99999/mcp"},
        {"url": "https://tools.example.com/a b"},
        {"headers": {"Host": {"ref": "env:X"}}},
        {"headers": {"Mcp-Session-Id": {"ref": "env:X"}}},
        {"headers": {"X": {"ref": "env:X"}, "x": {"ref": "env:X"}}},
        {"headers": {"X": "plain"}},
        {"headers": {"X\r\nY": {"ref": "env:X"}}},
        {"tools": ()},
        {"tools": ("a",), "read_only": ("b",)},
        {"timeout_s": 0},
        {"max_bytes": 10**9},
        {"command": "npx"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        McpTool.model_validate({"kind": "mcp", "name": "t", "url": "https://tools.example.com/mcp", **given})


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
                answered = await call(request)
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], **answered})
            case _ if "id" not in asked:
                return web.Response(status=202)
            case _:
                error = {"code": -32601, "message": "no such method"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    return answer


def listed(name, **schema):
    return {"name": name, "inputSchema": {"type": "object", **schema}}


def said(text, *, failed=False):
    return {"result": {"content": [{"type": "text", "text": text}], "isError": failed}}


async def test_a_tool_that_nobody_can_be_told_of_is_left_out_alone(servers):
    tools = [
        listed("huge", minProperties=10**400),
        listed("large", properties={"a": {"enum": [2**64]}}),
        listed("types", properties={"a": {"type": [{"a": i} for i in range(500)]}}),
        listed("good"),
    ]
    async with pretender(speaks(tools)) as url:
        assert [tool.name for tool in await servers.tools(settings(url))] == ["t_huge", "t_good"]


async def test_what_cannot_be_read_breaks_no_turn(servers, modern, monkeypatch, caplog):
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
        assert "MCP server t: all but the first 64 of its tools are left out" in caplog.messages
        assert len(caplog.messages) == mcp.MAX_TOOLS - 1
        assert [tool.name for tool in await servers.tools(settings(url, tools=("m7999",)))] == ["t_m7999"]


async def test_tools_that_are_left_out_take_no_room(servers, caplog):
    large = {"properties": {"a": {"enum": ["x" * 7500]}}}
    tools = [*(listed(f"large{i}", **large) for i in range(8)), listed("small")]
    async with pretender(speaks(tools)) as url:
        names = [tool.name for tool in await servers.tools(settings(url))]
    assert names == [*(f"t_large{i}" for i in range(6)), "t_small"]
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        f"its tool 'large{i}' is left out: with it they have more than 48000 characters" for i in (6, 7)
    ]


async def left(server):
    """Waits until the server has no session, nor ends one."""
    async with asyncio.timeout(20):
        while server._session is not None or server._ending:
            await asyncio.sleep(0.01)


async def test_a_turn_calls_tools_of_a_server_that_is_not_named_any_more(servers, process):
    tools = await box(servers, settings(process.url))
    (server,) = servers._servers.values()
    hanging = asyncio.create_task(tools.call("t_hang", ""))
    await asyncio.sleep(0)
    session = server._session
    servers.configure([])
    assert await tools.call("t_add", '{"a": 1}') == "1"
    assert session.usable  # a call is under way
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    await left(server)
    assert await tools.call("t_add", '{"a": 2}') == "2"
    await left(server)
    await servers.close()
    assert await tools.call("t_add", '{"a": 3}') == "Error: t is not used any more."


async def test_a_call_under_way_at_a_server_that_is_not_named_any_more_ends_with_the_rest(servers, modern):
    tools = await box(servers, settings(modern.url))
    servers.configure([])
    hanging = asyncio.create_task(tools.call("t_hang", ""))
    assert await tools.call("t_add", '{"a": 1}') == "1"
    await servers.close()
    assert (await hanging).startswith("Error: t failed: ")


async def test_a_turn_that_began_with_another_catalogue_leaves_no_session(servers, modern):
    servers.configure([])
    tools = await box(servers, settings(modern.url))
    assert await tools.call("t_add", '{"a": 1}') == "1"
    assert not servers._servers
    (server,) = servers._left
    await left(server)


async def test_who_goes_before_a_session_is_there_leaves_none_behind(servers, modern):
    tools = await box(servers, settings(modern.url))
    (server,) = servers._servers.values()
    servers.configure([])
    await left(server)
    calling = asyncio.create_task(tools.call("t_add", '{"a": 1}'))
    async with asyncio.timeout(20):
        while server._opening is None:
            await asyncio.sleep(0)
    opening = server._opening
    calling.cancel()
    assert (await opening).usable is False
    await left(server)


async def test_a_server_that_is_busy_has_not_failed(modern, monkeypatch):
    server = McpServer(settings(modern.url), Clock())
    with monkeypatch.context() as patched:
        patched.setattr(mcp, "MAX_IN_FLIGHT", 0)
        assert [tool.name for tool in await server.tools()] == ["t"]
    assert len(await server.tools()) > 10
    await server.close(at_once=True)


async def test_credentials_that_a_server_repeats_are_masked(servers, monkeypatch, caplog):
    monkeypatch.setenv("KEY", "Bearer 0123456789")

    async def call(request):
        named = (await request.json())["params"]["name"]
        text = f"You sent {request.headers['authorization']}"
        if named == "error":
            return {"error": {"code": -32000, "message": text}}
        return said(text, failed=named == "fail")

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


async def test_a_call_may_take_as_long_as_it_is_given(servers, monkeypatch):
    monkeypatch.setattr(mcp_session, "_QUIET_S", 0.05)

    async def call(request):
        await asyncio.sleep(0.5)
        return said("done")

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


async def test_authorities_are_not_read_again_for_each_session(servers, modern, monkeypatch):
    def read():
        raise AssertionError

    monkeypatch.setattr(ssl, "create_default_context", read)
    assert len(await servers.tools(settings(modern.url))) > 10


async def test_a_session_that_breaks_is_not_asked(servers, process):
    tools = await box(servers, settings(process.url))
    (server,) = servers._servers.values()
    server._session._task.cancel()
    await asyncio.sleep(0)  # it has begun to end
    assert await tools.call("t_add", '{"a": 1}') == "1"
