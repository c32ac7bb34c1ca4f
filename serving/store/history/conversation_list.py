"""The list of a user's conversations, the most recently active first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import ColumnElement, and_, delete, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import MAX_PAGE, PRUNED_TOGETHER, Conversation
from serving.store.history.full_text import contains
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build_page, page
from serving.store.relational.tables import conversations

Recorded = Callable[[int, bool], Awaitable[None]]
"""Records how many were deleted so far, and whether these were the last."""

_COLUMNS = [conversations.c[name] for name in Conversation.__slots__]


class ConversationList:
    """The conversations of one user at a time. Rows without an owner are in nobody's list."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def page(
        self,
        principal: Principal,
        *,
        said: str | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
        model: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Conversation]:
        """Returns the user's conversations by the time of their newest items.

        `said` are words in the title or in messages, in any case. Raises `InvalidValue` for an unknown `after`.
        """
        query = select(*_COLUMNS)
        if said:
            query = query.where(*contains(said, sqlite=self._database.is_sqlite))
        for column, wanted in (("pinned", pinned), ("archived", archived), ("model", model)):
            if wanted is not None:
                query = query.where(conversations.c[column] == wanted)
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                conversations,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                order_column="last_active_at",
                within=conversations.c.user == principal.user,
            )
        return build_page(Conversation, found)

    @uninterrupted
    async def delete_all(self, principal: Principal, record: Recorded) -> int:
        """Deletes all conversations of the user with their items, a few at a time, and records each time in the same
        transaction. Returns their number.
        """
        some = select(conversations.c.id).where(_owned_by(principal)).limit(PRUNED_TOGETHER)
        deleted = 0

        async def few() -> int:
            async with self._database.write() as connection:
                gone = delete(conversations).where(conversations.c.id.in_(some), _owned_by(principal))
                found = (await connection.execute(gone)).rowcount
            await record(deleted + found, found < PRUNED_TOGETHER)
            return found

        while True:
            found = await self._database.atomically(few)
            deleted += found
            if found < PRUNED_TOGETHER:
                return deleted


def _owned_by(principal: Principal) -> ColumnElement[bool]:
    return and_(conversations.c.tenant == principal.tenant, conversations.c.user == principal.user)
