"""The first `make up`: the session's stack comes up on what the last release left, and so is never new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stacks.stack import own_stack

pytestmark = pytest.mark.full


def test_a_new_stack_answers_before_it_is_complete(documents: Path) -> None:
    pages = documents.parent / "headrace"
    knowledge = [
        {"name": "docs", "paths": [str(pages / "README.md"), str(pages / "docs")]},
        {"name": "documents", "paths": [str(documents)]},
    ]
    with own_stack("test-new", documents, more=lambda url: {"knowledge": knowledge}) as stack:
        before, _, after = stack.printed.partition("\n> ")
        assert "Knowledge knowledge-docs created" in before
        assert "Process prometheus" not in before
        assert "[1] README.md: " in after.partition("follow now")[0], "no other page of the documentation is read yet"
        assert "Process prometheus created" in after
        assert "The stack is complete" in after.partition("follow now")[2]
        with stack.client() as client:
            [docs] = [one for one in client.get("/v1/vector_stores").json()["data"] if one["name"] == "docs"]
        count = len([*pages.rglob("*.md")])
        assert docs["file_counts"] | {"total": count, "completed": count} == docs["file_counts"]
