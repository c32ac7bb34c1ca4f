"""What each kind of check accepts and rejects."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from serving.hub.evaluation.answers import Answer
from serving.hub.evaluation.checks import check_patterns, passes
from serving.protocol.suites import Check, Suite
from serving.store.errors import InvalidValue

CHECK = TypeAdapter(Check)
CITED = {"citations": [{"support": 0.8}], "unsupported": []}


async def run(answer, then):
    """Runs `answer` and `then` as Python, as the sandbox would."""
    if not answer.startswith("def"):
        return None
    scope = {}
    exec(f"{answer}\nvalue = {then}", scope)
    return str(scope["value"])


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"kind": "exact", "text": "Paris"}, " Paris\n", "Paris."),
        ({"kind": "exact", "text": "Paris", "ignore_case": True}, "PARIS", "Rome"),
        ({"kind": "contains", "text": "paris"}, "It is Paris.", "It is Rome."),
        ({"kind": "contains", "text": "Paris", "ignore_case": False}, "It is Paris.", "It is paris."),
        ({"kind": "absent", "text": "[atlas]"}, "A canal.", "A canal. [Atlas]"),
        ({"kind": "regex", "pattern": "^[0-9]+$"}, "42", "42."),
        ({"kind": "json", "required": ["a"]}, '```json\n{"a": 1}\n```', '{"b": 1}'),
        ({"kind": "json"}, "{}", "[]"),
        ({"kind": "code", "then": "f(2)", "expect": "4"}, "def f(n): return n * n", "def f(n): return n"),
        ({"kind": "code", "then": "f(2)", "expect": "4"}, "def f(n): return n * n", "four"),
        ({"kind": "length", "max_characters": 5}, "Paris", "London"),
    ],
)
async def test_a_check_of_a_text(check, good, bad):
    checks = [CHECK.validate_python(check)]
    assert await passes(checks, Answer(text=good), run) is True
    assert await passes(checks, Answer(text=bad), run) is False


async def test_citations_need_support():
    check = [CHECK.validate_python({"kind": "citations", "min_support": 0.5})]
    assert await passes(check, Answer(text="Deep.", beside=CITED), run)
    for beside in ({}, CITED | {"citations": [{"support": 0.4}]}, CITED | {"unsupported": [{"start_index": 0}]}):
        assert not await passes(check, Answer(text="Deep.", beside=beside), run)


async def test_all_checks_must_pass_and_an_error_passes_none():
    checks = [CHECK.validate_python({"kind": kind, "text": "a"}) for kind in ("contains", "absent")]
    assert not await passes(checks, Answer(text="a"), run)
    assert not await passes(checks[1:], Answer(error="unavailable"), run)
    assert await passes([], Answer(text="a"), run) is None


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", "a{5000}"])
def test_patterns_that_re2_does_not_accept_are_rejected_with_their_place(pattern):
    prompts = [{"id": "a", "messages": "?"}, {"id": "b", "messages": "?", "checks": []}]
    prompts[1]["checks"] = [{"kind": "length", "max_characters": 1}, {"kind": "regex", "pattern": pattern}]
    suite = Suite.model_validate({"name": "s", "prompts": prompts})
    with pytest.raises(InvalidValue) as caught:
        check_patterns(suite)
    assert caught.value.param == "prompts[1].checks[1].pattern"


async def test_a_pattern_takes_linear_time():
    """Backtracking would take longer than the world exists."""
    check = [CHECK.validate_python({"kind": "regex", "pattern": "(a+)+$"})]
    assert not await passes(check, Answer(text="a" * 50_000 + "!"), run)
