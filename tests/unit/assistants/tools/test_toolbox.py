"""Tools in a toolbox: arguments against a JSON Schema, effects, taint, approvals, and bounds on what they say."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from serving.assistants.tools.tool import Parameters, Tool, Toolbox, ToolError, canonical

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 10}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}


class Ticket(Parameters):
    title: str
    urgent: bool = False


class Made:
    """Remembers the calls that were made."""

    def __init__(self, says="done"):
        self.calls, self.says = [], says

    async def __call__(self, given):
        self.calls.append(given)
        return self.says


def box(*tools, calls=9, **more):
    return Toolbox(tools, calls, 5, **more)


def reader(says="read"):
    return Tool("read", "reads", {"type": "object", "properties": {}}, Made(says), untrusted=True)


def counted(tool, outcome):
    return REGISTRY.get_sample_value("headrace_tool_calls_total", {"tool": tool, "outcome": outcome}) or 0


async def test_calls_are_counted_by_the_name_that_is_configured():
    class Stuck(Made):
        async def __call__(self, given):
            await asyncio.sleep(10)

    async def fails(given):
        raise ToolError("no")

    schema = {"type": "object", "properties": {}}
    tools = [
        Tool("counted_reads", "reads", schema, Made(), configured="counted"),
        Tool("counted_fails", "fails", schema, fails, configured="counted"),
        Tool("stuck", "waits", schema, Stuck()),
        Tool("guarded", "asks", schema, Made(), approval="always"),
    ]
    keys = [("counted", "ok"), ("counted", "error"), ("stuck", "timeout"), ("guarded", "refused"), ("other", "refused")]
    before = {key: counted(*key) for key in keys}
    made = Toolbox(tools, 4, 0.05)
    for name in ("counted_reads", "counted_fails", "stuck", "guarded", "made up"):
        await made.call(name, "{}")
    assert {key: counted(*key) - before[key] for key in keys} == dict.fromkeys(keys, 1)
    assert counted("made up", "refused") == 0


def test_schemas_are_shown_unchanged():
    tool = Tool("weather", "tells", SCHEMA, Made())
    assert tool.schema["function"]["parameters"] is SCHEMA
    assert tool.line == "weather (Action Input: JSON with city, days): tells"


@pytest.mark.parametrize(
    "arguments",
    ['{"city": 5}', "{}", '{"city": "x", "days": 0}', '{"city": "x", "more": 1}', '{"city": "01234567890"}'],
)
def test_arguments_that_a_schema_refuses(arguments):
    with pytest.raises(ToolError, match="the arguments are wrong"):
        Tool("weather", "tells", SCHEMA, Made()).read(arguments)


def test_arguments_that_a_schema_takes():
    assert Tool("weather", "tells", SCHEMA, Made()).read('{"city": "Rome", "days": 2}') == {"city": "Rome", "days": 2}
    one = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert Tool("weather", "tells", one, Made()).read("Rome") == {"city": "Rome"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"properties": 5},
        {"required": 5},
    ],
    ids=str,
)
def test_invalid_schemas_do_not_crash(schema):
    with pytest.raises(ToolError, match="cannot be used"):
        Tool("odd", "is odd", schema, Made()).read('{"a": 1}')


def test_a_pattern_of_a_schema_does_not_hang():
    schema = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
    assert Tool("odd", "is odd", schema, Made()).read(json.dumps({"a": "a" * 40 + "!"}))


def test_arguments_have_a_bound():
    with pytest.raises(ToolError, match="characters"):
        Tool("weather", "tells", SCHEMA, Made()).read('"' + "x" * 100_001 + '"')


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=5), st.randoms())
def test_equal_arguments_are_canonically_equal(document, random):
    items = list(document.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(document)
    assert json.loads(canonical(document)) == document


@pytest.mark.parametrize(
    ("approval", "effects", "tainted", "needed"),
    [
        ("tainted", True, True, True),
        ("tainted", True, False, False),
        ("tainted", False, True, False),
        ("always", False, False, True),
        ("always", True, True, True),
        ("never", True, True, False),
    ],
)
async def test_when_a_call_needs_approval(approval, effects, tainted, needed):
    made = Made()
    tools = box(Tool("post", "posts", Ticket, made, effects=effects, approval=approval), tainted=tainted)
    waiting = await tools.pending([("post", '{"title": "a"}')])
    assert [(c.tool, c.arguments) for c in waiting] == [("post", '{"title":"a","urgent":false}')] * needed
    said = await tools.call("post", '{"title": "a"}')
    assert said == ("Error: post was not called: somebody must approve it first." if needed else "done")
    assert len(made.calls) == (not needed)


async def test_untrusted_tool_results_taint_the_turn():
    made = Made()
    tools = box(reader(), Tool("post", "posts", Ticket, made, effects=True))
    assert await tools.call("post", "a") != "done"  # two fields: no text
    assert await tools.call("post", '{"title": "a"}') == "done"
    await tools.call("read", "")
    assert await tools.pending([("post", '{"title": "a"}')])
    assert "approve" in await tools.call("post", '{"title": "a"}')
    assert len(made.calls) == 1


@pytest.mark.parametrize("failing", [ToolError("their words"), RuntimeError("their words")])
async def test_an_untrusted_tool_that_fails_taints_too(failing):
    async def fail(given):
        raise failing

    tools = box(Tool("read", "reads", {"properties": {}}, fail, untrusted=True))
    await tools.call("read", "")
    assert tools.tainted


async def test_tools_that_time_out_taint_too():
    async def hang(given):
        await asyncio.Event().wait()

    tools = Toolbox([Tool("read", "reads", {"properties": {}}, hang, untrusted=True)], 1, 0.01)
    assert "took longer" in await tools.call("read", "")
    assert tools.tainted


async def test_effects_can_depend_on_the_call():
    made = Made()
    tool = Tool("post", "posts", Ticket, made, effects=lambda given: given.urgent)
    tools = box(tool, tainted=True)
    assert await tools.call("post", '{"title": "a"}') == "done"
    assert "approve" in await tools.call("post", '{"title": "a", "urgent": true}')


async def test_an_approval_is_for_one_call_with_these_arguments():
    made = Made()
    tool = Tool("post", "posts", Ticket, made, effects=True)
    (waits,) = await box(tool, tainted=True).pending([("post", '{"urgent": true, "title": "a"}')])
    tools = box(tool, tainted=True, approved=[("post", waits.digest)])
    same, other = '{"title":"a",  "urgent":true}', '{"title":"b","urgent":true}'
    assert [c.arguments for c in await tools.pending([("post", other), ("post", same), ("post", same)])] == [
        '{"title":"b","urgent":true}',
        '{"title":"a","urgent":true}',
    ]
    assert "approve" in await tools.call("post", other)
    assert await tools.call("post", same) == "done"
    assert "approve" in await tools.call("post", same)
    assert len(made.calls) == 1


class Screened:
    """Takes one word out of arguments; says how often it was asked."""

    times = 0

    async def arguments(self, arguments):
        self.times += 1
        if "bomb" in arguments:
            raise ToolError("blocked")
        return arguments.replace("secret", "[removed]")

    async def observation(self, text):
        return text


async def test_approvals_cover_the_redacted_call():
    made = Made()
    tool = Tool("post", "posts", Ticket, made, effects=True)
    call = ("post", '{"title": "secret"}')
    assert await box(tool, tainted=True, screen=Screened()).pending([("post", '{"title": "bomb"}')]) == []
    (waits,) = await box(tool, tainted=True, screen=Screened()).pending([call])
    assert json.loads(waits.arguments)["title"] == "[removed]"
    screen = Screened()
    tools = box(tool, tainted=True, approved=[("post", waits.digest)], screen=screen)
    assert await tools.pending([call]) == []
    assert await tools.call(*call) == "done"
    assert (screen.times, made.calls) == (1, [Ticket(title="[removed]")])


async def test_an_approval_of_another_tool_is_none():
    tool, other = (Tool(name, "posts", Ticket, Made(), effects=True) for name in ("post", "delete"))
    (waits,) = await box(tool, tainted=True).pending([("post", '{"title": "a"}')])
    tools = box(tool, other, tainted=True, approved=[("post", waits.digest)])
    assert "approve" in await tools.call("delete", '{"title": "a"}')


async def test_the_total_size_of_tool_results_is_bounded():
    tools = box(reader("x" * 3000), calls=50, characters=7000)
    said = [await tools.call("read", "") for _ in range(6)]
    assert [len(text) for text in said[:3]] == [3000, 3000, 1000]
    assert said[3] == "Error: tool results have reached the limit of 7000 characters: answer now."
    assert sum(map(len, said)) < 7000 + 3 * 101
