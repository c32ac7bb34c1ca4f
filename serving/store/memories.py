"""Facts about users: short statements, for each user and assistant, that the user can read and edit.

A statement is stored once, ignoring case and spacing. Statements of the user are kept until the user deletes them; of
those that were extracted, the oldest are deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import idempotency_answers, memories

MAX_PAGE = 100
MAX_TEXT = 500
"""Maximum number of characters of a statement."""

MAX_OWN = 1000
"""Maximum number of statements that one user may write for one assistant."""

MadeBy = Literal["user", "model"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement; `conversation_id` is where it was extracted."""

    id: str
    tenant: str
    user: str
    assistant: str
    text: str
    made_by: MadeBy
    conversation_id: str | None
    created_at: float


class Memories:
    """The statements about all users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def list_facts(
        self,
        principal: Principal,
        *,
        assistant: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Fact]:
        """Returns the user's statements, optionally those for one assistant, newest first."""
        mine: ColumnElement[bool] = memories.c.user == principal.user
        if assistant is not None:
            mine = and_(mine, memories.c.assistant == values.text("assistant", assistant))
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(memories),
                memories,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=mine,
            )
        return build_page(Fact, found)

    @uninterrupted
    async def profile(self, principal: Principal, assistant: str, *, limit: int) -> list[Fact]:
        """Returns the statements for an assistant's prompt: the user's own, then others, each newest first."""
        query = select(memories).where(_profile(principal, assistant))
        query = query.order_by(memories.c.made_by.desc(), memories.c.created_at.desc(), memories.c.id).limit(limit)
        async with self._database.read() as connection:
            return [build(Fact, row) for row in (await connection.execute(query)).mappings()]

    @uninterrupted
    async def add(self, principal: Principal, assistant: str, text: str) -> Fact:
        """Adds a statement of the user; an equal extracted one becomes the user's."""
        text = _checked(text)
        async with self._database.write() as connection:
            await _lock(connection, principal, assistant)
            own = and_(_profile(principal, assistant), memories.c.made_by == "user")
            if (await connection.execute(select(func.count()).where(own))).scalar_one() >= MAX_OWN:
                raise InvalidValue("text", f"there are already {MAX_OWN} memories for this assistant; delete some")
            same = and_(_profile(principal, assistant), memories.c.key == _key(text))
            old = (await connection.execute(select(memories).where(same))).mappings().first()
            if old is not None:
                return await _change(connection, old["id"], text)
            row = _row(principal, assistant, text, "user", None)
            await connection.execute(memories.insert().values(row))
            return await _get(connection, principal, row["id"])

    @uninterrupted
    async def update(self, principal: Principal, id: str, text: str) -> Fact:
        """Changes a statement, which then is the user's. Raises `NotFound`, and `Conflict` when it would
        exist twice.
        """
        text = _checked(text)
        async with self._database.write() as connection:
            fact = await _get(connection, principal, id)
            await _lock(connection, principal, fact.assistant)
            await _get(connection, principal, id)  # it can have been deleted while another process held the lock
            twin = and_(_profile(principal, fact.assistant), memories.c.key == _key(text), memories.c.id != id)
            if (await connection.execute(select(memories.c.id).where(twin))).first() is not None:
                raise Conflict("another memory says the same")
            return await _change(connection, id, text)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a statement; raises `NotFound`."""
        async with self._database.write() as connection:
            deleted = await connection.execute(memories.delete().where(_mine(principal, id)))
            if not deleted.rowcount:
                raise NotFound("memory", id)

    @uninterrupted
    async def delete_all(self, principal: Principal, *, assistant: str | None = None) -> int:
        """Deletes the user's statements, or those for one assistant. Returns their number."""
        mine = and_(memories.c.tenant == principal.tenant, memories.c.user == principal.user)
        if assistant is not None:
            mine = and_(mine, memories.c.assistant == values.text("assistant", assistant))
        async with self._database.write() as connection:
            return (await connection.execute(memories.delete().where(mine))).rowcount

    @uninterrupted
    async def add_found(
        self, principal: Principal, assistant: str, texts: Sequence[str], conversation_id: str, *, most: int
    ) -> int:
        """Adds extracted statements, keeps `most` in total, and returns how many of `texts` were new."""
        async with self._database.write() as connection:
            await _lock(connection, principal, assistant)
            keys = select(memories.c.key).where(_profile(principal, assistant))
            known = set((await connection.execute(keys)).scalars())
            added: dict[str, dict[str, Any]] = {}
            for text in map(_checked, texts):
                if (key := _key(text)) not in known:
                    added.setdefault(key, _row(principal, assistant, text, "model", conversation_id))
            if added:
                await connection.execute(memories.insert(), list(added.values()))
                await _forget(connection, principal, assistant, len(known) + len(added) - most)
            return len(added)


async def _forget(connection: AsyncConnection, principal: Principal, assistant: str, count: int) -> None:
    """Deletes the `count` oldest extracted statements."""
    if count <= 0:
        return
    theirs = and_(_profile(principal, assistant), memories.c.made_by == "model")
    oldest = select(memories.c.id).where(theirs).order_by(memories.c.created_at, memories.c.id).limit(count)
    await connection.execute(memories.delete().where(memories.c.id.in_(oldest)))


async def _change(connection: AsyncConnection, id: str, text: str) -> Fact:
    changes = {"text": text, "key": _key(text), "made_by": "user"}
    await connection.execute(memories.update().where(memories.c.id == id).values(changes))
    await connection.execute(idempotency_answers.delete().where(idempotency_answers.c.memory_id == id))
    return build(Fact, (await connection.execute(select(memories).where(memories.c.id == id))).mappings().one())


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Fact:
    row = (await connection.execute(select(memories).where(_mine(principal, id)))).mappings().first()
    if row is None:
        raise NotFound("memory", id)
    return build(Fact, row)


async def _lock(connection: AsyncConnection, principal: Principal, assistant: str) -> None:
    await lock(connection, "memories", principal.tenant, principal.user, assistant)


def _row(
    principal: Principal, assistant: str, text: str, made_by: MadeBy, conversation_id: str | None
) -> dict[str, Any]:
    return {
        "id": new_id("mem"),
        "tenant": principal.tenant,
        "user": principal.user,
        "assistant": assistant,
        "text": text,
        "key": _key(text),
        "made_by": made_by,
        "conversation_id": conversation_id,
        "created_at": now(),
    }


def _checked(text: str) -> str:
    return values.text("text", " ".join(text.split()), max_length=MAX_TEXT, min_length=1)


def _key(text: str) -> str:
    return hashlib.sha256(text.casefold().rstrip(" .!").encode()).hexdigest()


def _mine(principal: Principal, id: str) -> ColumnElement[bool]:
    return and_(memories.c.id == id, memories.c.tenant == principal.tenant, memories.c.user == principal.user)


def _profile(principal: Principal, assistant: str) -> ColumnElement[bool]:
    return and_(
        memories.c.tenant == principal.tenant, memories.c.user == principal.user, memories.c.assistant == assistant
    )
