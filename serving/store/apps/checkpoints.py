"""Checkpoints of apps: the state of a run after each step, so that any replica can continue it.

A thread belongs to one user: the same id of another user, tenant or app is another thread. The thread of a conversation
lives as long as the conversation; any other lives as long as its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock
from serving.store.relational.tables import checkpoint_writes, checkpoints, conversations

KEPT = 8
"""Number of checkpoints kept per thread and namespace: a run continues from the newest."""

MAX_BYTES = 8_000_000
"""Maximum size of a checkpoint, in base64."""

MAX_THREAD_BYTES = 64_000_000
"""Maximum size of everything stored for a thread."""

MAX_WRITES = 256
"""Maximum number of writes of one task."""

LOST_S = 86_400.0
"""Age after which a thread without a conversation is removed: its gateway ended before the run did."""

OF_ONE_CALL = ":"
"""Separator in namespaces of subgraphs without memory; subgraphs with memory lack it, and keep their newest
checkpoints.
"""

Packed = tuple[str, str]
"""A serialised value: its type, and its bytes in base64."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of an app; `conversation` is the id of its conversation, if any."""

    app: str
    name: str
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint with the writes of its next step so far: task, channel and value of each."""

    id: str
    parent: str | None
    state: Packed
    metadata: Packed
    writes: Sequence[tuple[str, str, Packed]] = ()


class Checkpoints:
    """The checkpoints of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def get(self, principal: Principal, thread: Thread, namespace: str, id: str | None) -> Checkpoint | None:
        """Returns a checkpoint, by default the newest; None if it does not exist."""
        query = select(checkpoints).where(_rows_of(checkpoints, principal, thread, namespace))
        if id is not None:
            query = query.where(checkpoints.c.id == id)
        async with self._database.read() as connection:
            row = (await connection.execute(query.order_by(checkpoints.c.id.desc()).limit(1))).mappings().first()
            return await self._with_writes(connection, principal, thread, row) if row is not None else None

    @uninterrupted
    async def newest_first(
        self, principal: Principal, thread: Thread, namespace: str, before: str | None
    ) -> list[Checkpoint]:
        """Returns the stored checkpoints, optionally those older than `before`, newest first."""
        query = select(checkpoints).where(_rows_of(checkpoints, principal, thread, namespace))
        if before is not None:
            query = query.where(checkpoints.c.id < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(checkpoints.c.id.desc()).limit(KEPT))).mappings().all()
            return [await self._with_writes(connection, principal, thread, row) for row in rows]

    async def _with_writes(
        self, connection: AsyncConnection, principal: Principal, thread: Thread, row: RowMapping
    ) -> Checkpoint:
        of = checkpoint_writes.c
        query = select(of.task, of.channel, of.type, of.value).where(
            _rows_of(checkpoint_writes, principal, thread, row["namespace"]), of.checkpoint == row["id"]
        )
        found = (await connection.execute(query.order_by(of.task, of.place))).all()
        return Checkpoint(
            row["id"],
            row["parent"],
            (row["type"], row["state"]),
            (row["metadata_type"], row["metadata"]),
            [(task, channel, (kind, value)) for task, channel, kind, value in found],
        )

    @uninterrupted
    async def put(self, principal: Principal, thread: Thread, namespace: str, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint, and deletes all but the newest few; for runs of subgraphs, those since the oldest kept
        one of the graph.

        Raises `NotFound` if the conversation or the parent is gone, for example because an item of the conversation was
        deleted: the state of a run that read it would restore it.
        """
        _require_size("state", checkpoint.state[1])
        _require_size("metadata", checkpoint.metadata[1])
        row = {
            **_place(principal, thread, namespace),
            "id": checkpoint.id,
            "parent": checkpoint.parent,
            "type": checkpoint.state[0],
            "state": checkpoint.state[1],
            "metadata_type": checkpoint.metadata[0],
            "metadata": checkpoint.metadata[1],
            "created_at": now(),
        }
        kept = select(checkpoints.c.id).where(_rows_of(checkpoints, principal, thread, namespace))
        kept = kept.order_by(checkpoints.c.id.desc()).limit(KEPT)
        async with self._database.write() as connection:
            await _require_conversation(connection, principal, thread)
            if checkpoint.parent is not None:
                await _require_checkpoint(connection, principal, thread, namespace, checkpoint.parent)
            await _replace(connection, checkpoints, [row])
            newest = (await connection.execute(kept)).scalars().all()
            if len(newest) == KEPT:
                for table, id in ((checkpoints, checkpoints.c.id), (checkpoint_writes, checkpoint_writes.c.checkpoint)):
                    of = table.c.namespace == namespace
                    if not namespace:
                        of = of | table.c.namespace.contains(OF_ONE_CALL, autoescape=True)
                    older = and_(_rows_of(table, principal, thread), of, id < newest[-1])
                    await connection.execute(delete(table).where(older))
            await _require_room(connection, principal, thread)

    @uninterrupted
    async def put_writes(
        self,
        principal: Principal,
        thread: Thread,
        namespace: str,
        id: str,
        task: str,
        writes: Sequence[tuple[int, str, Packed]],
    ) -> None:
        """Stores a task's writes after a checkpoint: index, channel and value of each.

        Existing writes are kept, except those with a negative index, such as errors. Raises `NotFound` if the
        conversation or the checkpoint is gone.
        """
        if len(writes) > MAX_WRITES:
            raise InvalidValue("writes", f"are more than {MAX_WRITES}")
        rows = []
        for place, channel, (kind, value) in writes:
            _require_size("writes", value)
            rows.append(
                {
                    **_place(principal, thread, namespace),
                    "checkpoint": id,
                    "task": task,
                    "place": place,
                    "channel": channel,
                    "type": kind,
                    "value": value,
                    "created_at": now(),
                }
            )
        if not rows:
            return
        async with self._database.write() as connection:
            await _require_conversation(connection, principal, thread)
            await _require_checkpoint(connection, principal, thread, namespace, id)
            await _replace(connection, checkpoint_writes, rows)
            await _require_room(connection, principal, thread)

    @uninterrupted
    async def delete(self, principal: Principal, thread: Thread) -> None:
        """Removes a thread."""
        async with self._database.write() as connection:
            for table in (checkpoint_writes, checkpoints):
                await connection.execute(delete(table).where(_rows_of(table, principal, thread)))

    @uninterrupted
    async def prune(self) -> int:
        """Removes threads without a conversation whose run ended long ago. Returns the number of rows."""
        removed = 0
        for table in (checkpoint_writes, checkpoints):
            lost = and_(table.c.conversation_id.is_(None), table.c.created_at < now() - LOST_S)
            async with self._database.write() as connection:
                removed += (await connection.execute(delete(table).where(lost))).rowcount
        return removed


def _place(principal: Principal, thread: Thread, namespace: str) -> dict[str, Any]:
    return {
        "tenant": principal.tenant,
        "user": principal.user,
        "app": thread.app,
        "thread": thread.name,
        "namespace": namespace,
        "conversation_id": thread.conversation,
    }


def _rows_of(table: Table, principal: Principal, thread: Thread, namespace: str | None = None) -> ColumnElement[bool]:
    of = table.c
    mine = and_(of.tenant == principal.tenant, of.user == principal.user)
    found = and_(mine, of.app == thread.app, of.thread == thread.name)
    return found if namespace is None else and_(found, of.namespace == namespace)


async def _replace(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for row in rows:
        insert = dialect.insert(table).values(row)
        keys = [column.name for column in table.primary_key]
        changed = {name: value for name, value in row.items() if name not in keys}
        if row.get("place", -1) >= 0:
            await connection.execute(insert.on_conflict_do_nothing(index_elements=keys))
        else:
            await connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed))


async def _require_conversation(connection: AsyncConnection, principal: Principal, thread: Thread) -> None:
    """Raises `NotFound` if the thread's conversation is gone or not the user's; locks it until the end of the
    transaction.
    """
    if thread.conversation is None:
        return
    there = select(conversations.c.id).where(conversations.c.id == thread.conversation, own(conversations, principal))
    if (await connection.execute(there.with_for_update(read=True, key_share=True))).first() is None:
        raise NotFound("conversation", thread.conversation)
    await lock(connection, "checkpoints", thread.conversation)  # an item's deletion is serialised with this


async def _require_checkpoint(
    connection: AsyncConnection, principal: Principal, thread: Thread, namespace: str, id: str
) -> None:
    """Raises `NotFound` if a checkpoint does not exist."""
    mine = _rows_of(checkpoints, principal, thread, namespace)
    there = select(checkpoints.c.id).where(mine, checkpoints.c.id == id)
    if (await connection.execute(there)).first() is None:
        raise NotFound("checkpoint", id)


async def _require_room(connection: AsyncConnection, principal: Principal, thread: Thread) -> None:
    """Raises `InvalidValue` if a thread has become too large."""
    used = 0
    for table, columns in (
        (checkpoints, (checkpoints.c.state, checkpoints.c.metadata)),
        (checkpoint_writes, (checkpoint_writes.c.value,)),
    ):
        size = func.sum(sum((func.length(column) for column in columns[1:]), func.length(columns[0])))
        used += (await connection.execute(select(size).where(_rows_of(table, principal, thread)))).scalar_one() or 0
    if used > MAX_THREAD_BYTES:
        raise InvalidValue("thread", f"has checkpoints of more than {MAX_THREAD_BYTES} bytes")


def _require_size(what: str, value: str) -> None:
    if len(value) > MAX_BYTES:
        raise InvalidValue(what, f"has more than {MAX_BYTES} bytes")
