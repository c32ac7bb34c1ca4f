"""Reads the outcomes of a canary and of its base: from captures and their ratings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Select, exists, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import Guard, Managed
from serving.core.uninterrupted import uninterrupted
from serving.hub.canary import CanaryOutcome
from serving.hub.releases import Release
from serving.store.relational.database import Database
from serving.store.relational.tables import captures, feedback

MAX_TOGETHER = 5000
"""Maximum number of outcomes of each kind that are read at once."""

BAD_SCORE = 0.5
"""Ratings without a thumb are bad below this score."""


class Outcomes:
    """The outcomes of requests of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def between(
        self, release: Release, managed: Managed, after: float, until: float
    ) -> tuple[list[CanaryOutcome], float]:
        """Returns outcomes in the order of their times, and the time up to which they are complete."""
        async with self._database.read() as connection:
            found, until = await _answers(connection, release, managed, after, until)
            if "ratings" in managed.guards:
                found += await _ratings(connection, release, after, until)
        return sorted(found, key=lambda outcome: outcome.at), until


async def _answers(
    connection: AsyncConnection, release: Release, managed: Managed, after: float, until: float
) -> tuple[list[CanaryOutcome], float]:
    of = captures.c
    query = (
        select(of.model, of.adapter, of.outcome, of.error_code, of.timings, of.created_at)
        .where(of.alias == release.alias, of.created_at > after, of.created_at <= until)
        .order_by(of.created_at, of.id)
        .limit(MAX_TOGETHER)
    )
    rows = (await connection.execute(query)).mappings().all()
    found = [
        CanaryOutcome("requests", canary, _bad(row, managed), row["created_at"])
        for row in rows
        if (canary := _side(row, release)) is not None
    ]
    return found, rows[-1]["created_at"] if len(rows) == MAX_TOGETHER else until


async def _ratings(connection: AsyncConnection, release: Release, after: float, until: float) -> list[CanaryOutcome]:
    """Returns the first rating of each answer that was given during the release."""
    of = captures.c
    found: dict[str, CanaryOutcome] = {}
    for column, same in ((feedback.c.capture_id, of.id), (feedback.c.item_id, of.item_id)):
        query = first_ratings(column, same, release.alias, since=release.created_at, after=after, until=until)
        for row in (await connection.execute(query)).mappings():
            canary = _side(row, release)
            if canary is not None and row["id"] not in found:
                bad = row["thumb"] == "down" if row["thumb"] is not None else row["score"] < BAD_SCORE
                found[row["id"]] = CanaryOutcome("ratings", canary, "ratings" if bad else None, row["created_at"])
    return list(found.values())


def first_ratings(
    column: Column[Any], same: Column[Any], alias: str, *, since: float, after: float, until: float
) -> Select[Any]:
    """Returns a query for the first ratings of an alias's answers since a time, by the column that names the answer."""
    of = captures.c
    earlier = feedback.alias("earlier")
    before = select(earlier.c.id).where(earlier.c[column.name] == column, earlier.c.created_at < feedback.c.created_at)
    return (
        select(of.id, of.model, of.adapter, feedback.c.thumb, feedback.c.score, feedback.c.created_at)
        .join(captures, same == column)
        .where(of.alias == alias, of.created_at > since)
        .where(feedback.c.created_at > after, feedback.c.created_at <= until)
        .where(or_(feedback.c.thumb.is_not(None), feedback.c.score.is_not(None)), ~exists(before))
        .order_by(feedback.c.created_at)
        .limit(MAX_TOGETHER)
    )


def _side(row: RowMapping, release: Release) -> bool | None:
    """Returns whether the canary answered, or else its base; None for another model."""
    model = row["adapter"] or row["model"]
    return model == release.target if model in (release.target, release.base) else None


def _bad(row: RowMapping, managed: Managed) -> Guard | None:
    """Returns the guard that finds an answer bad, None for a good one. A caller's disconnect is not bad."""
    filtered = row["outcome"] == "content_filter" or row["error_code"] == "content_filter"
    found: dict[Guard, Any] = {
        "guardrails": filtered,
        "errors": row["outcome"] == "error" and not filtered,
        "truncation": row["outcome"] == "length",
        "first_token": _waited(row["timings"]) > managed.max_first_token_s,
    }
    return next((guard for guard in managed.guards if found.get(guard)), None)


def _waited(timings: dict[str, float]) -> float:
    """Returns the seconds from the model's choice to its first token."""
    return timings.get("queue", 0.0) + timings.get("first_token", 0.0)
