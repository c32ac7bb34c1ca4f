"""The harness of strategies, before a scripted engine: its figures are known."""

from __future__ import annotations

import pytest
from aiohttp import web

from bench.load import quantile
from bench.processes import BenchError
from bench.strategies import tasks
from bench.strategies.benchmark import measure
from bench.strategies.measurement import Prices, Solution, row
from bench.strategies.tasks import Task
from serving.assistants.strategies.model import TokenUsage
from serving.config import ChainOfThought, Direct, ProgramAided, SelfConsistency
from serving.engines.endpoint import Endpoint
from tests.contract.running import Loop, engine

TASKS = [Task("one", "1"), Task("two", "2"), Task("three", "3")]
PROGRAM = "```python\ndef solution():\n    return {}\n```"


@pytest.fixture
def served():
    """Serves an engine that is right about all but the third task, and yields where."""

    async def chat(request):
        body = await request.json()
        asked = body["messages"][0]["content"]
        number = next(str(i) for i, task in enumerate(TASKS, 1) if task.question in asked)
        if "fail" in body["model"] and number == "2":
            return web.json_response({"error": {"message": "no"}}, status=500)
        said = "7" if number == "3" else number
        text = PROGRAM.format(said) if "solution()" in asked else f"#### {said}"
        if body["model"] == "mute":
            text = "I do not know."
        choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i in range(body.get("n", 1))]
        usage = {"prompt_tokens": 100, "completion_tokens": 10 * len(choices)}
        return web.json_response({"choices": choices, "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    with Loop() as loop, engine(loop, app) as port:
        yield lambda model: Endpoint(f"http://127.0.0.1:{port}/v1", model, {})


async def test_the_table_matches_the_answers(served):
    strategies = [Direct(), ChainOfThought(), SelfConsistency(samples=4), ProgramAided()]
    rows, rounds = await measure(strategies, TASKS, served("m"), Prices(1, 10), 50)
    assert [r["strategy"] for r in rows] == ["direct", "cot", "self_consistency", "pal"]
    for r in rows:
        assert (r["tasks"], r["right"], r["accuracy %"], r["no answer"], r["errors"]) == (3, 2, 66.7, 0, 0)
        assert 0 <= r["p50 s"] <= r["p95 s"]
        assert r["prompt tokens per task"] == 100
    assert [r["completion tokens per task"] for r in rows] == [10, 10, 40, 10]
    assert [r["$ per 1000 tasks"] for r in rows] == [0.2, 0.2, 0.5, 0.2]
    assert [r["value"] for r in rounds if r["strategy"] == "pal"] == ["1", "2", "7"]
    assert [r["steps"] for r in rounds if r["strategy"] == "pal"] == [("program", "result")] * 3


async def test_missing_failed_and_wrong_answers_are_distinguished(served):
    (mute,), _ = await measure([ChainOfThought()], TASKS, served("mute"), Prices(), 50)
    assert (mute["right"], mute["no answer"], mute["errors"]) == (0, 3, 0)
    (failing,), rounds = await measure([ChainOfThought()], TASKS, served("fail"), Prices(), 50)
    assert (failing["right"], failing["no answer"], failing["errors"]) == (1, 0, 1)
    assert [r["error"] for r in rounds] == ["", "engine_error", ""]


def test_percentiles_are_of_the_nearest_rank():
    ordered = [float(n) for n in range(1, 21)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.95), quantile([3.0], 0.95)) == (10, 19, 3)
    found = [Solution("1", "1", s, TokenUsage(1, 1), ()) for s in (9.0, 1.0, 5.0)]
    assert (row(Direct(), found, Prices())["p50 s"], row(Direct(), found, Prices())["p95 s"]) == (5, 9)


def test_tasks_are_read(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"question": "a", "answer": "so\\n#### 1,000"}\n\n{"question": "b", "answer": "Yes."}\n{"question": 1}'
    )
    assert tasks.load(file, 2) == [Task("a", "1000"), Task("b", "yes")]
    with pytest.raises(BenchError, match=r"t\.jsonl:4: a task is"):
        tasks.load(file)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "not json", "[]", "3", '{"question": "", "answer": "1"}', '{"question": "q", "answer": 1}', "\xff"],
)
def test_invalid_tasks_are_errors(tmp_path, text):
    file = tmp_path / "t.jsonl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BenchError, match=r"t\.jsonl"):
        tasks.load(file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(BenchError, match="none"):
        tasks.load(tmp_path / "none")


def test_the_shipped_tasks_have_answers():
    assert [t.value for t in tasks.load(tasks.OURS)] == ["420", "17", "13", "24", "22", "60", "10", "55", "3", "42"]
