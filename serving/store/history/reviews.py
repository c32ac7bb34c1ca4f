"""Review: what users of a tenant asked and were answered, as far as they consented, for whom the scope `review` allows.

An answer is left out if its request did not consent, once its turn was deleted from the conversation, and from the
moment on at which the erasure of its user was requested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import STACK, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.access import readable
from serving.store.captures import Ending
from serving.store.errors import NotFound
from serving.store.feedback import Thumb
from serving.store.jobs.job import ERASE, Json
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build, page
from serving.store.relational.tables import UNFINISHED, captures, feedback, files, jobs

MAX_PAGE = 100
MAX_RATINGS = 64
"""Maximum number of shown ratings of one answer: the newest."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An answer without its texts; `up` and `down` count its ratings with consent."""

    id: str
    conversation_id: str | None
    item_id: str | None
    requested: str
    assistant: str | None
    model: str
    adapter: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    outcome: Ending
    created_at: float
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class ReviewedRating:
    """A rating with consent."""

    id: str
    thumb: Thumb | None
    score: float | None
    tags: list[str]
    comment: str | None
    correction: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class ReviewedTexts:
    """What an answer consists of. `readable` are the files of its `chunks` that still exist and that the reviewer may
    read: the user's consent does not include other people's documents.
    """

    request: Json
    answer: Sequence[Json]
    chunks: Sequence[Json]
    readable: frozenset[str]
    ratings: Sequence[ReviewedRating]


_COUNTED = ("up", "down")
_SHOWN = [captures.c[name] for name in Reviewed.__slots__ if name not in _COUNTED]


class Reviews:
    """The answers of all tenants that may be reviewed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def page(
        self,
        principal: Principal,
        *,
        assistant: str | None = None,
        model: str | None = None,
        conversation: str | None = None,
        thumb: Thumb | None = None,
        start: int | None = None,
        end: int | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Reviewed]:
        """Returns answers of the tenant, of one assistant, model or adapter, conversation, or rated in one way.

        `start` and `end` are times in unix seconds, of which the second is not included.
        """
        of = captures.c
        query = select(*_SHOWN)
        if assistant is not None:
            query = query.where(of.assistant == values.text("assistant", assistant))
        if model is not None:
            query = query.where(func.coalesce(of.adapter, of.model) == values.text("model", model))
        if conversation is not None:
            query = query.where(of.conversation_id == values.text("conversation", conversation))
        if thumb is not None:
            query = query.where(_rated(principal, thumb))
        if start is not None:
            query = query.where(of.created_at >= start)
        if end is not None:
            query = query.where(of.created_at < end)
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                captures,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=_reviewable(principal),
            )
            thumbs = await _thumbs(connection, principal, found.items)
        return Page([_reviewed(row, thumbs) for row in found.items], found.has_more)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> tuple[Reviewed, ReviewedTexts]:
        """Returns an answer of the tenant with its texts; raises `NotFound`."""
        texts = captures.c.request, captures.c.answer, captures.c.chunks
        query = select(*_SHOWN, *texts).where(
            captures.c.id == id, captures.c.tenant == principal.tenant, _reviewable(principal)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                raise NotFound("capture", id)
            rated = await connection.execute(_ratings(principal, row))
            ratings = [build(ReviewedRating, rating) for rating in rated.mappings()]
            named = sorted({str(chunk["file_id"]) for chunk in row["chunks"]})
            open_ = select(files.c.id).where(files.c.id.in_(named), _open_to(principal))
            there = frozenset((await connection.execute(open_)).scalars()) if named else frozenset()
        thumbs = Counter((row["id"], rating.thumb) for rating in ratings)
        return _reviewed(row, thumbs), ReviewedTexts(row["request"], row["answer"], row["chunks"], there, ratings)


def _reviewable(principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for answers of the tenant that may be reviewed."""
    return and_(captures.c.consent, not_deleted(principal))


def not_deleted(principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for captures of the tenant whose turn is in its conversation, and whose user stays."""
    of = captures.c
    asked_for = and_(
        jobs.c.tenant == principal.tenant, jobs.c.kind == ERASE, jobs.c.payload["dry_run"].as_boolean().is_(False)
    )
    name = jobs.c.payload["user"].as_string()  # it stays until everything is removed
    erased = select(name).where(UNFINISHED, asked_for, name.is_not(None))
    kept = or_(of.conversation_id.is_(None), of.item_id.is_not(None), of.outcome.in_(("error", "cancelled")))
    return and_(kept, of.user.not_in(erased))


def _open_to(principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for files that a reviewer may read, or that the configuration gives to everybody."""
    everybodys = and_(files.c.tenant == STACK, files.c.access.is_(None))
    return or_(readable(files, principal), everybodys)


def _rated(principal: Principal, thumb: Thumb) -> ColumnElement[bool]:
    """Returns the condition for answers with a rating, of the answer itself or of its message."""
    so = feedback.c.tenant == principal.tenant, feedback.c.consent, feedback.c.thumb == thumb
    whole = exists(select(feedback.c.id).where(feedback.c.capture_id == captures.c.id, *so))
    item = exists(select(feedback.c.id).where(feedback.c.item_id == captures.c.item_id, *so))
    return or_(whole, item)


async def _thumbs(
    connection: AsyncConnection, principal: Principal, rows: Sequence[RowMapping]
) -> Counter[tuple[str, Any]]:
    """Counts ratings by the answer's id and the thumb."""
    of = feedback.c
    by_item = {row["item_id"]: row["id"] for row in rows if row["item_id"] is not None}
    about = or_(of.capture_id.in_([row["id"] for row in rows]), of.item_id.in_(list(by_item)))
    query = select(of.capture_id, of.item_id, of.thumb, func.count()).where(
        of.tenant == principal.tenant, of.consent, of.thumb.is_not(None), about
    )
    query = query.group_by(of.capture_id, of.item_id, of.thumb)
    found: Counter[tuple[str, Any]] = Counter()
    for capture, item, thumb, number in (await connection.execute(query)).all() if rows else ():
        found[capture or by_item[item], thumb] += number
    return found


def _ratings(principal: Principal, row: RowMapping) -> Any:
    """Returns the query for the newest ratings of an answer."""
    of = feedback.c
    about = of.capture_id == row["id"]
    if row["item_id"] is not None:
        about = or_(about, of.item_id == row["item_id"])
    query = select(feedback).where(of.tenant == principal.tenant, of.consent, about)
    return query.order_by(of.created_at.desc(), of.id).limit(MAX_RATINGS)


def _reviewed(row: RowMapping, thumbs: Counter[tuple[str, Any]]) -> Reviewed:
    return build(Reviewed, row, up=thumbs[row["id"], "up"], down=thumbs[row["id"], "down"])
