"""Embeddings of turns: a row for each of the newest turns of a conversation.

A row has the number of its turn's last item, so that a turn that grew, or whose embedding is missing, is found and
embedded again. A vector is opaque here: bytes in base64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Item
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock
from serving.store.relational.rows import build
from serving.store.relational.tables import conversation_items, conversations, turn_vectors


@dataclass(frozen=True, slots=True)
class WaitingTurn:
    """A turn with no embedding, or an outdated one; the last of its items is numbered `last_seq`."""

    turn: int
    last_seq: int
    items: int


@dataclass(frozen=True, slots=True)
class TurnVector:
    """A turn's embedding; `vector` is base64."""

    conversation_id: str
    turn: int
    last_seq: int
    vector: str


class TurnVectors:
    """The embeddings of all conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def waiting(
        self, principal: Principal, id: str, embedder: str, *, keep: int, limit: int
    ) -> list[WaitingTurn]:
        """Returns turns, among the newest `keep`, that `embedder` has to embed, oldest first."""
        item, vector = conversation_items.c, turn_vectors.c
        last = (
            select(conversations.c.last_turn)
            .where(conversations.c.id == id, own(conversations, principal))
            .scalar_subquery()
        )
        turns = (
            select(item.turn, func.max(item.seq).label("last_seq"), func.count().label("items"))
            .where(item.conversation_id == id, item.turn > last - keep)
            .group_by(item.turn)
            .subquery()
        )
        same = and_(vector.conversation_id == id, vector.turn == turns.c.turn)
        old = or_(vector.turn.is_(None), vector.last_seq < turns.c.last_seq, vector.embedder != embedder)
        query = select(turns).select_from(turns.outerjoin(turn_vectors, same)).where(old)
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by(turns.c.turn).limit(limit))
            return [build(WaitingTurn, row) for row in found.mappings()]

    @uninterrupted
    async def items(self, principal: Principal, id: str, turn: int, *, limit: int) -> list[Item]:
        """Returns the first `limit` items of a turn; none of another user's."""
        item = conversation_items.c
        query = select(conversation_items).join(conversations)
        query = query.where(conversations.c.id == id, own(conversations, principal), item.turn == turn)
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by(item.seq).limit(limit))
            return [build(Item, row) for row in found.mappings()]

    @uninterrupted
    async def put(
        self,
        principal: Principal,
        id: str,
        assistant: str,
        embedder: str,
        vectors: Mapping[WaitingTurn, str],
        *,
        keep: int,
    ) -> int:
        """Stores embeddings and deletes those of turns older than the newest `keep`.

        Returns the number of stored ones, without turns that changed meanwhile, which have to be embedded again.
        """
        item, at = conversation_items.c, now()
        async with self._database.write() as connection:
            await lock(connection, "memory", id)
            mine = conversations.c.id == id, own(conversations, principal)
            # Locked against deletion: the next rows refer to it.
            newest = select(conversations.c.last_turn).where(*mine).with_for_update(read=True, key_share=True)
            last = (await connection.execute(newest)).scalar()
            if last is None:
                return 0
            numbers = [waiting.turn for waiting in vectors]
            counted = (
                select(item.turn, func.max(item.seq), func.count())
                .where(item.conversation_id == id, item.turn.in_(numbers))
                .group_by(item.turn)
            )
            same = {WaitingTurn(*row) for row in await connection.execute(counted)}
            rows: list[dict[str, Any]] = [
                {
                    "conversation_id": id,
                    "turn": waiting.turn,
                    "tenant": principal.tenant,
                    "user": principal.user,
                    "assistant": assistant,
                    "last_seq": waiting.last_seq,
                    "embedder": embedder,
                    "vector": vector,
                    "created_at": at,
                }
                for waiting, vector in vectors.items()
                if waiting in same
            ]
            gone = or_(turn_vectors.c.turn.in_([row["turn"] for row in rows]), turn_vectors.c.turn <= last - keep)
            await connection.execute(turn_vectors.delete().where(turn_vectors.c.conversation_id == id, gone))
            if rows:
                await connection.execute(turn_vectors.insert(), rows)
        return len(rows)

    @uninterrupted
    async def of_conversation(self, principal: Principal, id: str, embedder: str, *, limit: int) -> list[TurnVector]:
        """Returns the newest embeddings of a conversation; none of another user's."""
        vector = turn_vectors.c
        mine = and_(conversations.c.id == id, own(conversations, principal), vector.embedder == embedder)
        query = (
            select(*_SHOWN)
            .select_from(turn_vectors.join(conversations))
            .where(mine)
            .order_by(vector.turn.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [TurnVector(*row) for row in await connection.execute(query)]

    @uninterrupted
    async def of_user(self, principal: Principal, assistant: str, embedder: str, *, limit: int) -> list[TurnVector]:
        """Returns the newest embeddings of the user's turns with an assistant, in any conversation."""
        vector = turn_vectors.c
        mine = and_(vector.tenant == principal.tenant, vector.user == principal.user, vector.assistant == assistant)
        query = select(*_SHOWN).where(mine, vector.embedder == embedder)
        query = query.order_by(vector.created_at.desc()).limit(limit)
        async with self._database.read() as connection:
            return [TurnVector(*row) for row in await connection.execute(query)]


_SHOWN = tuple(turn_vectors.c[name] for name in ("conversation_id", "turn", "last_seq", "vector"))
