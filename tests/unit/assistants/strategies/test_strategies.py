"""Strategies without tools, step by step, before a scripted model."""

from __future__ import annotations

import pytest

from serving.assistants.sandbox.pool import SandboxLimits, SandboxUnavailable, open_sandbox
from serving.assistants.strategies.model import ModelCompletion, PromptTooLong
from serving.assistants.strategies.run import run
from serving.assistants.strategies.work import MAX_TEXT, Work
from serving.config import ChainOfThought, Direct, ProgramAided, SelfConsistency
from tests.unit.assistants.strategies.scripted import Endless, Script, Silent

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6 * 7?"}]


async def solve(strategy, model, messages=QUESTION, sandbox=None, tokens=None):
    work = Work(model, tokens or getattr(strategy, "tokens", 1000))
    answer = await run(strategy, work, messages, sandbox=sandbox, toolbox=None)
    return answer, work


def kinds(work):
    return [step.kind for step in work.steps]


async def test_direct_gives_the_text_as_it_is():
    model = Script(ModelCompletion("It is 42.", "length"))
    answer, work = await solve(Direct(), model)
    assert (answer.text, answer.value, answer.finish_reason) == ("It is 42.", "42", "length")
    assert model.asked[0]["messages"] == QUESTION
    assert work.steps == []


async def test_cot_shows_its_thought_and_answers_with_its_end():
    model = Script("6 * 7 is 42.\nThe answer is 42.")
    answer, work = await solve(ChainOfThought(), model)
    assert (answer.text, answer.value, answer.finish_reason) == ("42.", "42", "stop")
    assert [(s.kind, s.text, s.tokens) for s in work.steps] == [("thought", "6 * 7 is 42.\nThe answer is 42.", 5)]
    asked = model.asked[0]["messages"]
    assert asked[0] == QUESTION[0]
    assert asked[1]["content"].startswith("What is 6 * 7?")
    assert "step by step" in asked[1]["content"]
    assert work.usage.total == 15


async def test_cot_without_an_answer_returns_all_text():
    answer, _ = await solve(ChainOfThought(), Script("I am not sure."))
    assert (answer.text, answer.value) == ("I am not sure.", None)


async def test_a_template_of_your_own_replaces_the_prompt():
    mine = {"name": "mine", "version": 3, "text": "Q: {question}\nA:"}
    model = Script("#### 1")
    await solve(ChainOfThought(cot_template=mine), model)
    assert model.asked[0]["messages"][1]["content"] == "Q: What is 6 * 7?\nA:"


async def test_the_majority_of_samples_answers():
    model = Script(*(f"#### {n}" for n in (41, 42, 42, 7, 42)))
    answer, work = await solve(SelfConsistency(samples=5, vote_temperature=0.9), model)
    assert answer.value == "42"
    assert [(a["n"], a["temperature"]) for a in model.asked] == [(5, 0.9)]
    assert kinds(work) == ["thought"] * 5 + ["vote"]
    assert work.steps[-1].text == "42: 3 of 5"
    assert sum(step.tokens for step in work.steps) == work.usage.completion_tokens == 25


async def test_equal_answers_vote_together():
    answer, _ = await solve(SelfConsistency(samples=3), Script("#### 5", "#### 1,000.0", "The answer is $1000"))
    assert answer.value == "1000"
    assert answer.text == "1,000.0"


@pytest.mark.parametrize(("says", "value"), [((1, 2, 2, 1), "1"), ((2, 1, 1, 2), "2"), ((1, 2, 3, 4), "1")])
async def test_a_tie_goes_to_the_first(says, value):
    answer, _ = await solve(SelfConsistency(samples=4), Script(*(f"#### {n}" for n in says)))
    assert answer.value == value


async def test_engines_without_n_are_called_repeatedly():
    model = Script("#### 1", "#### 2", "#### 2", most=1)
    answer, _ = await solve(SelfConsistency(samples=3), model)
    assert answer.value == "2"
    assert [a["n"] for a in model.asked] == [3, 2, 1]


async def test_samples_without_an_answer_have_no_vote():
    cut = ModelCompletion("so 9", "length")
    answer, work = await solve(
        SelfConsistency(samples=4), Script("hm", cut, ModelCompletion("9 or", "length"), "#### 3")
    )
    assert answer.value == "3"
    assert work.steps[-1].text == "3: 1 of 4"


async def test_when_no_sample_answers_the_first_is_shown():
    answer, work = await solve(SelfConsistency(samples=2), Script("hm", "well"))
    assert (answer.text, answer.value) == ("hm", None)
    assert work.steps[-1].text == "None: 0 of 2"


async def test_samples_within_the_token_budget_vote():
    model = Script("#### 1", "#### 2", "#### 2", "#### 2", most=1)
    answer, work = await solve(SelfConsistency(samples=4, tokens=31), model)
    assert (answer.value, answer.finish_reason) == ("1", "length")
    assert kinds(work) == ["thought", "thought", "limit"]
    assert "31 tokens" in work.steps[-1].text
    assert model.left == 2


