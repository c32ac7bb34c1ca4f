"""A long text is searched in parts, and what is found is the same."""

from __future__ import annotations

import random
import re

import pytest

from serving.core.patterns import EMAILS, TOKENS
from serving.guardrails.rules import scan as scanning
from serving.guardrails.rules.links import Links
from serving.guardrails.rules.scan import scan

FORMS = [*TOKENS.values(), *EMAILS.values(), r"[a-c]{2,3000}(?!\w)", r"a(?:b|c ){1,2000}", r"(?<!\w)\w{1,20}@"]
PIECES = ("a", "b", "c ", "abc", " ", "@", "x.de", "sk-", "A" * 30, "eyJ" + "a" * 20 + ".eyJ" + "b" * 300, "\n")


@pytest.mark.parametrize("form", FORMS)
def test_scanning_in_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(scanning, "PART", 64)
    monkeypatch.setattr(scanning, "REACH", 512)
    monkeypatch.setattr(scanning, "LOOK", 16)
    choose = random.Random(form)
    pattern = re.compile(form)
    for length in (10, 100, 300, 1000):
        text = "".join(choose.choices(PIECES, k=length))
        assert [m.span() for m in scan(pattern, text)] == [m.span() for m in pattern.finditer(text)]


def test_findings_longer_than_a_part_are_found() -> None:
    text = "a" * 30_000 + " " + "b" * 30_000
    assert [m.span() for m in scan(re.compile(r"\w{1,100000}"), text)] == [(0, 30_000), (30_001, 60_001)]


def test_a_number_that_python_refuses_is_no_failure() -> None:
    """An entity of 5,000 digits ended a request as a 500."""
    assert Links((), 100).find("see http://a.example/&#" + "1" * 5_000 + ";")


def test_a_name_before_the_host_is_found_though_the_host_is_allowed() -> None:
    links = Links(("docs.example",), 100)
    assert links.find("see https://docs.example/page") == []
    assert [f.kind for f in links.find("see https://bank.example@docs.example/page")] == ["link_host"]
