"""The life of a stack while people use it: nothing changes by itself, and what is edited changes in place.

One `up` carries several changes. A load with callers' mistakes runs meanwhile, which test_alerts.py judges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.providers.session import Session
from infra.targets.preflight import SESSION_RECORDS
from tests.stack.life import chat, files, gone, members, replicas, search, streaming
from tests.stacks.stack import Stack
from tests.wait import eventually

KIND = "Be brief, and be kind to the heron of Brenna, who reads all that you write. " * 3


def test_up_ends_with_a_cited_answer(stack):
    """`up` asks a question by itself when the stack was not running before."""
    question = stack.printed.partition("\n> ")[2]
    assert re.search(r"^  \[1\] \S+\.md: \S", question, re.MULTILINE), stack.printed[-2000:]


def test_dashboards_are_served_without_grafana(stack):
    assert f"{stack.url}/admin/dashboards" in stack.run("outputs")

    def engines() -> bool:
        rows = client.get("/v1/admin/dashboards/overview").raise_for_status().json()["rows"]
        return any(panel["series"] for row in rows for panel in row["panels"] if panel["id"] == "engines-missing")

    with stack.client() as client:
        eventually(engines, "the console shows the stack's engines")


@pytest.mark.usefixtures("mixed")
def test_a_second_up_changes_nothing(stack):
    before, serving = members(stack), replicas(stack)
    stack.run("preview", "--expect-no-changes")
    said = stack.run("up")
    assert "11 unchanged" in said
    assert "> " not in said, "a stack that ran is asked no first question"
    after = members(stack)
    assert serving == replicas(stack)
    assert serving
    # Ray ends idle workers by itself.
    lasting = before.keys() & after.keys()
    assert {p: after[p].started for p in lasting} == {p: before[p].started for p in lasting}
    assert all(Session(stack.layout.record(record)).alive for record in SESSION_RECORDS)


@dataclass(frozen=True)
class Edited:
    """What was there before an `up` that takes an edited prompt, an edited document and a new one."""

    replicas: set[int]
    tokens: int
    """Of a prompt."""
    files: dict[str, str]
    text: str
    """Of a stream that was under way."""


@pytest.fixture(scope="module")
def edited(stack: Stack, documents: Path) -> Edited:
    before = replicas(stack), chat(stack).json()["usage"]["prompt_tokens"], files(stack)
    (documents / "tides.md").write_text(
        "# Tides\n\nThe harbour gate of Brenna opens at the ninth hour, says the heron.\n"
    )
    (documents / "salt.md").write_text("# Salt\n\nThe salt works of Brenna close in the month of frost.\n")
    assistants = stack.settings()["assistants"]
    [plain] = [a for a in assistants if a["name"] == "plain"]
    plain["prompt"] = KIND
    stack.change(assistants=assistants)
    with streaming(stack) as text:
        stack.run("up")
    return Edited(*before, "".join(text))


@pytest.mark.usefixtures("mixed")
def test_a_prompt_changes_in_place_while_a_stream_runs(stack, edited):
    assert chat(stack).json()["usage"]["prompt_tokens"] > edited.tokens + 20
    assert edited.text.endswith("data: [DONE]\n\n")
    assert replicas(stack) == edited.replicas


@pytest.mark.usefixtures("mixed")
def test_an_edited_document_is_ingested_again_alone(stack, edited):
    before, after = edited.files, files(stack)
    assert after.keys() == {"tides.md", "bread.md", "salt.md"}
    assert after["bread.md"] == before["bread.md"]
    assert after["tides.md"] != before["tides.md"]
    assert "ninth hour" in search(stack, "When does the harbour gate open?")
    gone(stack, "When does the harbour gate open?", "fourth hour")
    assert "month of frost" in search(stack, "When do the salt works close?")
    with stack.client() as client:
        assert client.get(f"/v1/files/{before['tides.md']}").status_code == 404
