"""Copies of the beginning of a conversation, which continue on their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, func, literal, select
from sqlalchemy.engine import Connection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Conversation
from serving.store.errors import InvalidValue, NotFound
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.rows import build
from serving.store.relational.tables import conversation_items, conversations

MAX_BRANCHES = 200
"""Branches of a conversation that are listed, the oldest first."""

COPIED_TOGETHER = 200
"""Items whose numbers are in memory at once."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A conversation of a family of forks.

    `shared` is the number of the last item that it has in common with `forked_from`: 0 if that is none, or was deleted.
    """

    id: str
    created_at: float
    title: str
    forked_from: str | None
    shared: int


class Forks:
    """Makes conversations that begin like others."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def fork(
        self,
        principal: Principal,
        id: str,
        after: str | None,
        meter: Callable[[int], Meter] | None = None,
        *,
        before: str | None = None,
    ) -> Conversation:
        """Returns a new conversation with the items of `id` up to the item `after`, or those before `before`, under new
        ids.

        `meter` counts that many stored items. Raises `NotFound`, `InvalidValue` for an item that is not in the
        conversation, and `QuotaExceeded` if `meter` does.
        """

        def work(connection: Connection) -> Conversation:
            return _fork(connection, principal, id, after, before, meter)

        async with self._database.write() as connection:
            return await connection.run_sync(work)

    @uninterrupted
    async def branches(self, principal: Principal, id: str) -> list[Branch]:
        """Returns the family of a conversation, the oldest first: itself, what it was forked from as far as that is
        still there, and all forks of these. Raises `NotFound`.
        """
        async with self._database.read() as connection:
            return await connection.run_sync(_branches, principal, id)


def _branches(connection: Connection, principal: Principal, id: str) -> list[Branch]:
    c = conversations.c
    mine = own(conversations, principal)
    first: str | None = None
    next: str | None = id
    while next is not None and next != first:
        row = connection.execute(select(c.id, c.forked_from).where(c.id == next, mine)).first()
        if row is None:
            break
        first, next = row.id, row.forked_from
    if first is None:
        raise NotFound("conversation", id)
    family = select(c.id).where(c.id == first, mine).cte("family", recursive=True)
    family = family.union(select(c.id).where(c.forked_from == family.c.id, mine))
    parent = conversation_items.alias("parent").c
    own_item = conversation_items.alias("own_item").c
    # A copy has the number and the time of its original.
    shared = (
        select(func.coalesce(func.max(own_item.seq), 0))
        .join_from(
            own_item.seq.table,
            parent.seq.table,
            and_(
                parent.conversation_id == c.forked_from,
                parent.seq == own_item.seq,
                parent.created_at == own_item.created_at,
            ),
        )
        .where(own_item.conversation_id == c.id)
        .correlate(conversations)
        .scalar_subquery()
    )
    query = select(c.id, c.created_at, c.title, c.forked_from, shared.label("shared"))
    query = query.where(c.id.in_(select(family.c.id)), mine).order_by(c.created_at, c.id).limit(MAX_BRANCHES)
    return [Branch(**row) for row in connection.execute(query).mappings()]


def _fork(
    connection: Connection,
    principal: Principal,
    id: str,
    after: str | None,
    before: str | None,
    meter: Callable[[int], Meter] | None,
) -> Conversation:
    mine = conversations.c.id == id, own(conversations, principal)
    # Nobody adds or deletes an item while they are copied.
    source = connection.execute(select(conversations).where(*mine).with_for_update()).mappings().first()
    if source is None:
        raise NotFound("conversation", id)
    items = conversation_items.c
    named = connection.execute(
        select(items.seq, items.turn).where(items.conversation_id == id, items.id == (after or before))
    ).first()
    if named is None:
        raise InvalidValue("after" if after is not None else "before", "there is no such object")
    last_seq, last_turn = named.seq, named.turn
    if after is None:
        earlier = select(items.seq, items.turn).where(items.conversation_id == id, items.seq < named.seq)
        found = connection.execute(earlier.order_by(items.seq.desc()).limit(1)).first()
        last_seq, last_turn = (found.seq, found.turn) if found is not None else (0, 0)
    copied = items.conversation_id == id, items.seq <= last_seq
    count: int = connection.execute(select(func.count()).select_from(conversation_items).where(*copied)).scalar_one()
    if meter is not None:
        meter(1 + count)(connection)
    at = now()
    row = {
        **source,
        "id": new_id("conv"),
        "user": principal.user,
        "last_seq": last_seq,
        "last_turn": last_turn,
        "title": source["title"] if last_turn else "",  # its first question is another one
        "created_at": at,
        "last_active_at": at,
        "pinned": False,
        "archived": False,
        "item_count": count,
        "forked_from": id,
    }
    connection.execute(conversations.insert(), row)
    made = select(conversations).where(conversations.c.id == row["id"])
    # The bodies stay in the database: together they can be larger than memory.
    this = conversation_items.select().where(items.conversation_id == id, items.seq == bindparam("from_seq"))
    given = {"conversation_id": literal(row["id"]), "id": bindparam("new_id", type_=items.id.type)}
    names = [column.name for column in items]
    copied_item = this.with_only_columns(*(given.get(name, items[name]) for name in names))
    copy = conversation_items.insert().from_select(names, copied_item)
    seq = 0
    while True:
        query = select(items.seq, items.id).where(*copied, items.seq > seq).order_by(items.seq).limit(COPIED_TOGETHER)
        part = connection.execute(query).all()
        if not part:
            return build(Conversation, connection.execute(made).mappings().one())
        # An id has the prefix of the item's type.
        connection.execute(copy, [{"from_seq": each, "new_id": new_id(id.partition("_")[0])} for each, id in part])
        seq = part[-1].seq
