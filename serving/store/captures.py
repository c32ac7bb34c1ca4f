"""Captures: every completion with what led to it and what came of it, one row each.

A capture is written in the transaction that stores its turn of a conversation or its response. It goes with that
conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.conversations import Body, Then, add_items
from serving.store.errors import NotFound
from serving.store.jobs.job import Json
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.prepared import VIOLATES, Prepared
from serving.store.relational.rows import Order, Page, build, page
from serving.store.relational.tables import captures
from serving.store.responses import NewResponse, add_response

MAX_PAGE = 100
PRUNED_TOGETHER = 200  # so that others need not wait long to write

Ending = Literal["completed", "length", "content_filter", "tool_calls", "error", "cancelled"]
"""How a completion ended: as its first choice did, by an engine's error, or by a caller that hung up."""


_INSERT = Prepared(captures.insert())

_BROKE_OFF = captures.c.outcome.in_(("error", "cancelled"))


@dataclass(frozen=True, slots=True)
class Capture:
    """One completion, or what there was of it when it broke off.

    `request` is the body as the caller sent it, `prompt` the document as the engine got it, `answer` the list of
    choices; `timings` are the seconds of each stage. `stored` says that the API of stored completions shows it,
    `consent` that exports may hold it. Responses that go on with each other have one `session_id`. Tokens are None
    where the engine did not say. `cost` is in `currency`, that of the model's price then, as far as a double holds the
    exact amount in `answer`; both are None where nobody knows a price or the tokens.
    """

    id: str
    tenant: str
    user: str
    request_id: str
    conversation_id: str | None
    item_id: str | None
    session_id: str | None
    requested: str
    assistant: str | None
    alias: str
    model: str
    adapter: str | None
    prompt_version: str | None
    request: Json
    prompt: Json
    chunks: list[Json]
    answer: list[Json]
    steps: list[Json]
    prompt_tokens: int | None
    completion_tokens: int | None
    timings: dict[str, float]
    cost: float | None
    currency: str | None
    outcome: Ending
    error_code: str | None
    stored: bool
    consent: bool
    metadata: dict[str, str]
    created_at: float


class Captures:
    """The captures of all tenants. What the API shows are those that are `stored`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def record(
        self,
        principal: Principal,
        capture: Capture | None,
        *,
        turn: tuple[str, Sequence[Body]] | None = None,
        response: NewResponse | None = None,
        checked: str | None = None,
        then: Then | None = None,
        again: bool = False,
    ) -> None:
        """Stores a capture with the answer's own place, and does `then` with the items that were added, all or nothing.

        That is a `turn`, whose items are added to the conversation that it names and passed the guardrails `checked`,
        or a `response`. What is tried `again` takes the place of the capture of an attempt that broke off. Raises
        `NotFound` when that conversation, the capture's, or the response before it is gone, and `LeaseLost` for a
        response in the background that is not waited for any more.
        """

        def work(connection: Connection) -> None:
            added = add_items(connection, principal, *turn, checked) if turn is not None else []
            if response is not None:
                added = add_response(connection, principal, response)
            if capture is not None:
                # The columns of JSON are not copied.
                row = {name: getattr(capture, name) for name in Capture.__slots__}
                row["item_id"] = added[-1].id if added else None
                if again:
                    connection.execute(captures.delete().where(captures.c.id == capture.id, _BROKE_OFF))
                try:
                    _INSERT.execute_many(connection, [row])
                except VIOLATES as e:
                    if capture.conversation_id is None or added:
                        raise
                    raise NotFound("conversation", capture.conversation_id) from e
            if then is not None:
                then(connection, added)

        await self._database.group_commit(work)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Capture:
        """Returns a stored completion or raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        model: str | None = None,
        metadata: Mapping[str, object] | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
    ) -> Page[Capture]:
        """Returns stored completions, those of one `model` and with all of `metadata` if given."""
        query = select(captures)
        if model is not None:
            query = query.where(captures.c.requested == values.text("model", model))
        for key, value in values.metadata("metadata", metadata).items():
            query = query.where(self._has_metadata(key, value))
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
                within=and_(captures.c.stored, own(captures, principal)),
            )
        return Page([build(Capture, row) for row in found.items], found.has_more)

    def _has_metadata(self, key: str, value: str) -> ColumnElement[bool]:
        # A JSON path cannot name every key: SQLite has no way to write a quote in one.
        each = func.json_each if self._database.is_sqlite else func.json_each_text
        pair = each(captures.c.metadata).table_valued("key", "value")
        return exists(select(pair.c.key).where(pair.c.key == key, pair.c.value == value))

    @uninterrupted
    async def update(self, principal: Principal, id: str, *, metadata: Mapping[str, object] | None) -> Capture:
        """Replaces a stored completion's metadata; raises `NotFound`."""
        changes = {"metadata": values.metadata("metadata", metadata)}
        async with self._database.write() as connection:
            await connection.execute(captures.update().where(*_stored_and_own(principal, id)).values(changes))
            return await _get(connection, principal, id)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a stored completion with its feedback; raises `NotFound`."""
        async with self._database.write() as connection:
            if not (await connection.execute(captures.delete().where(*_stored_and_own(principal, id)))).rowcount:
                raise NotFound("chat completion", id)

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes captures of all tenants older than that, with their feedback. Returns how many."""
        old = select(captures.c.id).where(captures.c.created_at < now() - older_than_s).limit(PRUNED_TOGETHER)
        removed = 0
        while True:
            async with self._database.write() as connection:
                found = (await connection.execute(captures.delete().where(captures.c.id.in_(old)))).rowcount
            removed += found
            if found < PRUNED_TOGETHER:
                return removed


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Capture:
    row = (await connection.execute(select(captures).where(*_stored_and_own(principal, id)))).mappings().first()
    if row is None:
        raise NotFound("chat completion", id)
    return build(Capture, row)


def _stored_and_own(principal: Principal, id: str) -> tuple[ColumnElement[bool], ...]:
    return captures.c.id == id, own(captures, principal), captures.c.stored
