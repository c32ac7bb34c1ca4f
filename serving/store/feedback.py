"""Feedback on answers and conversations. The caller may choose a rating's id, so that a repetition is stored once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from sqlalchemy import ColumnElement, Table, func, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock_out
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import IDS, captures, conversation_items, conversations, feedback

MAX_PAGE = 100
MAX_TAGS = 16
MAX_TAG = 64
MAX_COMMENT = 10_000
MAX_CORRECTION = 200_000

MAX_OF_TARGET = 20
"""Maximum number of ratings that one user gives to one target."""

MAX_BYTES_OF_TARGET = 1_000_000
"""Maximum number of bytes of the comments and corrections that one user gives to one target: each may be the longest
correction, in any script.
"""

TAKEN = "this id already belongs to other feedback"

Thumb = Literal["up", "down"]
Kind = Literal["response", "message", "session"]

_TARGETS: dict[Kind, tuple[str, Table]] = {
    "response": ("capture_id", captures),
    "message": ("item_id", conversation_items),
    "session": ("conversation_id", conversations),
}


@dataclass(frozen=True, slots=True)
class Rating:
    """The content of a rating; at least one field is set.

    `score` is from 0 (worst) to 1 (best); `correction` is the answer that should have been given; `rejected_id` is
    another response to the same prompt, to which the target response was preferred.
    """

    thumb: Thumb | None = None
    score: float | None = None
    tags: Sequence[str] = ()
    comment: str | None = None
    correction: str | None = None
    rejected_id: str | None = None
    consent: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """A rating and its target: one of `capture_id`, `item_id` and `conversation_id`."""

    id: str
    tenant: str
    user: str
    capture_id: str | None
    item_id: str | None
    conversation_id: str | None
    rejected_id: str | None
    thumb: Thumb | None
    score: float | None
    tags: list[str]
    comment: str | None
    correction: str | None
    consent: bool
    created_at: float

    @property
    def target(self) -> tuple[Kind, str]:
        """The id of the target."""
        for kind, (column, _) in _TARGETS.items():
            if (id := getattr(self, column)) is not None:
                return kind, id
        raise AssertionError("every rating has a target")


class Ratings:
    """The feedback of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        target: tuple[Kind, str],
        rating: Rating,
        *,
        id: str | None = None,
        meter_of: Callable[[int], Meter] | None = None,
    ) -> Feedback:
        """Stores a rating and returns it; an equal existing one stays unchanged.

        `meter_of` returns what counts a rating with a text of so many bytes. Raises `Conflict` when `id` belongs to
        another rating, `NotFound` for a missing target or rejected response, `InvalidValue` beyond the limits,
        `TooMany`, and `QuotaExceeded` if the meter does.
        """
        if id is not None and not IDS.fullmatch(id):
            raise InvalidValue("id", "must be 1 to 64 of A-Z a-z 0-9 _ -")
        new = _checked(principal, target, rating, id or new_id("fb"))
        size = sum(len(text.encode()) for text in (new.comment, new.correction) if text is not None)
        meter = meter_of(size) if meter_of is not None else None

        def work(connection: Connection) -> Feedback:
            if (old := _find(connection, principal, new.id)) is not None:
                return _same(old, new)
            _require(connection, principal, new)
            _require_room(connection, new, size)
            if meter is not None:
                meter(connection)
            connection.execute(feedback.insert(), asdict(new) | {"bytes": size})
            return new

        try:
            return await self._database.group_commit(work)
        except IntegrityError:  # a concurrent request stored the id, or deleted the target
            try:
                return await self._database.group_commit(work)
            except IntegrityError:  # the id belongs to another user
                raise Conflict(TAKEN) from None

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Feedback:
        """Returns a rating or raises `NotFound`."""
        async with self._database.read() as connection:
            found = await connection.run_sync(_find, principal, id)
        if found is None:
            raise NotFound("feedback", id)
        return found

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        targets: Sequence[str] = (),
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Feedback]:
        """Returns ratings, or those of some targets."""
        query = select(feedback)
        if targets:
            query = query.where(or_(*(feedback.c[column].in_(targets) for column, _ in _TARGETS.values())))
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                feedback,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=own(feedback, principal),
            )
        return build_page(Feedback, found)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a rating; raises `NotFound`."""
        async with self._database.write() as connection:
            if not (await connection.execute(feedback.delete().where(*_mine(principal, id)))).rowcount:
                raise NotFound("feedback", id)


def _checked(principal: Principal, target: tuple[Kind, str], rating: Rating, id: str) -> Feedback:
    kind, target_id = target
    tags = list(rating.tags)
    if len(tags) > MAX_TAGS:
        raise InvalidValue("tags", f"must have at most {MAX_TAGS} members")
    for i, tag in enumerate(tags):
        values.text(f"tags[{i}]", tag, max_length=MAX_TAG, min_length=1)
    for name, most in (("comment", MAX_COMMENT), ("correction", MAX_CORRECTION)):
        if (text := getattr(rating, name)) is not None:
            values.text(name, text, max_length=most, min_length=1)
    if rating.thumb not in (None, "up", "down"):
        raise InvalidValue("thumb", "must be 'up' or 'down'")
    if rating.score is not None and not (math.isfinite(rating.score) and 0 <= rating.score <= 1):
        raise InvalidValue("score", "must be from 0 to 1")
    if rating.rejected_id is not None and kind != "response":
        raise InvalidValue("rejected", "only a response can be preferred to another")
    if rating.rejected_id == target_id:
        raise InvalidValue("rejected", "must not be the target itself")
    said = (rating.thumb, rating.score, rating.comment, rating.correction, rating.rejected_id)
    if not tags and all(value is None for value in said):
        raise InvalidValue("thumb", "one of thumb, score, tags, comment, correction and rejected must be set")
    named: dict[str, str | None] = {column: None for column, _ in _TARGETS.values()}
    named[_TARGETS[kind][0]] = target_id
    return Feedback(
        id=id,
        tenant=principal.tenant,
        user=principal.user,
        **named,
        rejected_id=rating.rejected_id,
        thumb=rating.thumb,
        score=rating.score,
        tags=tags,
        comment=rating.comment,
        correction=rating.correction,
        consent=rating.consent,
        created_at=now(),
    )


def _same(old: Feedback, new: Feedback) -> Feedback:
    if replace(new, created_at=old.created_at) != old:
        raise Conflict(TAKEN)
    return old


def _find(connection: Connection, principal: Principal, id: str) -> Feedback | None:
    row = connection.execute(select(feedback).where(*_mine(principal, id))).mappings().first()
    return build(Feedback, row) if row is not None else None


def _require(connection: Connection, principal: Principal, new: Feedback) -> None:
    """Raises unless the target exists, and the rejected response answered the same prompt."""
    kind, id = new.target
    table = _TARGETS[kind][1]
    there = select(table.c.id).where(table.c.id == id)
    if table is conversation_items:
        there = there.join(conversations).where(own(conversations, principal))
    else:
        there = there.where(own(table, principal))
    if connection.execute(there).first() is None:
        raise NotFound(kind, id, "target.id")
    if new.rejected_id is None:
        return
    both = select(captures.c.id, captures.c.prompt).where(
        captures.c.id.in_((id, new.rejected_id)), own(captures, principal)
    )
    prompts = {row.id: [row.prompt.get(name) for name in ("messages", "prompt")] for row in connection.execute(both)}
    if new.rejected_id not in prompts:
        raise NotFound("response", new.rejected_id, "rejected")
    if prompts[id] != prompts[new.rejected_id]:
        raise InvalidValue("rejected", "answers a different prompt than the target")


def _require_room(connection: Connection, new: Feedback, size: int) -> None:
    """Raises `TooMany` if the user has given the target as many ratings, or as long ones, as one may."""
    kind, id = new.target
    of = feedback.c
    lock_out(connection, "feedback", id)
    mine = of[_TARGETS[kind][0]] == id, of.tenant == new.tenant, of.user == new.user
    number, before = connection.execute(select(func.count(), func.coalesce(func.sum(of.bytes), 0)).where(*mine)).one()
    if number >= MAX_OF_TARGET:
        raise TooMany(f"you have given this {kind} {MAX_OF_TARGET} ratings: delete one first")
    if before + size > MAX_BYTES_OF_TARGET:
        raise TooMany(f"your ratings of this {kind} have at most {MAX_BYTES_OF_TARGET} bytes of text: delete one first")


def _mine(principal: Principal, id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return feedback.c.id == id, own(feedback, principal)
