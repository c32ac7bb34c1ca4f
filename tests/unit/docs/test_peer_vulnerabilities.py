"""The page on peers' vulnerabilities names each once, with a test that is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/peer-vulnerabilities.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| CVE-")
]
PEERS = {"vLLM", "LiteLLM", "Open WebUI", "LibreChat", "Langfuse", "Starlette"}


def test_vulnerabilities_are_listed_once() -> None:
    assert len(ROWS) >= 30
    assert [cve for cve, n in Counter(row[0] for row in ROWS).items() if n > 1] == []
    assert all(re.fullmatch(r"CVE-202[4-9]-\d{4,6}", row[0]) for row in ROWS)
    assert {row[1] for row in ROWS} == PEERS


def test_each_says_whether_headrace_has_its_class() -> None:
    for cve, _, what, here, _ in ROWS:
        assert what, cve
        assert here.startswith(("no", "was here", "the engine's")), cve


def test_named_tests_exist() -> None:
    for cve, *_, proof in ROWS:
        found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", proof)
        assert found, cve
        file, name = found.groups()
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.M), (cve, proof)
