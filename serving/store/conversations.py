"""Conversations: ordered items, one row each.

A conversation's row numbers its items, and its lock serialises concurrent additions: items of one request are
contiguous, and no number is used twice. A turn is a user message and all that follows it up to the next; items before
the first user message are turn 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Double, Integer, String, and_, bindparam, case, distinct, exists, func, select, true
from sqlalchemy.engine import Connection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import InvalidValue, NotFound
from serving.store.history.titles import title_of
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.owners import binds, own, own_bound
from serving.store.relational.postgres import lock
from serving.store.relational.prepared import Prepared
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import (
    checkpoint_writes,
    checkpoints,
    conversation_items,
    conversation_summaries,
    conversations,
    idempotency_answers,
    turn_vectors,
)

MAX_PAGE = 100
PRUNED_TOGETHER = 50  # each with all its items: other writers do not wait long

Body = Mapping[str, Any]
"""An item in OpenAI's format, perhaps with `details`; one without an id gets one."""

PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """OpenAI's conversation object, the numbers of its newest item and turn, and what a list shows of it.

    `model` is what was requested for its newest answer, `forked_from` the conversation whose first items it has.
    """

    id: str
    tenant: str
    user: str | None
    metadata: dict[str, str]
    last_seq: int
    last_turn: int
    created_at: float
    title: str
    pinned: bool
    archived: bool
    last_active_at: float
    item_count: int
    model: str | None
    forked_from: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """One item: `body` is its content, `seq` its number in the conversation.

    `checked` names the guardrails that it passed when it was stored, None if none read it. `details` are what the
    caller was told beside an answer; only pages of items have them.
    """

    id: str
    conversation_id: str
    seq: int
    tenant: str
    turn: int
    body: dict[str, Any]
    created_at: float
    checked: str | None = None
    details: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest items of a conversation, newest first, and its number of turns."""

    turns: int
    items: list[Item]


Then = Callable[[Connection, Sequence[Item]], object]
"""An additional step of the transaction that adds items."""

_MINE = conversations.c.id == bindparam("of"), own_bound(conversations)
_INSIDE = (
    conversation_items.c.conversation_id == bindparam("of"),
    conversation_items.c.tenant == bindparam("own_tenant"),
    exists().where(*_MINE).correlate(None),
)
_COLUMNS = tuple(conversation_items.c[name] for name in Item.__slots__ if name != "details")
_TURNS = select(func.count(distinct(conversation_items.c.turn))).where(*_INSIDE)
_LIMIT = bindparam("items", type_=Integer)
_LAST = select(*_COLUMNS).where(*_INSIDE).order_by(conversation_items.c.seq.desc()).limit(_LIMIT)
_LATEST = _LAST.subquery("latest")
_NEWEST = Prepared(
    select(_TURNS.scalar_subquery(), *_LATEST.c)
    .select_from(conversations.outerjoin(_LATEST, true()))
    .where(*_MINE)
    .order_by(_LATEST.c.seq.desc())
)
_NUMBER = Prepared(
    conversations.update()
    .where(*_MINE)
    .values(
        last_seq=conversations.c.last_seq + bindparam("items"),
        last_turn=conversations.c.last_turn + bindparam("turns"),
        item_count=conversations.c.item_count + bindparam("items"),
        last_active_at=bindparam("at", type_=Double),
        title=case((conversations.c.title == "", bindparam("begins", type_=String)), else_=conversations.c.title),
        model=func.coalesce(bindparam("asked", type_=String), conversations.c.model),
    )
    .returning(conversations.c.last_seq, conversations.c.last_turn)
)
_ADD = Prepared(conversation_items.insert())


class Conversations:
    """The conversations of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        *,
        metadata: Mapping[str, object] | None = None,
        items: Sequence[Body] = (),
        meter: Meter | None = None,
    ) -> Conversation:
        """Creates a conversation that begins with `items`; raises `QuotaExceeded` if `meter` does."""
        row = {
            "id": new_id("conv"),
            "tenant": principal.tenant,
            "user": principal.user,
            "metadata": values.metadata("metadata", metadata),
            "last_seq": 0,
            "last_turn": 0,
            "created_at": (at := now()),
            "last_active_at": at,
        }
        async with self._database.write() as connection:
            if meter is not None:
                await connection.run_sync(meter)
            await connection.execute(conversations.insert().values(row))
            await connection.run_sync(add_items, principal, str(row["id"]), items)
            return await connection.run_sync(_get, principal, str(row["id"]))

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Conversation:
        """Returns the user's conversation or raises `NotFound`."""
        return await self._database.query(lambda connection: _get(connection, principal, id))

    @uninterrupted
    async def update(
        self,
        principal: Principal,
        id: str,
        *,
        metadata: Mapping[str, object] | None = None,
        title: str | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> Conversation:
        """Changes what is given, and replaces the metadata; raises `NotFound`."""
        given = {
            "metadata": values.metadata("metadata", metadata) if metadata is not None else None,
            "title": values.text("headrace.title", title) if title is not None else None,
            "pinned": pinned,
            "archived": archived,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        async with self._database.write() as connection:
            if changes:
                await connection.execute(conversations.update().where(*_mine(principal, id)).values(changes))
            return await connection.run_sync(_get, principal, id)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> int:
        """Deletes the conversation with its items, and returns their number; raises `NotFound`."""
        async with self._database.write() as connection:
            this = conversations.delete().where(*_mine(principal, id)).returning(conversations.c.item_count)
            items: int | None = (await connection.execute(this)).scalar()
        if items is None:
            raise NotFound("conversation", id)
        return items

    @uninterrupted
    async def add(self, principal: Principal, id: str, items: Sequence[Body], then: Then | None = None) -> list[Item]:
        """Appends `items`, contiguously, all or none; raises `NotFound`."""

        def work(connection: Connection) -> list[Item]:
            added = add_items(connection, principal, id, items)
            if then is not None:
                then(connection, added)
            return added

        return await self._database.group_commit(work)

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes conversations of all tenants whose newest item is older than that, with all dependent rows. Returns
        their number.
        """
        before = now() - older_than_s
        newer = exists().where(
            conversation_items.c.conversation_id == conversations.c.id, conversation_items.c.created_at >= before
        )
        old = and_(conversations.c.created_at < before, ~newer)
        # Locked first and checked again: an item may have been added during the wait.
        query = select(conversations.c.id).where(old).limit(PRUNED_TOGETHER).with_for_update(skip_locked=True)
        removed = 0
        while True:
            async with self._database.write() as connection:
                ids = (await connection.execute(query)).scalars().all()
                gone = conversations.delete().where(conversations.c.id.in_(ids), old)
                removed += (await connection.execute(gone)).rowcount
            if len(ids) < PRUNED_TOGETHER:
                return removed

    @uninterrupted
    async def list_items(
        self, principal: Principal, id: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Returns items in order or, by default, newest first; raises `NotFound`."""
        async with self._database.read() as connection:
            await connection.run_sync(_get, principal, id)
            found = await page(
                connection,
                select(conversation_items),
                conversation_items,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                order_column="seq",
                within=conversation_items.c.conversation_id == id,
            )
        return build_page(Item, found)

    @uninterrupted
    async def last(self, principal: Principal, id: str, *, before: int | None = None, limit: int = 20) -> list[Item]:
        """Returns at most `limit` items with numbers below `before`, newest first; none of another user's."""
        query, given = _LAST, _page(principal, id, limit)
        if before is not None:
            query = query.where(conversation_items.c.seq < before)
        return await self._database.query(lambda connection: [Item(*row) for row in connection.execute(query, given)])

    async def newest(self, principal: Principal, id: str, *, limit: int = 20) -> Newest:
        """Returns at most `limit` items, newest first, with the number of turns; raises `NotFound`.

        It is one statement, so that both are of the same moment.
        """
        given = _page(principal, id, limit)
        rows = await self._database.look_up(_NEWEST, given)
        if not rows:
            raise NotFound("conversation", id)
        return Newest(rows[0][0], [Item(*row[1:]) for row in rows if row[1] is not None])

    @uninterrupted
    async def following(self, principal: Principal, id: str, *, after: int = 0, limit: int = 20) -> list[Item]:
        """Returns at most `limit` items with numbers above `after`, oldest first; none of another user's."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidValue("limit", f"must be from 1 to {MAX_PAGE}")
        query = select(*_COLUMNS).where(*_inside(principal, id), conversation_items.c.seq > after)
        query = query.order_by(conversation_items.c.seq).limit(limit)
        async with self._database.read() as connection:
            return [Item(*row) for row in await connection.execute(query)]

    @uninterrupted
    async def count_turns(self, principal: Principal, id: str, *, before: int | None = None) -> int:
        """Returns the number of turns with items numbered below `before`."""
        query, given = _TURNS, {"of": id, **binds(principal)}
        if before is not None:
            query = query.where(conversation_items.c.seq < before)
        return int(await self._database.query(lambda connection: connection.execute(query, given).scalar_one()))

    @uninterrupted
    async def get_item(self, principal: Principal, id: str, item_id: str) -> Item:
        """Returns an item or raises `NotFound`."""
        query = select(conversation_items).where(*_inside(principal, id), conversation_items.c.id == item_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise NotFound("conversation item", item_id)
        return build(Item, row)

    @uninterrupted
    async def delete_item(self, principal: Principal, id: str, item_id: str) -> Conversation:
        """Deletes an item, with what memory derived from it, and returns its conversation; raises `NotFound`.

        Other items keep their numbers.
        """
        this = conversation_items.delete().where(*_inside(principal, id), conversation_items.c.id == item_id)
        async with self._database.write() as connection:
            deleted = conversation_items.c.seq, conversation_items.c.turn, conversation_items.c.body
            row = (await connection.execute(this.returning(*deleted))).first()
            if row is None:
                raise NotFound("conversation item", item_id)
            # A title that repeats the item goes with it.
            title = case((conversations.c.title == title_of([row.body]), ""), else_=conversations.c.title)
            less = {"item_count": conversations.c.item_count - 1, "title": title}
            await connection.execute(conversations.update().where(*_mine(principal, id)).values(less))
            await lock(connection, "memory", id)
            covers = conversation_summaries.c.conversation_id == id, conversation_summaries.c.last_seq >= row.seq
            await connection.execute(conversation_summaries.delete().where(*covers))
            embeds = turn_vectors.c.conversation_id == id, turn_vectors.c.turn == row.turn
            await connection.execute(turn_vectors.delete().where(*embeds))
            await lock(connection, "checkpoints", id)
            # An app's run has read it: the next run starts without its state.
            for table in (checkpoint_writes, checkpoints):
                await connection.execute(table.delete().where(table.c.conversation_id == id))
            await connection.execute(
                idempotency_answers.delete().where(idempotency_answers.c.conversation_id == id)  # one may contain it
            )
            return await connection.run_sync(_get, principal, id)


def _page(principal: Principal, id: str, limit: int) -> dict[str, Any]:
    """Returns the parameters of a statement that reads a page."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidValue("limit", f"must be from 1 to {MAX_PAGE}")
    return {"of": id, "items": limit, **binds(principal)}


def _get(connection: Connection, principal: Principal, id: str) -> Conversation:
    row = connection.execute(select(conversations).where(*_mine(principal, id))).mappings().first()
    if row is None:
        raise NotFound("conversation", id)
    return build(Conversation, row)


def add_items(
    connection: Connection,
    principal: Principal,
    id: str,
    items: Sequence[Body],
    checked: str | None = None,
    model: str | None = None,
) -> list[Item]:
    """Adds `items` to a conversation within a transaction; raises `NotFound`.

    `checked` applies to each; `model` is the requested one, if they have its answer.
    """
    begins = [_begins_turn(items, i) for i in range(len(items))]
    at = now()
    counts = {"items": len(items), "turns": sum(begins), "at": at, "begins": title_of(items), "asked": model}
    numbered = _NUMBER.rows(connection, {"of": id, **binds(principal), **counts})
    if not numbered:
        raise NotFound("conversation", id)
    seq, turn = numbered[0][0] - len(items), numbered[0][1] - sum(begins)
    added = []
    for item, begin in zip(items, begins, strict=True):
        seq, turn = seq + 1, turn + begin
        body = dict(item)
        item_id = body.pop("id", None) or new_id(PREFIXES[body["type"]])
        details = body.pop("details", None)
        added.append(Item(item_id, id, seq, principal.tenant, turn, body, at, checked, details))
    if added:
        rows = [{name: getattr(item, name) for name in Item.__slots__} for item in added]
        _ADD.execute_many(connection, rows)
    return added


def _begins_turn(items: Sequence[Body], i: int) -> bool:
    """Returns whether an item begins a turn: consecutive user messages that are added together are one turn."""
    return items[i].get("role") == "user" and (i == 0 or items[i - 1].get("role") != "user")


def _mine(principal: Principal, id: str) -> tuple[Any, Any]:
    return conversations.c.id == id, own(conversations, principal)


def _inside(principal: Principal, id: str) -> tuple[Any, Any, Any]:
    of = conversation_items.c
    return (
        of.conversation_id == id,
        of.tenant == principal.tenant,
        exists().where(*_mine(principal, id)).correlate(None),
    )
