"""Exports out of the store, by the command."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.exports import source
from serving.exports.completion import CapturedMessage, Completion
from serving.exports.manifest import ExportManifest, Filters
from serving.store.__main__ import main
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.feedback import Rating, Ratings
from serving.store.relational.database import Database
from tests.store.captures import capture

Command = Callable[..., int]


@pytest.fixture
def ratings(database: Database) -> Ratings:
    return Ratings(database)


@pytest.fixture
def command(url: str, database: Database, tmp_path: Path) -> Command:
    """Runs `export` beside the loop of the test, which it may not share."""

    async def run(*arguments: str, out: Path = tmp_path / "out") -> int:
        where = ["--database", url, "--data", str(tmp_path / "data"), "--tenant", "acme"]
        whole = ["export", *where, "--no-redact", "--out", str(out), *arguments]
        return await asyncio.to_thread(main, whole)

    return run


async def read(database: Database, **filters: Any) -> list[Completion]:
    return [one async for one in source.completions(database, Filters(tenant="acme", **filters))]


def rows(folder: Path) -> list[Any]:
    return [json.loads(line) for name in folder.glob("*[!e].jsonl") for line in name.read_bytes().splitlines()]


async def test_completions_are_paginated_newest_first(
    database: Database, captures: Captures, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PAGE", 3)
    made = [capture(alice, created_at=float(i // 2)) for i in range(10)]  # two of each time
    for one in made:
        await captures.record(alice, one)
    expected = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
    assert [one.id for one in await read(database)] == [one.id for one in expected]


async def test_a_page_is_read_in_the_order_of_an_index(database: Database) -> None:
    """Else every page sorts all that is left, and time grows with the square of what is stored."""
    filters = Filters(tenant="acme", since=1, until=9, assistant="docs", model="m")

    @uninterrupted
    async def plan() -> str:
        async with database.read() as connection:
            query = source._captures(filters, (5.0, "chatcmpl-x"))
            compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            if not database.is_sqlite:  # empty tables are read otherwise
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
                await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
            rows = await connection.exec_driver_sql(f"{explain} {compiled}")
            return "\n".join(str(row) for row in rows)

    found = await plan()
    assert "ix_captures_consent" in found
    assert "B-TREE" not in found
    assert "Sort" not in found


async def test_exported_prompts_and_sessions_match_the_request(
    database: Database, captures: Captures, conversations: Conversations, alice: Principal
) -> None:
    first = {"role": "user", "content": "hi"}
    longer = [first, {"role": "assistant", "content": "echo hi"}, {"role": "user", "content": "more"}]
    prompt = {"messages": [{"role": "system", "content": [{"type": "text", "text": "Chunks: 1"}]}, *longer]}
    conversation = await conversations.create(alice)
    for one in (
        capture(alice, created_at=4.0, prompt=prompt, request={"messages": longer}, adapter="a", prompt_version="v"),
        capture(alice, created_at=3.0),
        capture(alice, "other", created_at=2.0),
        capture(alice, created_at=1.0, conversation_id=conversation.id),
        capture(alice, created_at=0.5, session_id=conversation.id, request={"model": "m", "input": "hi"}),
    ):
        await captures.record(alice, one)
    four, three, two, one, follows = await read(database)
    assert four.messages is not None
    assert [message.role for message in four.messages] == ["system", "user", "assistant", "user"]
    assert four.messages[0] == CapturedMessage("system", "Chunks: 1")
    assert (four.answer, four.adapter, four.prompt_version) == ("echo hi", "a", "v")
    assert four.session == three.session != two.session
    assert one.session == follows.session == conversation.id


async def test_rows_have_the_ratings_of_responses_messages_and_choices(
    database: Database, captures: Captures, conversations: Conversations, ratings: Ratings, alice: Principal
) -> None:
    conversation = await conversations.create(alice)
    turn = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "echo hi"}]},
    ]
    kept = capture(alice, created_at=2.0, conversation_id=conversation.id)
    await captures.record(alice, kept, turn=(conversation.id, turn))
    lost = capture(alice, created_at=1.0, answer=[{"message": {"role": "assistant", "content": "no"}}])
    await captures.record(alice, lost)
    items = (await conversations.list_items(alice, conversation.id, order="asc")).items
    yes = replace(Rating(consent=True), tags=["t"])
    await ratings.create(alice, ("message", items[1].id), replace(yes, thumb="up"), id="message")
    await ratings.create(alice, ("message", items[0].id), replace(yes, thumb="down"), id="question")
    await ratings.create(alice, ("session", conversation.id), replace(yes, thumb="down"), id="session")
    await ratings.create(alice, ("response", kept.id), replace(yes, score=0.25, correction=" \n"), id="response")
    await ratings.create(alice, ("response", kept.id), Rating(thumb="down"), id="no-consent")
    await ratings.create(alice, ("response", kept.id), replace(yes, rejected_id=lost.id, thumb="up"), id="choice")
    preferred, rejected = await read(database)
    found = {rating.id: rating for rating in preferred.ratings}
    assert found.keys() == {"message", "response", "choice"}
    assert (found["message"].thumb, found["message"].tags) == (True, ("t",))
    assert (found["response"].score, found["response"].correction) == (0.25, None)
    choice = found["choice"]
    assert choice.preferred
    assert choice.rival is not None
    assert (choice.rival.id, choice.rival.answer, choice.rival.allowed) == (lost.id, "no", True)
    (other,) = rejected.ratings
    assert (other.id, other.preferred, other.thumb, other.rival) == ("choice", False, None, None)


async def test_completions_without_consent_are_counted_but_not_read(
    database: Database, captures: Captures, alice: Principal
) -> None:
    for agreed in ({}, {"consent": False}, {"stored": False}, {"consent": False, "stored": False}):
        await captures.record(alice, capture(alice, **agreed))
    assert len(await read(database)) == 2
    assert await source.without_consent(database, Filters(tenant="acme")) == 2
    assert await source.without_consent(database, Filters(tenant="acme", model="other")) == 0


@pytest.mark.parametrize("changes", [{"consent": False}, {"outcome": "cancelled"}])
async def test_the_rejected_answer_needs_consent_and_an_end_too(
    database: Database, captures: Captures, ratings: Ratings, alice: Principal, changes: dict[str, Any]
) -> None:
    kept, lost = capture(alice, created_at=2.0), capture(alice, created_at=1.0, **changes)
    for one in (kept, lost):
        await captures.record(alice, one)
    await ratings.create(alice, ("response", kept.id), Rating(rejected_id=lost.id, consent=True))
    (rating,) = (await read(database))[0].ratings
    assert rating.rival is not None
    assert not rating.rival.allowed


async def test_only_the_newest_ratings_of_a_completion_are_read(
    database: Database, captures: Captures, ratings: Ratings, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_RATINGS", 2)
    for _ in range(2):
        one = capture(alice)
        await captures.record(alice, one)
        for i in range(4):
            await ratings.create(alice, ("response", one.id), Rating(score=i / 4, consent=True))
        for _ in range(3):  # take the place of none that may be exported
            await ratings.create(alice, ("response", one.id), Rating(comment="mine alone"))
    for completion in await read(database):
        assert sorted(rating.score or 0 for rating in completion.ratings) == [0.5, 0.75]


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        ([], {}),
        ([{"message": {"content": None, "tool_calls": [{"id": "c"}]}}], {}),
        ([{"message": None}], {}),
        ([{"message": {"content": "half \ud83d"}}], {}),
        (None, {"messages": [{"role": "tool", "content": "x"}]}),
        (None, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        (None, {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "c"}]}]}),
        (None, {"messages": "x"}),
        (None, {"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}),
        (None, {"prompt": "x"}),
    ],
)
async def test_non_text_completions_are_not_exported(
    database: Database, captures: Captures, alice: Principal, answer: Any, prompt: dict[str, Any]
) -> None:
    changes = {"prompt": prompt} if answer is None else {"answer": answer}
    await captures.record(alice, capture(alice, **changes))
    (one,) = await read(database)
    assert (one.messages if answer is None else one.answer) is None


async def test_the_first_of_several_choices_is_the_answer(
    database: Database, captures: Captures, alice: Principal
) -> None:
    choices = [{"index": i, "message": {"role": "assistant", "content": word}} for i, word in enumerate("ab")]
    await captures.record(alice, capture(alice, answer=choices))
    assert [one.answer for one in await read(database)] == ["a"]


async def test_filters_choose_by_time_model_and_assistant(
    database: Database, captures: Captures, alice: Principal, mallory: Principal
) -> None:
    for i in range(4):
        await captures.record(alice, capture(alice, created_at=float(i), model=f"m{i % 2}", assistant="docs"))
    await captures.record(mallory, capture(mallory, created_at=1.0, model="m1", assistant="docs"))
    assert [one.at for one in await read(database, since=1, until=3)] == [2, 1]
    assert [one.at for one in await read(database, model="m1")] == [3, 1]
    assert len(await read(database, assistant="docs")) == 4
    assert await read(database, assistant="docs", model="m2") == []


async def test_the_command_exports_completions_with_consent(
    command: Command, captures: Captures, ratings: Ratings, alice: Principal, tmp_path: Path, capsys: Any
) -> None:
    for word, kept, said in (("a", True, True), ("b", True, False), ("c", False, True)):
        one = capture(alice, word, consent=kept)
        await captures.record(alice, one)
        await ratings.create(alice, ("response", one.id), Rating(thumb="up", consent=said))
    assert await command("--format", "trl-sft", "--split", "train=1") == 0
    said, printed = capsys.readouterr().err, rows(tmp_path / "out")
    assert [row["messages"][0]["content"] for row in printed] == ["a"]
    assert "1 without consent" in said
    assert "1 without rating" in said
    assert "--licence m=" in said
    manifest = ExportManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest.counts.rows, manifest.redaction, manifest.filters.tenant) == (1, None, "acme")
    assert await command("--format", "trl-sft") == 1
    assert "name another" in capsys.readouterr().err


async def test_the_command_passes_its_filters_on(
    command: Command, captures: Captures, ratings: Ratings, alice: Principal, tmp_path: Path
) -> None:
    for i, day in enumerate((1, 2, 3)):
        one = capture(alice, str(day), created_at=1_777_593_600.0 + 86_400 * i, assistant="docs")  # 2026-05-01 and on
        await captures.record(alice, one)
        await ratings.create(alice, ("response", one.id), Rating(score=0.75, tags=[f"t{day}"], consent=True))
    asked = ["--format", "openai-chat", "--assistant", "docs", "--model", "m", "--licence", "m=Apache-2.0"]
    asked += ["--seed", "3", "--split", "a=1"]
    wanted = ("--since", "2026-05-02", "--until", "2026-05-04T02:00:00+02:00", "--tags", "t2", "t1")
    assert await command(*asked, *wanted, "--min-score", "0.75") == 0
    assert [row["messages"][0]["content"] for row in rows(tmp_path / "out")] == ["2"]
    manifest = ExportManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest.seed, manifest.splits, manifest.models[0].licence) == (3, {"a": 1.0}, "Apache-2.0")
    assert await command(*asked, "--min-score", "0.76", out=tmp_path / "other") == 1
    assert not (tmp_path / "other").exists()


async def test_texts_are_redacted(
    command: Command, captures: Captures, ratings: Ratings, alice: Principal, tmp_path: Path
) -> None:
    one = capture(alice, "I am me@example.org")
    await captures.record(alice, one)
    await ratings.create(alice, ("response", one.id), Rating(thumb="up", consent=True))
    assert await command("--format", "trl-sft", "--split", "train=1", "--redact") == 0
    (row,) = rows(tmp_path / "out")
    assert [message["content"] for message in row["messages"]] == ["I am <EMAIL_ADDRESS>", "echo I am <EMAIL_ADDRESS>"]
    manifest = ExportManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest.redaction is not None
    assert manifest.redaction.replaced == {"EMAIL_ADDRESS": 2}


async def test_exports_require_the_redaction_packages(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delitem(sys.modules, "serving.exports.redaction", raising=False)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    assert await command("--format", "trl-sft", "--redact") == 1
    assert "python -m tools.environment redaction" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--format", "csv"],
        ["--format", "trl-sft", "--since", "yesterday"],
        ["--format", "trl-sft", "--min-score", "1.5"],
        ["--format", "trl-sft", "--licence", "m"],
        ["--format", "trl-sft", "--seed", "x"],
    ],
)
async def test_wrong_arguments_are_refused(command: Command, wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as e:
        await command(*wrong)
    assert e.value.code == 2
    assert not (tmp_path / "out").exists()
