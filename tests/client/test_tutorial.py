"""The second tutorial, as its reader runs it: what the page shows works, and shows what the page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.stack import CHECKOUT, TUTORIAL, blocks


@pytest.fixture(scope="module")
def tour(stack):
    """The lines that the page's programs print, without the last one: it deletes what the export reads."""
    *programs, _ = blocks(TUTORIAL, "python")
    yield _run(programs, stack).splitlines()
    with stack.client() as client:
        for id in ("tutorial-1", "tutorial-2"):
            client.delete(f"/v1/feedback/{id}")


def _run(programs: list[str], stack) -> str:
    env = {**os.environ, "URL": stack.url, "KEY": stack.key}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(programs)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_remembers(tour):
    assert "turns shown again: 1" in tour


def test_it_computes(tour):
    assert "miller: 8760" in tour
    assert "result 8760" in tour


def test_a_rating_that_is_sent_twice_is_there_once(tour):
    assert "ratings: ['tutorial-1', 'tutorial-2']" in tour


def test_the_export_has_a_row_for_each(tour, stack, request, tmp_path):
    if request.config.getoption("--target") == "cluster":
        pytest.skip("the page exports from a stack on this host")
    _, command = blocks(TUTORIAL, "sh")[0].split("\n", 1)  # the first line installs what `make test` has installed
    for theirs, ours in (
        (".headrace/local", f".headrace/{stack.name}"),
        ("exports/miller", str(tmp_path / "miller")),
        (".venv/bin/python", sys.executable),
    ):
        assert theirs in command
        command = command.replace(theirs, ours)
    subprocess.run(command, shell=True, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=120)
    rows = [json.loads(line) for line in (tmp_path / "miller" / "train.jsonl").read_text().splitlines()]
    assert sorted(row["messages"][-1]["content"] for row in rows) == ["8760", "Your name is Ada."]


def test_the_conversation_goes_with_all_of_it(stack):
    programs = [program.replace("tutorial-", "tutorial-again-") for program in blocks(TUTORIAL, "python")]
    printed = _run([*programs, "print(conversation.id, computed.id)"], stack)
    conversation, completion = printed.split()[-2:]
    with stack.client() as client:
        assert client.get(f"/v1/conversations/{conversation}").status_code == 404
        assert client.get(f"/v1/chat/completions/{completion}").status_code == 404
        assert client.get("/v1/feedback/tutorial-again-1").status_code == 404
