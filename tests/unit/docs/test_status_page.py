"""What has not been run is one table, whose proofs exist."""

from __future__ import annotations

import re
from datetime import date

from tests.pages.snippets import ROOT

PAGE = (ROOT / "docs/status.md").read_text()
README = (ROOT / "README.md").read_text()


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_row_has_a_proof_that_exists_and_a_date() -> None:
    assert len(rows()) > 12
    for what, proof, day in rows():
        assert what.endswith("."), what
        paths = re.findall(r"`(tests/[\w/.]+)`", proof)
        assert paths, what
        assert [path for path in paths if not (ROOT / path).exists()] == []
        assert date.fromisoformat(day).year >= 2026


def test_the_readme_points_to_the_table_and_repeats_none_of_it() -> None:
    assert "](docs/status.md)" in README
    assert "What has not been run:" not in README
    assert [what for what, _, _ in rows() if what in README] == []
