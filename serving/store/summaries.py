"""The running summary of a conversation: one row, with the number of the last item in it.

Summaries never overtake each other: one is stored only in place of the one that it was made from, and only while all
items in it exist. Deleting an item deletes the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.conversations import Item
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock
from serving.store.relational.rows import build
from serving.store.relational.tables import conversation_items, conversation_summaries, conversations

MAX_CHARACTERS = 100_000
"""Maximum number of characters of a summary, independent of tokenizers."""


@dataclass(frozen=True, slots=True)
class Summary:
    """`text` replaces every item up to the one numbered `last_seq`."""

    conversation_id: str
    tenant: str
    text: str
    last_seq: int
    updated_at: float


class Summaries:
    """The summaries of all conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def get(self, principal: Principal, conversation_id: str) -> Summary | None:
        """Returns the conversation's summary; None when there is none yet, or the user has no such conversation."""
        async with self._database.read() as connection:
            return await _get(connection, principal, conversation_id)

    @uninterrupted
    async def put(self, principal: Principal, old: Summary | None, added: Sequence[Item], text: str) -> Summary | None:
        """Stores `text` as the summary of `old` and the items `added`.

        Returns None, and changes nothing, when another summary was stored meanwhile or one of the items was deleted.
        """
        id, last = added[0].conversation_id, added[-1].seq
        row = {
            "conversation_id": id,
            "tenant": principal.tenant,
            "text": values.storable(text, MAX_CHARACTERS),
            "last_seq": last,
            "updated_at": now(),
        }
        async with self._database.write() as connection:
            await lock(connection, "memory", id)
            there = select(conversations.c.id).where(conversations.c.id == id, own(conversations, principal))
            # Locked against deletion: the next row refers to it.
            if (await connection.execute(there.with_for_update(read=True, key_share=True))).first() is None:
                return None
            if await _get(connection, principal, id) != old:
                return None
            first = old.last_seq if old is not None else 0
            seq = conversation_items.c.seq
            count = select(func.count()).where(conversation_items.c.conversation_id == id, seq > first, seq <= last)
            if (await connection.execute(count)).scalar_one() != len(added):
                return None
            await connection.execute(
                conversation_summaries.delete().where(conversation_summaries.c.conversation_id == id)
            )
            await connection.execute(conversation_summaries.insert().values(row))
        return Summary(**row)  # type: ignore[arg-type]


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Summary | None:
    query = select(conversation_summaries).join(conversations)
    query = query.where(conversations.c.id == id, own(conversations, principal))
    row = (await connection.execute(query)).mappings().first()
    return build(Summary, row) if row is not None else None
