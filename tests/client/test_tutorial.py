"""The second tutorial, run as a reader would: one Python session, and a shell next to it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tests.pages.sessions import Python
from tests.stacks.stack import CHECKOUT, TUTORIAL, blocks


@dataclass
class Tour:
    """The output of the page's programs, and the rows that its export wrote (none where it cannot run)."""

    lines: list[str]
    rows: list[dict[str, list[dict[str, str]]]]
    conversation: str
    completion: str


@pytest.fixture(scope="module")
def tour(stack, request, tmp_path_factory) -> Tour:
    folder = tmp_path_factory.mktemp("tutorial") / "miller"
    *programs, last = blocks(TUTORIAL, "python")
    session = Python({"URL": stack.url, "KEY": stack.key})
    try:
        lines = [line for program in programs for line in session.type(program)]
        rows = [] if request.config.getoption("--target") == "cluster" else _exported(stack, folder)
        conversation, completion = session.type("print(conversation.id)\nprint(computed.id)")
        session.type(last)
    finally:
        session.close()
    return Tour(lines, rows, conversation, completion)


def _exported(stack, folder):
    _, command = blocks(TUTORIAL, "sh")[0].split("\n", 1)  # the first line installs what `make test` has installed
    for theirs, ours in (
        (".headrace/local", f".headrace/{stack.name}"),
        ("exports/miller", str(folder)),
        (".venv/bin/python", sys.executable),
    ):
        assert theirs in command
        command = command.replace(theirs, ours)
    subprocess.run(command, shell=True, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=120)
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_the_assistant_remembers_earlier_turns(tour):
    assert "turns shown again: 1" in tour.lines


def test_the_assistant_computes_with_tools(tour):
    assert "miller: 8760" in tour.lines
    assert "result 8760" in tour.lines


def test_a_rating_sent_twice_is_stored_once(tour):
    assert "ratings: ['tutorial-1', 'tutorial-2']" in tour.lines


def test_the_export_has_a_row_for_each(tour, request):
    if request.config.getoption("--target") == "cluster":
        pytest.skip("the page exports from a stack on this host")
    assert sorted(row["messages"][-1]["content"] for row in tour.rows) == ["8760", "Your name is Ada."]


def test_deleting_the_conversation_deletes_everything_in_it(tour, stack):
    with stack.client() as client:
        assert client.get(f"/v1/conversations/{tour.conversation}").status_code == 404
        assert client.get(f"/v1/chat/completions/{tour.completion}").status_code == 404
        assert client.get("/v1/feedback/tutorial-1").status_code == 404
