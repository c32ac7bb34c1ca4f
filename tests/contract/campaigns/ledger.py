"""What callers were told, what the database holds, and whether one agrees with the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import select

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.tables import captures, conversation_items, conversations, feedback, responses


class Turn(NamedTuple):
    """An acknowledged answer: `marker` is what was asked, once in all of the campaign."""

    marker: str
    id: str
    conversation: str | None
    previous: str | None


class Rating(NamedTuple):
    id: str
    target: str | None
    thumb: str | None
    comment: str | None


class Item(NamedTuple):
    id: str
    seq: int
    role: str
    text: str
    incomplete: bool = False


class Capture(NamedTuple):
    id: str
    marker: str
    outcome: str
    item_id: str | None


class Response(NamedTuple):
    id: str
    previous: str | None
    marker: str
    answer: str


@dataclass
class Told:
    """By callers: what they tried, what was acknowledged to them, and answers that none should get."""

    tried: set[str] = field(default_factory=set)
    turns: list[Turn] = field(default_factory=list)
    rated: set[str] = field(default_factory=set)
    ratings: list[Rating] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Found:
    """In the database, in no order but that of items; `last` is the number of a conversation's newest item."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    captures: list[Capture] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)


def answer(marker: str) -> str:
    """Returns what the engine says to a question."""
    return f"echo {marker}"


def violations(told: Told, found: Found) -> list[str]:
    """Returns what was promised and does not hold, each in a line; none when all is well.

    An acknowledged turn and rating is there exactly once, one that was not at most once, and no turn without its
    capture or the other way round.
    """
    return [*told.wrong, *_conversations(told, found), *_turns(told, found), *_ratings(told, found)]


def _conversations(told: Told, found: Found) -> Iterator[str]:
    answers = Counter(capture.item_id for capture in found.captures if capture.item_id is not None)
    for conversation, items in found.items.items():
        if [item.seq for item in items] != list(range(1, found.last[conversation] + 1)):
            yield f"{conversation}: its items are not numbered from 1 to {found.last[conversation]}"
        if len(items) % 2:
            yield f"{conversation}: a question or an answer stands alone"
        for question, reply in list(pairwise(items))[::2]:
            whole = answer(question.text)
            right = whole.startswith(reply.text) if reply.incomplete else reply.text == whole
            if (question.role, reply.role) != ("user", "assistant") or not right:
                yield f"{conversation}: {question.text!r} is followed by {reply.text!r}"
            if answers.pop(reply.id, 0) != 1:
                yield f"{conversation}: the answer to {question.text!r} does not have one capture"
    yield from (f"a capture names the item {id}, which is not there" for id in answers)


def _turns(told: Told, found: Found) -> Iterator[str]:
    # A question whose answer broke off may have been asked again.
    said = Counter(
        (id, item.text)
        for id, items in found.items.items()
        for item, reply in list(pairwise(items))[::2]
        if item.role == "user" and not reply.incomplete
    )
    captured = Counter(capture for capture in found.captures if capture.outcome == "completed")
    chained = {response.id: response for response in found.responses}
    kept = Counter(capture.marker for capture in captured.elements())
    for counts in (Counter(marker for _, marker in said.elements()), kept, Counter(r.marker for r in found.responses)):
        yield from (f"{marker} is there {count} times" for marker, count in counts.items() if count > 1)
        yield from (f"nobody asked {marker}" for marker in counts.keys() - told.tried)
    if len(chained) < len(found.responses):
        yield "two responses have one id"
    ids = Counter(capture.id for capture in found.captures)
    yield from (f"{id} has {count} captures" for id, count in ids.items() if count > 1)
    for response in found.responses:
        if response.answer != answer(response.marker):
            yield f"{response.id}: {response.marker!r} is followed by {response.answer!r}"
        if response.id not in ids:
            yield f"{response.id} has no capture"
    by_id = {capture.id: capture for capture in captured}
    for turn in told.turns:
        capture = by_id.get(turn.id)
        if capture is None or capture.marker != turn.marker:
            yield f"the capture of {turn.marker} is lost"
        if turn.conversation is not None and said[turn.conversation, turn.marker] != 1:
            yield f"{turn.marker} is {said[turn.conversation, turn.marker]} times in its conversation"
        if turn.id.startswith("resp"):
            kept_response = chained.get(turn.id)
            if kept_response is None or kept_response[1:3] != (turn.previous, turn.marker):
                yield f"the response to {turn.marker} is lost, or follows another"


def _ratings(told: Told, found: Found) -> Iterator[str]:
    there = Counter(found.ratings)
    ids = Counter(rating.id for rating in found.ratings)
    yield from (f"{id} was rated {count} times" for id, count in ids.items() if count > 1)
    yield from (f"nobody rated {id}" for id in ids.keys() - told.rated)
    yield from (f"the rating {rating.id} is lost, or another" for rating in told.ratings if there[rating] != 1)


@uninterrupted
async def read(database: Database) -> Found:
    """Returns what the database holds."""
    found = Found()
    async with database.read() as connection:
        for row in await connection.execute(select(conversations.c.id, conversations.c.last_seq)):
            found.items[row.id], found.last[row.id] = [], row.last_seq
        columns = conversation_items.c
        items = select(columns.conversation_id, columns.id, columns.seq, columns.body).order_by(columns.seq)
        for row in await connection.execute(items):
            text = "".join(part["text"] for part in row.body["content"])
            found.items[row.conversation_id].append(
                Item(row.id, row.seq, row.body["role"], text, row.body["status"] == "incomplete")
            )
        for row in await connection.execute(select(captures)):
            asked = row.request["input"] if "input" in row.request else row.request["messages"][-1]["content"]
            found.captures.append(Capture(row.id, asked, row.outcome, row.item_id))
        for row in await connection.execute(select(responses)):
            asked, said = (
                "".join(part["text"] for item in half for part in item["content"])
                for half in (row.input, row.body["output"])
            )
            found.responses.append(Response(row.id, row.previous_id, asked, said))
        for row in await connection.execute(select(feedback)):
            found.ratings.append(Rating(row.id, row.capture_id, row.thumb, row.comment))
    return found
