"""Counts of ratings: of one tenant, in days of UTC, by a few statements."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue
from serving.store.feedback import Rating, Ratings
from serving.store.history.rating_counts import BY, RatingCount, RatingCounts
from serving.store.relational.database import Database
from serving.store.relational.tables import feedback
from tests.store.captures import TURN, capture
from tests.store.statements import statements

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
SPAN = {"first_day": date(2026, 3, 1), "last_day": date(2026, 3, 2)}


@pytest.fixture
async def counts(
    database: Database, conversations: Conversations, captures: Captures, alice: Principal, mallory: Principal
) -> RatingCounts:
    """Ratings of two answers, one by the item, and of a conversation; another tenant has one too."""
    ratings, bob = Ratings(database), replace(alice, user="bob")
    made = await conversations.create(alice)
    of_item = replace(capture(alice, id="chatcmpl_item", conversation_id=made.id), assistant="docs", model="small")
    await captures.record(alice, of_item, turn=(made.id, TURN))
    answer = (await conversations.last(alice, made.id))[0]
    await captures.record(bob, replace(capture(bob, id="chatcmpl_bob"), assistant=None, model="small", adapter="fine"))
    await captures.record(mallory, replace(capture(mallory, id="chatcmpl_evil"), assistant="docs", model="small"))
    for who, target, rating, at in (
        (alice, ("message", answer.id), Rating(thumb="up", score=1, comment="private"), MIDNIGHT - 1),
        (alice, ("session", made.id), Rating(thumb="down", tags=["private"]), MIDNIGHT - 1),
        (alice, ("response", "chatcmpl_item"), Rating(score=0.5), MIDNIGHT),
        (bob, ("response", "chatcmpl_bob"), Rating(thumb="down"), MIDNIGHT + 1),
        (mallory, ("response", "chatcmpl_evil"), Rating(thumb="up"), MIDNIGHT),
        (bob, ("response", "chatcmpl_bob"), Rating(thumb="up"), MIDNIGHT + 2 * 86_400),
    ):
        made_rating = await ratings.create(who, target, rating)  # type: ignore[arg-type]
        await dated(database, made_rating.id, at)
    return RatingCounts(database)


@uninterrupted
async def dated(database: Database, id: str, at: float) -> None:
    async with database.write() as connection:
        await connection.execute(feedback.update().where(feedback.c.id == id).values(created_at=at))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("day", [RatingCount("2026-03-01", 2, 1, 1, 1.0), RatingCount("2026-03-02", 2, 0, 1, 0.5)]),
        ("assistant", [RatingCount("docs", 2, 1, 0, 0.75)]),
        ("model", [RatingCount("fine", 1, 0, 1, None), RatingCount("small", 2, 1, 0, 0.75)]),
    ],
)
async def test_ratings_are_counted(
    counts: RatingCounts, alice: Principal, by: str, expected: list[RatingCount]
) -> None:
    assert by in BY
    query = {"by": by, **SPAN}
    assert (await counts.page(alice, **query)).items == expected  # type: ignore[arg-type]
    first = await counts.page(alice, limit=1, **query)  # type: ignore[arg-type]
    assert (first.items, first.has_more) == (expected[:1], len(expected) > 1)
    rest = await counts.page(alice, after=expected[0].id, **query)  # type: ignore[arg-type]
    assert (rest.items, rest.has_more) == (expected[1:], False)


async def test_a_page_is_one_statement(counts: RatingCounts, database: Database, alice: Principal) -> None:
    with statements(database) as seen:
        await counts.page(alice, by="model", after="a", **SPAN)  # type: ignore[arg-type]
    assert len(seen) == 1
    with pytest.raises(InvalidValue, match="after"):
        await counts.page(alice, by="day", after="yesterday", **SPAN)  # type: ignore[arg-type]
