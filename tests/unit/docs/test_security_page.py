"""The threat model names tests that are there, and says something of each item of OWASP's list."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/.-]+)`")
HOLDS = re.compile(r"^(?:async )?def test_", re.M)

# The OWASP Top 10 for LLM Applications 2026, in its order.
ITEMS = (
    "Prompt Injection",
    "Sensitive Information Disclosure",
    "Excessive Agency",
    "Supply Chain",
    "Data and Model Poisoning",
    "Unbounded Consumption",
    "Misinformation",
    "Hidden Context Exposure",
    "Vector and Embedding Weaknesses",
    "Improper Output Handling",
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the table's own."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_named_tests_exist():
    named = sorted(set(TEST.findall(PAGE)))
    assert named
    assert [each for each in named if not (ROOT / each).is_file()] == []
    assert [each for each in named if not HOLDS.search((ROOT / each).read_text(encoding="utf-8"))] == []


def test_every_boundary_has_a_control_and_a_test():
    boundaries = rows("Trust boundaries")
    assert len(boundaries) > 10
    for _, risk, control, test in boundaries:
        assert risk
        assert control
        assert TEST.search(test)


def test_every_item_of_owasps_list_has_a_control_and_a_test():
    listed = rows("OWASP's list for LLM applications")
    assert [item for item, _, _ in listed] == [f"LLM{n:02}:2026 {name}" for n, name in enumerate(ITEMS, 1)]
    for _, control, test in listed:
        assert control
        assert TEST.search(test)


def test_the_page_lists_what_is_not_defended():
    assert PAGE.partition("## What is not defended")[2].count("\n- ") > 5
