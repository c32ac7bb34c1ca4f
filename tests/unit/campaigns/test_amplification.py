"""The campaign of amplification attacks everything, and what may pass its rule is on the page of the threat model."""

from __future__ import annotations

from pathlib import Path

from serving.api.operations import OPERATIONS
from serving.retrieval.parsers import FORMATS
from serving.retrieval.parsers.languages import LANGUAGES
from tests.contract.campaigns.amplification.documents import DOCUMENTS
from tests.contract.campaigns.amplification.exceptions import EXCEPTIONS, MOST, table
from tests.contract.campaigns.amplification.operations import ATTACKS, REFUSED, attacks

PAGE = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")


def test_each_operation_with_a_body_is_attacked() -> None:
    with_body = {f"{op.method} {op.path}" for op in OPERATIONS if op.body is not None or op.upload is not None}
    assert set(ATTACKS) == with_body
    assert all(ATTACKS.values())
    assert set(REFUSED) <= with_body


def test_each_format_is_attacked() -> None:
    assert set(DOCUMENTS) == set(FORMATS) - set(LANGUAGES) | {"code"}
    assert all(DOCUMENTS.values())


def test_exceptions_are_of_attacks_and_pass_the_rule() -> None:
    names = {name for _, name, _ in attacks()}
    names |= {f"a document of `{format}`: {what}" for format, named in DOCUMENTS.items() for what in named}
    assert {name for name, _ in EXCEPTIONS} <= names
    assert all(of.most > MOST and of.why for of in EXCEPTIONS.values())


def test_the_page_lists_the_exceptions() -> None:
    section = PAGE.partition("## What costs more than it sends\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")][2:] == table()
    assert f"at most {MOST} times" in section
