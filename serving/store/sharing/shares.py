"""Shares: the items of a conversation up to one of them, which the people of its tenant may read until it expires.

A share has a link's worth of data: who shares what, up to which item, and the sources of its answers. The items stay in
the conversation, so that none outlives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Item
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock
from serving.store.relational.pruning import prune_rows
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import (
    conversation_items,
    conversations,
    idempotency_answers,
    idempotency_keys,
    shares,
    users,
)
from serving.store.sharing.sources import Sources

MAX_PAGE = 100

MAX_SHARED = 50
"""Maximum number of shared items that are read at once: each can have a long text."""

MAX_OPEN = 100
"""Maximum number of shares of one person that have not expired."""

MAX_ITEMS = 10_000
MAX_CHARACTERS = 8_000_000
"""Maximum numbers of items whose sources are read when a share is made, and of their characters."""

READ_TOGETHER = 50
CHARACTERS_TOGETHER = 4_000_000
"""Maximum numbers of items, and of their characters, that are in memory at once; a single item may be larger."""

PRUNED_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class SharedConversation:
    """A share of the items of `conversation_id` that are numbered up to `last_seq`; `title` is the conversation's."""

    id: str
    tenant: str
    user: str
    conversation_id: str
    last_seq: int
    created_at: float
    expires_at: float
    title: str


_SHARES = (
    select(*(column for column in shares.c if column is not shares.c.sources), conversations.c.title)
    .select_from(shares)
    .join(conversations, conversations.c.id == shares.c.conversation_id)
)
"""Without their sources, which can be many."""

_OF = conversation_items.c
_SIZED = select(
    _OF.seq,
    _OF.id,
    (func.length(cast(_OF.body, Text)) + func.coalesce(func.length(cast(_OF.details, Text)), 0)).label("characters"),
)


