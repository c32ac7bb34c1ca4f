"""Counts of a tenant's ratings, without what anybody wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Integer, case, cast, func, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import InvalidValue
from serving.store.relational.database import Database
from serving.store.relational.rows import Page
from serving.store.relational.tables import captures, feedback

MAX_PAGE = 100
DAY_S = 86_400

CountedBy = Literal["day", "assistant", "model"]
"""What ratings are counted by; of assistants and models, those of whole conversations count for none."""

BY: tuple[CountedBy, ...] = get_args(CountedBy)


@dataclass(frozen=True, slots=True)
class RatingCount:
    """The ratings of one day, assistant or model; `score` is the mean of those that have one."""

    id: str
    ratings: int
    up: int
    down: int
    score: float | None


class RatingCounts:
    """Counts over the ratings of all users of a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def page(
        self,
        principal: Principal,
        *,
        by: CountedBy,
        first_day: date,
        last_day: date,
        after: str | None = None,
        limit: int = 20,
    ) -> Page[RatingCount]:
        """Returns the counts of the days from `first_day` to `last_day` (UTC), in the order of their ids."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidValue("limit", f"must be from 1 to {MAX_PAGE}")
        of, source = self._grouped(by)
        query = (
            select(
                of.label("of"),
                func.count(),
                func.sum(case((feedback.c.thumb == "up", 1), else_=0)),
                func.sum(case((feedback.c.thumb == "down", 1), else_=0)),
                func.avg(feedback.c.score),
            )
            .select_from(source)
            .where(
                feedback.c.tenant == principal.tenant,
                feedback.c.created_at >= _begin(first_day),
                feedback.c.created_at < _begin(last_day + timedelta(days=1)),
                of.is_not(None),
            )
        )
        if after is not None:
            query = query.where(of > (_day_number(after) if by == "day" else after))
        query = query.group_by(of).order_by(of).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        counts = [
            RatingCount(_day(id) if by == "day" else id, ratings, int(up), int(down), score)
            for id, ratings, up, down, score in rows[:limit]
        ]
        return Page(counts, len(rows) > limit)

    def _grouped(self, by: CountedBy) -> tuple[ColumnElement[Any], Any]:
        """Returns what ratings are grouped by, and the tables that have it."""
        if by == "day":
            days = feedback.c.created_at / DAY_S
            # PostgreSQL's cast rounds, and not every SQLite has `floor`.
            return cast(days if self._database.is_sqlite else func.floor(days), Integer), feedback
        whole, items = captures.alias("whole"), captures.alias("items")
        joined = feedback.outerjoin(whole, whole.c.id == feedback.c.capture_id)
        joined = joined.outerjoin(items, items.c.item_id == feedback.c.item_id)
        if by == "assistant":
            return func.coalesce(whole.c.assistant, items.c.assistant), joined
        return func.coalesce(whole.c.adapter, whole.c.model, items.c.adapter, items.c.model), joined


def _begin(of: date) -> float:
    return datetime(of.year, of.month, of.day, tzinfo=UTC).timestamp()


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_S, UTC).date().isoformat()


def _day_number(day: str) -> int:
    try:
        return int(_begin(date.fromisoformat(day))) // DAY_S
    except ValueError:
        raise InvalidValue("after", "must be a day such as 2026-01-31") from None
