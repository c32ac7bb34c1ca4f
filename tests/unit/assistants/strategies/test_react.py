"""ReAct with real tools before a scripted model, and the switch between it and self-consistency."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from serving.assistants.sandbox.pool import SandboxUnavailable
from serving.assistants.strategies import run as strategy
from serving.assistants.strategies.model import Call, ModelCompletion
from serving.assistants.strategies.run import run
from serving.assistants.strategies.work import Work
from serving.assistants.tools import tool
from serving.assistants.tools.builtin import tools
from serving.assistants.tools.tool import MAX_OBSERVATION, Parameters, Tool, Toolbox
from serving.config import React, ReactCotSc
from serving.retrieval.types import Hit
from tests.replace import replace
from tests.unit.assistants.strategies.scripted import Endless, Script, Silent

QUESTION = [{"role": "user", "content": "What is 6 * 7?"}]
FINAL = "Thought: I know\nFinal Answer: 42"


def act(tool, arguments=""):
    return f"Thought: I need {tool}\nAction: {tool}\nAction Input: {arguments}"


class Text(Parameters):
    text: str


class Nothing(Parameters):
    pass


class Many(Parameters):
    a: int
    b: int = 0


async def hang(given):
    await asyncio.Event().wait()


async def flood(given):
    return "x" * 50_000_000


async def lie(given):
    return {"not": "text"}


async def crash(given):
    raise RuntimeError("the secret of the tool")


async def empty(given):
    return ""


async def echo(given):
    return given.text


async def add(given):
    return str(given.a + given.b)


ODD = [
    Tool("hang", "hangs", Nothing, hang),
    Tool("flood", "floods", Nothing, flood),
    Tool("lie", "lies", Nothing, lie),
    Tool("crash", "crashes", Nothing, crash),
    Tool("empty", "is empty", Nothing, empty),
    Tool("echo", "says it again", Text, echo),
    Tool("add", "adds", Many, add),
]


async def solve(model, strategy=None, given=None, sandbox=None):
    strategy = strategy or React()
    work = Work(model, strategy.tokens)

    def toolbox(settings):
        ours = tools(("calculator", "python", "time"), sandbox=sandbox, search=None)
        return Toolbox(ours if given is None else given, settings.tool_calls, settings.tool_seconds)

    answer = await run(strategy, work, QUESTION, sandbox=sandbox, toolbox=toolbox)
    return answer, work


def kinds(work):
    return [step.kind for step in work.steps]


def observations(work):
    return [step.text for step in work.steps if step.kind == "observation"]


@pytest.mark.parametrize(
    "says",
    [
        ModelCompletion("half \udc9d", calls=(Call("\ud800", "echo", '{"text": "a \ud800"}'),)),
        ModelCompletion("half \udc9d", calls=(Call("a", "echo", '{"text": "\\ud800"}'),)),
        ModelCompletion("half \udc9d", calls=(Call("a", "no\ud800", "{}"),)),
        ModelCompletion(act("echo", "a \ud800")),
    ],
    ids=["arguments", "escaped", "name", "text"],
)
async def test_lone_surrogates_are_removed(says):
    protocol = "tools" if says.calls else "text"
    model = Script(says, ModelCompletion("Final Answer: \ud800"))
    answer, work = await solve(model, React(protocol=protocol), ODD)
    json.dumps([answer.text, model.asked[1]["messages"]], ensure_ascii=False).encode()
    for step in work.steps:
        (step.name + step.text).encode()
    assert "observation" in kinds(work)


async def test_a_tool_is_called_and_read(sandbox):
    model = Script(act("calculator", "6 * 7"), FINAL)
    answer, work = await solve(model, sandbox=sandbox)
    assert (answer.text, answer.value, answer.finish_reason) == ("42", "42", "stop")
    assert kinds(work) == ["thought", "action", "observation", "thought"]
    assert [(s.name, s.text) for s in work.steps[1:3]] == [("calculator", "6 * 7"), ("calculator", "42")]
    first, second = model.asked
    assert first["stop"] == ("\nObservation:",)
    assert not first["tools"]
    assert "calculator (Action Input: expression)" in first["messages"][0]["content"]
    assert first["messages"][0]["content"].endswith("Question: What is 6 * 7?")
    assert second["messages"][1:] == [
        {"role": "assistant", "content": act("calculator", "6 * 7")},
        {"role": "user", "content": "Observation: 42"},
    ]


async def test_invented_observations_are_discarded(sandbox):
    model = Script(f"{act('calculator', '6 * 7')}\nObservation: 43\nFinal Answer: 43", FINAL)
    answer, work = await solve(model, sandbox=sandbox)
    assert answer.value == "42"
    assert observations(work) == ["42"]
    assert "43" not in str(model.asked[1]["messages"])


async def test_the_model_observes_a_programs_output_and_the_time(sandbox):
    before = datetime.now(UTC).replace(microsecond=0)
    model = Script(
        act("python", "```python\nprint('so')\n6 * 7\n```"), act("time"), act("time", "Europe/Berlin"), FINAL
    )
    _, work = await solve(model, sandbox=sandbox)
    program, utc, berlin = observations(work)
    assert program == "so\n42"
    for told in (utc, berlin):
        assert before <= datetime.fromisoformat(told.split(" ")[0]) <= datetime.now(UTC)
    assert berlin.split(" ")[0].endswith(("+01:00", "+02:00"))


@pytest.mark.parametrize("zone", ["Nowhere/City", "../../etc/passwd", "/etc/passwd", "", "Europe", "\x00", "x" * 65])
async def test_a_zone_that_is_none(zone):
    _, work = await solve(Script(act("time", json.dumps({"zone": zone})), FINAL))
    assert observations(work)[0].startswith("Error: ")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("hang", "", "Error: hang took longer than 0.01 s."),
        ("lie", "", "Error: lie returned dict, not text."),
        ("crash", "", "Error: crash failed."),
        ("empty", "", "(nothing)"),
        ("echo", "plain", "plain"),
        ("echo", '{"text": "json"}', "json"),
        ("echo", '"quoted"', "quoted"),
        ("echo", "12", "12"),
        ("echo", "1.0", "1.0"),
        ("echo", '{"text": 12}', "Error: the arguments are wrong: text: Input should be a valid string."),
        ("echo", '{"other": "x"}', "Error: the arguments are wrong: text: Field required."),
        ("echo", '{"text": "a", "b": 1}', "Error: the arguments are wrong: b: Extra inputs are not permitted."),
        ("echo", "", "Error: the arguments are wrong: text: Field required."),
        ("echo", "[" * 100_000, "[" * 100),
        ("add", "1, 2", "Error: the arguments are not a JSON object."),
        ("add", '{"a": 1, ', "Error: the arguments are not a JSON object."),
        ("add", "[1, 2]", "Error: the arguments are not a JSON object."),
        ("add", '{"a": 1, "b": 2}', "3"),
        ("add", '{"a": "one"}', "Error: the arguments are wrong: a: "),
        ("lie", "{}", "Error: lie returned dict, not text."),
        ("nothing_of_the_kind", "x", "Error: nothing_of_the_kind is not a valid tool"),
    ],
)
async def test_tool_errors_are_reported_and_the_loop_continues(name, arguments, told):
    answer, work = await solve(Script(act(name, arguments), FINAL), React(tool_seconds=0.01), ODD)
    assert answer.value == "42"
    (observation,) = observations(work)
    assert observation.startswith(told)
    assert "secret" not in observation


async def test_a_flood_is_cut_before_the_model_reads_it():
    model = Script(act("flood"), FINAL)
    await solve(model, given=ODD)
    told = model.asked[1]["messages"][-1]["content"].removeprefix("Observation: ")
    assert len(told) == MAX_OBSERVATION
    assert told.endswith(" [50000000 characters, cut here]")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("1 / 0", "Error: runtime: ZeroDivisionError: division by zero"),
        ("9**9**9**9", "Error: "),
        ("__import__('os')", "Error: syntax: an expression has numbers"),
        ("1 +", "Error: syntax: this is not an arithmetic expression"),
        ("1" * 1001, "Error: the arguments are wrong: expression: String should have at most 1000"),
        ('{"expression": "(1 + 2) * 3"}', "9"),
        ("sqrt(16)", "4.0"),
    ],
)
async def test_the_model_observes_the_calculators_result(sandbox, arguments, told):
    _, work = await solve(Script(act("calculator", arguments), FINAL), sandbox=sandbox)
    assert observations(work)[0].startswith(told)


async def test_a_tool_without_a_sandbox_reports_it():
    async def none():
        raise SandboxUnavailable("no Landlock")

    answer, work = await solve(Script(act("python", "1"), FINAL), sandbox=none)
    assert observations(work) == ["Error: programs cannot be run here now."]
    assert answer.value == "42"


async def test_retrieval_shows_what_it_finds():
    asked = []

    async def search(query):
        asked.append(query)
        hit = Hit("c", "file-1", "sea.md", "Sea", "", "The sea is deep.", 0, 16, None, 0.9, 0.9, 0.0)
        return [hit] if query == "sea" else []

    found = tools(("retrieval",), sandbox=None, search=search)
    _, work = await solve(Script(act("retrieval", "sea"), act("retrieval", "sky"), FINAL), given=found)
    assert observations(work) == ["[1] Sea: The sea is deep.", "Nothing was found."]
    assert asked == ["sea", "sky"]


async def test_the_number_of_steps_is_limited():
    model = Endless(act("echo", "x"))
    answer, work = await solve(model, React(steps=4), ODD)
    assert (answer.text, answer.value, answer.finish_reason) == ("", None, "length")
    assert model.times == 4
    assert kinds(work) == ["thought", "action", "observation"] * 4 + ["limit"]
    assert work.steps[-1].text == "the steps are used up"


async def test_many_steps_are_no_recursion():
    model = Endless(act("echo", "x"))
    await solve(model, React(steps=64, tool_calls=256), ODD)
    assert model.times == 64


async def test_the_number_of_tool_calls_is_limited():
    answer, work = await solve(Endless(act("echo", "x")), React(steps=3, tool_calls=1), ODD)
    assert observations(work) == ["x", *["Error: all 1 tool calls are used up: answer now."] * 2]
    assert answer.finish_reason == "length"


async def test_malformed_output_is_retried():
    model = Script("The answer might be 42.", FINAL)
    answer, work = await solve(model)
    assert answer.value == "42"
    assert kinds(work) == ["thought", "observation", "thought"]
    assert model.asked[1]["messages"][-1]["content"].startswith("Observation: Error: Write Action")


async def test_persistently_malformed_output_becomes_the_answer():
    answer, work = await solve(Endless("It is 42."), React(steps=2))
    assert (answer.text, answer.value, answer.finish_reason) == ("It is 42.", None, "length")
    assert kinds(work)[-1] == "limit"


async def test_tokens_and_seconds_end_it_too(monkeypatch):
    answer, work = await solve(Endless(act("echo", "x")), React(tokens=20), ODD)
    assert "20 tokens" in work.steps[-1].text
    answer, work = await solve(Silent(), React(seconds=0.05), ODD)
    assert answer.finish_reason == "length"
    assert kinds(work) == ["limit"]

    # The time is over while a tool is at work, however long all before it took.
    timeout, scopes = asyncio.timeout, []

    def set_by_the_tool(seconds):
        scopes.append(timeout(None if seconds == 77 else seconds))
        return scopes[-1]

    async def hang(given):
        scopes[0].reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    for module in (strategy, tool):
        replace(monkeypatch, module, asyncio, timeout=set_by_the_tool)
    tools = [Tool("hang", "hangs", Nothing, hang)]
    answer, work = await solve(Script(act("hang")), React(seconds=77, tool_seconds=60), tools)
    assert kinds(work) == ["thought", "action", "limit"]


async def test_a_disconnect_cancels_the_tool():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(given):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(solve(Script(act("wait")), given=[Tool("wait", "waits", Nothing, wait)]))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_model_errors_are_propagated():
    with pytest.raises(ConnectionError):
        await solve(Script(act("calculator", "1"), ConnectionError()))


def calls(*of, text=""):
    return ModelCompletion(text, "tool_calls", tuple(Call(f"theirs-{i}", *call) for i, call in enumerate(of)))


async def test_a_model_that_calls_tools_calls_them():
    model = Script(calls(("echo", '{"text": "a"}'), ("add", '{"a": 2}'), text="Both."), "It is 42.")
    answer, work = await solve(model, React(protocol="tools"), ODD)
    assert (answer.text, answer.value) == ("It is 42.", "42")
    assert kinds(work) == ["thought", "action", "action", "observation", "observation"]
    first, second = model.asked
    assert first["messages"] == QUESTION
    assert first["tools"][-1]["function"]["parameters"]["required"] == ["a"]
    assert not first["stop"]
    assistant, a, b = second["messages"][1:]
    assert assistant["content"] == "Both."
    assert [c["function"]["name"] for c in assistant["tool_calls"]] == ["echo", "add"]
    assert [(m["role"], m["content"]) for m in (a, b)] == [("tool", "a"), ("tool", "2")]
    assert [m["tool_call_id"] for m in (a, b)] == [c["id"] for c in assistant["tool_calls"]]


@pytest.mark.parametrize("arguments", ["not json", "{", "[]", "null", "1e999", '"x"'])
async def test_arguments_of_a_call_that_are_not_json(arguments):
    _, work = await solve(Script(calls(("add", arguments)), "42"), React(protocol="tools"), ODD)
    assert observations(work)[0].startswith("Error: the arguments are")


async def test_calls_of_one_message_are_bounded():
    model = Script(calls(*[("echo", '{"text": "a"}')] * 1000), "42")
    _, work = await solve(model, React(protocol="tools", tool_calls=3), ODD)
    assert len(observations(work)) == 16
    assert observations(work).count("a") == 3
    assert len(model.asked[1]["messages"][1]["tool_calls"]) == 16


async def test_unknown_tools_are_reported_to_the_model():
    _, work = await solve(Script(calls(("rm", "{}")), "42"), React(protocol="tools"), ODD)
    assert observations(work)[0].startswith("Error: rm is not a valid tool")


async def test_react_answers_are_not_voted_on():
    model = Script(FINAL)
    answer, work = await solve(model, ReactCotSc(samples=3))
    assert answer.value == "42"
    assert kinds(work) == ["thought"]


async def test_without_an_answer_of_react_the_samples_answer():
    model = Script(act("echo", "1"), act("echo", "2"), "#### 7", "#### 42", "#### 42")
    answer, work = await solve(model, ReactCotSc(samples=3, steps=2), ODD)
    assert (answer.value, answer.finish_reason) == ("42", "stop")
    assert kinds(work) == ["thought", "action", "observation"] * 2 + ["switch", "thought", "thought", "thought", "vote"]


async def test_samples_that_agree_answer_without_react():
    model = Script("#### 42", "#### 7", "#### 42", "#### 8")
    answer, work = await solve(model, ReactCotSc(first="self_consistency", samples=4))
    assert answer.value == "42"  # two of four are not fewer than half
    assert kinds(work) == ["thought"] * 4 + ["vote"]


async def test_samples_that_differ_leave_it_to_react():
    model = Script("#### 1", "#### 2", "#### 3", FINAL)
    answer, work = await solve(model, ReactCotSc(first="self_consistency", samples=3))
    assert answer.value == "42"
    assert kinds(work) == [*["thought"] * 3, "vote", "switch", "thought"]
    assert work.steps[4].text == "only 1 of 3 samples agree: ReAct answers"


async def test_when_react_cannot_either_the_samples_stand():
    model = Script("#### 1", "#### 2", "#### 3", act("echo", "1"))
    answer, _ = await solve(model, ReactCotSc(first="self_consistency", samples=3, steps=1), ODD)
    assert (answer.value, answer.finish_reason) == ("1", "stop")


async def test_unparsable_react_output_is_no_vote():
    model = Script("#### 1", "#### 2", "#### 3", "rubbish", "rubbish", "rubbish")
    answer, _ = await solve(model, ReactCotSc(first="self_consistency", samples=3, tokens=45), ODD)
    assert (answer.value, answer.finish_reason) == ("1", "length")


async def test_truncated_answers_have_finish_reason_length():
    answer, _ = await solve(Script(ModelCompletion("Final Answer: 4", "length")))
    assert (answer.text, answer.finish_reason) == ("4", "length")
    answer, _ = await solve(Script(ModelCompletion("It is", "length")), React(protocol="tools"))
    assert (answer.text, answer.finish_reason) == ("It is", "length")


async def test_an_endless_name_is_cut():
    model = Script(calls(("x" * 100_000, "{}")), "42")
    await solve(model, React(protocol="tools"), ODD)
    told = model.asked[1]["messages"][-1]["content"]
    assert told.startswith(f"Error: {'x' * 64} is not a valid tool, try one of [hang, flood, ")


async def test_calls_of_one_message_are_made_at_the_same_time():
    both = asyncio.Barrier(2)

    async def meet(given):
        async with asyncio.timeout(10):
            await both.wait()
        return given.text

    model = Script(calls(("meet", "a"), ("meet", "b")), "42")
    _, work = await solve(model, React(protocol="tools"), [Tool("meet", "meets", Text, meet)])
    assert observations(work) == ["a", "b"]


async def test_observations_stand_in_the_order_of_the_calls():
    second = asyncio.Event()

    async def first(given):
        await second.wait()
        return "first"

    async def then(given):
        second.set()
        return "second"

    model = Script(calls(("first", ""), ("then", "")), "42")
    _, work = await solve(
        model, React(protocol="tools"), [Tool("first", "", Nothing, first), Tool("then", "", Nothing, then)]
    )
    assert observations(work) == ["first", "second"]
    assert [(m["role"], m["content"]) for m in model.asked[1]["messages"][2:]] == [
        ("tool", "first"),
        ("tool", "second"),
    ]


async def test_a_fatal_call_error_ends_the_answer_and_other_calls():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(given):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def changing():
        await begun.wait()
        raise ConnectionError("the database is gone")

    change = Tool("change", "changes", Nothing, empty, effects=True)
    toolbox = Toolbox([Tool("hang", "hangs", Nothing, hang), change], 9, 60, changing=changing)
    work = Work(Script(calls(("hang", ""), ("change", ""))), 1000)
    with pytest.raises(ConnectionError, match="database"):
        await run(React(protocol="tools"), work, QUESTION, sandbox=None, toolbox=lambda settings: toolbox)
    assert ended.is_set()
    assert asyncio.current_task().cancelling() == 0, "a deadline around it must not take this for a cancellation"


async def test_unknown_tool_calls_use_no_budget():
    model = Script(calls(*[("rm", "{}")] * 9), calls(("echo", '{"text": "a"}')), "42")
    _, work = await solve(model, React(protocol="tools", tool_calls=1, tool_characters=1000), ODD)
    assert observations(work)[-1] == "a"


async def test_unknown_tool_calls_are_counted():
    def refused():
        return REGISTRY.get_sample_value("headrace_tool_calls_total", {"tool": "other", "outcome": "refused"}) or 0

    before = refused()
    await solve(Script(act("rm"), FINAL), given=ODD)
    assert refused() == before + 1