class Shares:
    """The shares of all tenants. A reader cannot tell why there is none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def sources(self, principal: Principal, conversation_id: str, until: str | None = None) -> Sources:
        """Returns the sources of a conversation's items, up to the item `until` if it is given.

        They are read a few at a time, and not beyond the first that nobody can check.
        Raises `NotFound` and `InvalidValue`, also if the person has `MAX_OPEN` shares.
        """
        last = await self._last(principal, conversation_id, until)
        found = Sources()
        read = characters = 0
        while found.unknown is None:
            items, more = await self._following(conversation_id, principal.tenant, found.last_seq, last)
            if not items:
                break
            for item in items:
                found.add(item)
            read += len(items)
            characters += more
            if found.unknown is None and (read > MAX_ITEMS or characters > MAX_CHARACTERS):
                raise InvalidValue("until", "there is too much before it: name an earlier item")
        if not read:
            raise InvalidValue("conversation", "has no messages")
        if found.unknown is not None:
            found.last_seq = last  # what follows is shared without answers
        return found

    async def _last(self, principal: Principal, id: str, until: str | None) -> int:
        """Returns the number of the last item to share."""
        async with self._database.read() as connection:
            await _require_room(connection, principal)
            mine = select(conversations.c.last_seq).where(conversations.c.id == id, own(conversations, principal))
            last = (await connection.execute(mine)).scalar()
            if last is None:
                raise NotFound("conversation", id, "conversation")
            if until is not None:
                of = conversation_items.c
                named = select(of.seq).where(of.conversation_id == id, of.tenant == principal.tenant, of.id == until)
                last = (await connection.execute(named)).scalar()
                if last is None:
                    raise InvalidValue("until", "there is no such object")
        return int(last)

    async def _following(self, id: str, tenant: str, after: int, last: int) -> tuple[list[Item], int]:
        """Returns the next items, at least one if there is any, and the number of their characters."""
        rest = and_(_OF.conversation_id == id, _OF.tenant == tenant, _OF.seq > after, _OF.seq <= last)
        async with self._database.read() as connection:
            sizes = _SIZED.where(rest).order_by(_OF.seq).limit(READ_TOGETHER)
            fitting = _fitting((await connection.execute(sizes)).mappings().all())
            return await _items(connection, id, fitting), sum(row["characters"] for row in fitting)

    @uninterrupted
    async def create(
        self, principal: Principal, conversation_id: str, sources: Sources, *, expires_in_s: float
    ) -> SharedConversation:
        """Shares the items that `sources` were read from. Raises `NotFound`, and `InvalidValue` if the person has
        `MAX_OPEN` shares.
        """
        at = now()
        row = {
            "id": new_id("share"),
            "tenant": principal.tenant,
            "user": principal.user,
            "conversation_id": conversation_id,
            "last_seq": sources.last_seq,
            "sources": sources.stored(),
            "created_at": at,
            "expires_at": at + expires_in_s,
        }
        mine = and_(conversations.c.id == conversation_id, own(conversations, principal))
        async with self._database.write() as connection:
            await lock(connection, "shares", principal.tenant, principal.user)
            # It is not deleted before the share is there.
            locked = select(conversations.c.id).where(mine).with_for_update(read=True, key_share=True)
            if (await connection.execute(locked)).first() is None:
                raise NotFound("conversation", conversation_id, "conversation")
            await _require_room(connection, principal)
            await connection.execute(shares.insert().values(row))
            made = _SHARES.where(shares.c.id == row["id"])
            return build(SharedConversation, (await connection.execute(made)).mappings().one())

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        conversation: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[SharedConversation]:
        """Returns the shares of the principal that have not expired, optionally those of one conversation."""
        mine = and_(_made_by(principal), shares.c.expires_at > now())
        if conversation is not None:
            mine = and_(mine, shares.c.conversation_id == conversation)
        async with self._database.read() as connection:
            found = await page(
                connection,
                _SHARES,
                shares,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=mine,
            )
        return build_page(SharedConversation, found)

    @uninterrupted
    async def get(self, reader: Principal, id: str) -> SharedConversation:
        """Returns a share that a person of the tenant may read; raises `NotFound`."""
        async with self._database.read() as connection:
            row = _present((await connection.execute(_open(reader, id))).mappings().first(), id)
            return build(SharedConversation, row)

    @uninterrupted
    async def items(
        self, reader: Principal, id: str, *, after: str | None = None, limit: int = 20, order: Order = "asc"
    ) -> tuple[Sources, Page[Item]]:
        """Returns a share's sources and some of its items, the oldest first by default; raises `NotFound`.

        A page ends before `limit` if its items are large.
        """
        async with self._database.read() as connection:
            opened = _open(reader, id).add_columns(shares.c.sources)
            share = _present((await connection.execute(opened)).mappings().first(), id)
            conversation_id = share["conversation_id"]
            found = await page(
                connection,
                _SIZED,
                conversation_items,
                reader,
                after=after,
                limit=limit,
                max_limit=MAX_SHARED,
                order=order,
                order_column="seq",
                within=and_(_OF.conversation_id == conversation_id, _OF.seq <= share["last_seq"]),
            )
            fitting = _fitting(found.items)
            items = await _items(connection, conversation_id, fitting)
        more = found.has_more or len(fitting) < len(found.items)
        return Sources(**share["sources"]), Page(items, more)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> str:
        """Revokes a share of the principal, and returns the id of its conversation; raises `NotFound`."""
        async with self._database.write() as connection:
            mine = shares.delete().where(shares.c.id == id, _made_by(principal))
            of: str | None = (await connection.execute(mine.returning(shares.c.conversation_id))).scalar()
            if of is None:
                raise NotFound("share", id)
            # A repetition of the request that made it must not be told that it is there.
            kept, keys = idempotency_answers.c, idempotency_keys.c
            told = exists().where(keys.id == kept.key_id, keys.made_id == id)
            await connection.execute(idempotency_answers.delete().where(kept.conversation_id == of, told))
            return of

    @uninterrupted
    async def prune(self) -> int:
        """Removes the expired shares of all tenants. Returns their number."""
        return await prune_rows(self._database, shares, shares.c.expires_at <= now(), together=PRUNED_TOGETHER)


def _made_by(principal: Principal) -> ColumnElement[bool]:
    return and_(shares.c.tenant == principal.tenant, shares.c.user == principal.user)


async def _require_room(connection: AsyncConnection, principal: Principal) -> None:
    """Raises `InvalidValue` if a person has `MAX_OPEN` shares."""
    counted = select(func.count()).select_from(shares).where(_made_by(principal), shares.c.expires_at > now())
    if (await connection.execute(counted)).scalar_one() >= MAX_OPEN:
        raise InvalidValue("conversation", f"you already have {MAX_OPEN} shares: revoke some")


def _fitting(rows: Sequence[RowMapping]) -> list[RowMapping]:
    """Returns the first rows of items whose characters may be in memory at once: at least one, if there is any."""
    total = 0
    for n, row in enumerate(rows):
        total += row["characters"]
        if n and total > CHARACTERS_TOGETHER:
            return list(rows[:n])
    return list(rows)


async def _items(connection: AsyncConnection, conversation_id: str, rows: Sequence[RowMapping]) -> list[Item]:
    """Returns items of a conversation, in the order of `rows`."""
    seqs = [row["seq"] for row in rows]
    query = select(conversation_items).where(_OF.conversation_id == conversation_id, _OF.seq.in_(seqs))
    found = {row["seq"]: build(Item, row) for row in (await connection.execute(query)).mappings()}
    return [found[seq] for seq in seqs if seq in found]


def _open(reader: Principal, id: str) -> Select[Any]:
    """Returns the query for a share of the reader's tenant, while it lasts and its owner may sign in."""
    owner = and_(users.c.tenant == shares.c.tenant, users.c.user == shares.c.user, users.c.disabled_at.is_(None))
    return _SHARES.join(users, owner).where(
        shares.c.id == id,
        shares.c.tenant == reader.tenant,
        shares.c.expires_at > now(),
        # Of a user who was removed, another of the same name shares nothing.
        shares.c.created_at >= users.c.created_at,
        # A share never reads more than its owner's conversation.
        conversations.c.tenant == shares.c.tenant,
        or_(conversations.c.user.is_(None), conversations.c.user == shares.c.user),
    )


def _present(row: RowMapping | None, id: str) -> RowMapping:
    if row is None:
        raise NotFound("share", id)
    return row