async def test_completions_are_bounded_by_the_remaining_tokens():
    model = Script("#### 1", "#### 2", "#### 2", most=1)
    await solve(SelfConsistency(samples=3, tokens=100), model)
    assert [a["max_tokens"] for a in model.asked] == [100 // 3, 85 // 2, 70]


async def test_a_model_that_hangs_times_out():
    answer, work = await solve(ChainOfThought(seconds=0.01), Silent())
    assert (answer.text, answer.value, answer.finish_reason) == ("", None, "length")
    assert kinds(work) == ["limit"]
    assert "0.01 s" in work.steps[0].text


async def test_model_timeouts_are_errors():
    with pytest.raises(TimeoutError):
        await solve(ChainOfThought(), Script(TimeoutError("connection")))


async def test_a_prompt_that_never_fitted_is_an_error():
    with pytest.raises(PromptTooLong):
        await solve(ChainOfThought(), Script(PromptTooLong()))


async def test_long_steps_are_cut_and_say_so():
    _, work = await solve(ChainOfThought(), Script("x" * 100_000))
    assert len(work.steps[0].text) == MAX_TEXT
    assert work.steps[0].text.endswith(" [100000 characters, cut here]")


PROGRAM = "Sure:\n```python\ndef solution():\n    eggs = 16 - 3 - 4\n    return eggs * 2\n```\nDone."
BROKEN = "```python\ndef solution():\n    return 1 / 0\n```"


async def test_pal_answers_with_what_the_program_returns(sandbox):
    model = Script(PROGRAM)
    answer, work = await solve(ProgramAided(), model, sandbox=sandbox)
    assert (answer.text, answer.value) == ("18", "18")
    assert [(s.kind, s.text) for s in work.steps] == [
        ("program", "def solution():\n    eggs = 16 - 3 - 4\n    return eggs * 2\n"),
        ("result", "18"),
    ]
    assert "solution()" in model.asked[0]["messages"][1]["content"]


async def test_a_program_that_fails_is_repaired(sandbox):
    model = Script(BROKEN, PROGRAM)
    answer, work = await solve(ProgramAided(), model, sandbox=sandbox)
    assert answer.value == "18"
    assert kinds(work) == ["program", "result", "program", "result"]
    assert work.steps[1].text == "Error: runtime: ZeroDivisionError: division by zero (line 2)"
    said, complaint = model.asked[1]["messages"][-2:]
    assert said == {"role": "assistant", "content": BROKEN}
    assert "ZeroDivisionError" in complaint["content"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return 'x' * 10**9", "Error: memory"),
        ("return solution()", "Error: recursion"),
        ("return (", "Error: syntax"),
        ("return open('/etc/passwd').read()", "Error: runtime"),
        ("import socket", "Error: runtime"),
        ("pass", "Error: the program gave no result"),
        ("raise ValueError('x' * 100000)", "Error: runtime: ValueError: xxx"),
    ],
)
async def test_failing_programs_are_repaired(sandbox, body, told):
    model = Script(f"```python\ndef solution():\n    {body}\n```", PROGRAM)
    answer, work = await solve(ProgramAided(), model, sandbox=sandbox)
    assert answer.value == "18"
    assert work.steps[1].text.startswith(told)
    assert len(model.asked[1]["messages"][-1]["content"]) < 1000


async def test_a_program_without_an_end_is_retried():
    async with open_sandbox(SandboxLimits(time_s=0.5, workers=1)) as box:

        async def sandbox():
            return box

        # Limits are of wall-clock time, which a busy host may exceed with a good program: there are more of them.
        model = Script("```python\ndef solution():\n    while True: pass\n```", *[PROGRAM] * 3)
        answer, work = await solve(ProgramAided(repairs=3), model, sandbox=sandbox)
    assert answer.value == "18"
    assert work.steps[1].text.startswith("Error: time")


async def test_output_without_a_program_is_retried(sandbox):
    model = Script("It is 18.", PROGRAM)
    answer, work = await solve(ProgramAided(), model, sandbox=sandbox)
    assert answer.value == "18"
    assert kinds(work) == ["thought", "program", "result"]
    assert "no program" in model.asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize("repairs", [0, 1, 3])
async def test_repairs_end_and_the_text_answers(sandbox, repairs):
    last = f"{BROKEN}\nI think it is 18."
    model = Script(*[BROKEN] * repairs, last, "never asked")
    answer, work = await solve(ProgramAided(repairs=repairs), model, sandbox=sandbox)
    assert (answer.text, answer.value) == (last, "18")
    assert kinds(work) == ["program", "result"] * (repairs + 1) + ["switch"]
    assert model.left == 1


async def test_pal_stops_when_tokens_end(sandbox):
    answer, work = await solve(ProgramAided(repairs=8, tokens=20), Endless(BROKEN), sandbox=sandbox)
    assert answer.finish_reason == "length"
    assert kinds(work) == ["program", "result"] * 2 + ["limit"]
    assert answer.text == BROKEN


async def test_without_a_sandbox_no_program_runs():
    async def none():
        raise SandboxUnavailable("no Landlock")

    with pytest.raises(SandboxUnavailable):
        await solve(ProgramAided(), Script(PROGRAM), sandbox=none)


async def test_steps_are_reported_as_they_happen():
    told = []

    async def on_step(step):
        told.append((step.kind, len(told)))

    work = Work(Script("#### 1", "#### 1"), 1000, on_step)
    await run(SelfConsistency(samples=2), work, QUESTION, sandbox=None, toolbox=None)
    assert told == [("thought", 0), ("thought", 1), ("vote", 2)]
