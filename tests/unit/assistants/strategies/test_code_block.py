"""What of a model's output is a program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.strategies.code_block import MAX_CHARACTERS, code_block

PROGRAM = "def solution():\n    return 42\n"


@pytest.mark.parametrize(
    "output",
    [
        f"```python\n{PROGRAM}```",
        f"```\n{PROGRAM}```",
        f"```py\n{PROGRAM}```\nThe answer is 42.",
        f"```Python title=x\n{PROGRAM}```",
        f"~~~python\n{PROGRAM}~~~",
        f"````python\n{PROGRAM}````",
        f"Let us think.\n\n```python\n{PROGRAM}```\nDone.",
        f"Let us think.\n```python\n{PROGRAM}",
        f"```python\n{PROGRAM.rstrip()}",
        f"```python\nx = 1\n```\nBetter:\n```python\n{PROGRAM}```",
        f"```python\n{PROGRAM}```\nIt prints\n```\n42\n```",
        f"```bash\npip install x\n```\n```python\n{PROGRAM}```",
        "1. First\n\n   ```python\n   def solution():\n       return 42\n   ```",
        "> ```python\n> def solution():\n>     return 42\n> ```",
        PROGRAM,
        f"Here is the program:\n{PROGRAM}",
        f"Here is the program:\n\n{PROGRAM}\nThe answer is 42 dollars.\n\nI hope this helps!",
        "    def solution():\n        return 42\n",
        f"```python\r\n{PROGRAM}```".replace("\n", "\r\n").replace("\r\r", "\r"),
    ],
)
def test_the_program_is_found(output):
    assert code_block(output) == PROGRAM


@pytest.mark.parametrize(
    "output",
    [
        "",
        "The answer is 42.",
        "```json\n{}\n```",
        "```\n\n```",
        "I cannot help with that.",
        "from here on nothing is code",
    ],
)
def test_prose_contains_no_program(output):
    assert code_block(output) is None


@pytest.mark.parametrize(
    "output",
    [
        "```" * 20_000,
        "> " * 20_000 + "```",
        "- " * 20_000,
        "x = (" * 10_000,
        "def f(\n" * 10_000,
        "x = 1\nand then some prose\n" * 3_000,
        "`" * 60_000,
        "1. " * 20_000,
    ],
)
def test_hostile_output_is_bounded(output):
    found = code_block(output)
    assert found is None or len(found) <= MAX_CHARACTERS


@given(st.text(max_size=300) | st.text(st.sampled_from("`~ \npython=1(>-"), max_size=100))
def test_any_text_has_a_program_or_none(output):
    found = code_block(output)
    assert found is None or found.strip()
