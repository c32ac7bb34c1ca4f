"""Which value is a program's answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.assistants.sandbox.program import with_answer


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("6 * 7", "42"),
        ("6 * 7  # the answer", "42"),
        ("x = 6; x * 7", "42"),
        ("x = 6; x * 7;", "42"),
        ("(6\n * 7)", "42"),
        ("x = 'é'; y = 'ü'; x + y", "éü"),
        ("'''two\nlines'''", "two\nlines"),
        ("def solution():\n    return 42", "42"),
        ("def solution():\n    return 42\n\nsolution()", "42"),
        ("def solution():\n    return 1\n\n2", "2"),
        ("def solution():\n    return 42\n\nprint('done')", "42"),
        ("def solution():\n    print('no answer')\nanswer = 42", "42"),
        ("solution = 42", "42"),
        ("answer = 42", "42"),
        ("answer = 42\nprint(answer)", "42"),
        ("if True:\n    answer = 42", "42"),
        ("for answer in range(43): pass", "42"),
        ("answer = 0", "0"),
        ("answer = ''", ""),
        ("answer = False", "False"),
        ("answer = [1.5, 'x']", "[1.5, 'x']"),
        ("lambda: 42\nanswer = 42", "42"),
        ("x = 6\r\nx * 7\r\n", "42"),
        ("x = 6\rx * 7", "42"),
        ("str = None\nrepr = None\n42", "42"),
        ("d = {'a': 42}\nf\"{d[\"a\"]}\"\nanswer = d['a']", "42"),  # Python 3.12's grammar, which the sandbox reads
        ("print(42)", "42"),
        ("print(41)\nprint('Answer: 42')", "41\nAnswer: 42"),
        ("x = 42", None),
        ("", None),
        ("# nothing", None),
        ("def other():\n    return 42", None),
    ],
)
def test_a_programs_answer_is_found(run, program, answer):
    outcome = run(program)
    assert (outcome.kind, outcome.answer) == ("value", answer)


@pytest.mark.parametrize("program", ["def solution():\n    return missing", "def solution(x):\n    return x"])
def test_an_error_inside_solution_is_an_error(run, program):
    outcome = run(program)
    assert outcome.kind == "runtime"


@given(number=st.integers(-(10**30), 10**30), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=50)
def test_values_are_returned_as_text(run, number, text):
    assert run(f"x = 'é'; {number}").value == str(number)
    assert run(f"{text!r}").value == text


def test_lines_keep_their_numbers():
    program = "a = 1\nb = (\n  a +\n  1)\n(b\n + 1)"
    before, after = program.split("\n"), with_answer(program, 10).split("\n")
    assert len(after) > len(before)
    assert after[:4] == before[:4]
    assert after[4] == "_headrace_value = ((b"
