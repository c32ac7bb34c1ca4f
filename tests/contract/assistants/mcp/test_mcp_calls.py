"""Tools of real MCP servers: which there are, how they are called, and how sessions begin and end."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl

import pytest

from serving.assistants.tools import mcp
from serving.assistants.tools.mcp import McpServer
from tests.contract.assistants.mcp.toolbox import Clock, box, settings


async def test_the_servers_tools_are_offered(servers, process, caplog):
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
        "dotted_name_x": "another tool has its name",
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


async def test_a_failed_call_is_reported_and_the_next_one_works(servers, process):
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


async def test_a_hanging_tool_does_not_block_others(servers, modern, legacy):
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


async def test_cancelling_one_call_does_not_affect_others(servers, process):
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


async def test_a_disconnect_does_not_abort_the_shared_session_start(servers, process):
    given = settings(process.url)
    hasty, patient = asyncio.create_task(servers.tools(given)), asyncio.create_task(servers.tools(given))
    await asyncio.sleep(0)
    hasty.cancel()
    assert "t_add" in {tool.name for tool in await patient}


async def test_a_tool_that_disappears(servers, process):
    given = settings(process.url)
    tools = await box(servers, given)
    assert await tools.call("t_fleeting", "") == "done"
    # The server says that its tools are others; nobody waits for the end of the list's lifetime.
    async with asyncio.timeout(120):
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


async def test_the_tool_list_is_refreshed(modern):
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


async def test_only_allowed_tools_are_offered(servers, modern, caplog):
    tools = await box(servers, settings(modern.url, tools=("add", "nothing")))
    assert list(tools.tools) == ["t_add"]
    assert "MCP server t: it has no tool 'nothing'" in caplog.messages
    assert (await tools.call("t_fail", "")).startswith("Error: t_fail is not a valid tool")


async def test_the_session_of_a_removed_server_is_closed(servers, modern):
    given = settings(modern.url)
    await servers.tools(given)
    (server,) = servers._servers.values()
    session = server._session
    servers.configure([given])
    assert session.usable
    servers.configure([settings(modern.url, timeout_s=5)])
    async with asyncio.timeout(120):
        while session.usable:
            await asyncio.sleep(0.01)


async def test_sessions_are_opened_on_demand():
    server = McpServer(settings("http://127.0.0.1:1/mcp"))
    await server.close(at_once=True)
    assert server._session is None


async def left(server):
    """Waits until the server has no session, nor ends one."""
    async with asyncio.timeout(120):
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
    assert await tools.call("t_add", '{"a": 3}') == "Error: t is no longer used."


async def test_removing_a_server_ends_its_running_calls(servers, modern):
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


async def test_a_disconnect_during_session_start_leaks_no_session(servers, modern):
    tools = await box(servers, settings(modern.url))
    (server,) = servers._servers.values()
    servers.configure([])
    await left(server)
    calling = asyncio.create_task(tools.call("t_add", '{"a": 1}'))
    async with asyncio.timeout(120):
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


async def test_authorities_are_not_read_again_for_each_session(servers, modern, monkeypatch):
    def read():
        raise AssertionError

    monkeypatch.setattr(ssl, "create_default_context", read)
    assert len(await servers.tools(settings(modern.url))) > 10


async def test_broken_sessions_are_not_reused(servers, process):
    tools = await box(servers, settings(process.url))
    (server,) = servers._servers.values()
    server._session._task.cancel()
    await asyncio.sleep(0)  # it has begun to end
    assert await tools.call("t_add", '{"a": 1}') == "1"
