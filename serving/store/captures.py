"""Captures: one row for every completion, with its input, its output and its cost.

A capture is written in the transaction that stores its turn of a conversation or its response, and is deleted with that
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
from serving.store.relational.pruning import prune_rows
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import captures
from serving.store.responses import NewResponse, add_response

MAX_PAGE = 100
PRUNED_TOGETHER = 200  # so that other writers do not wait long

Ending = Literal["completed", "length", "content_filter", "tool_calls", "error", "cancelled"]
"""How a completion ended: by its first choice's finish reason, an engine's error, or a caller's disconnect."""


_INSERT = Prepared(captures.insert())

_BROKE_OFF = captures.c.outcome.in_(("error", "cancelled"))


@dataclass(frozen=True, slots=True)
class Capture:
    """One completion, or its part until it was interrupted.

    `request` is the body as the caller sent it, `prompt` the engine's request, `answer` the list of choices; `timings`
    are the seconds of each stage. `stored` tells whether the API of stored completions shows it, `consent` whether
    exports may include it. Responses in one chain share a `session_id`. Tokens are None if the engine did not report
    them. `cost` is in `currency`, that of the model's price at the time, as a double; `answer` has the exact amount.
    Both are None if the price or the tokens are unknown. `prompts` are the stored prompts that its assistant and its
    request named.
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
    prompts: list[Json] | None = None


class Captures:
    """The captures of all tenants. The API shows those that are `stored`."""

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
        model: str | None = None,
        then: Then | None = None,
        again: bool = False,
    ) -> None:
        """Stores a capture with the place of its answer, and runs `then` with the added items, all or nothing.

        The place is a `turn`, whose items are added to its conversation and passed the guardrails `checked`, or a
        `response`. `model` is the turn's requested one. A retry (`again`) replaces the capture of the interrupted
        attempt. Raises `NotFound` when that conversation, the capture's, or the previous response is gone, and
        `LeaseLost` for a background response that is no longer wanted.
        """

        def work(connection: Connection) -> None:
            added = add_items(connection, principal, *turn, checked, model) if turn is not None else []
            if response is not None:
                added = add_response(connection, principal, response)
            if capture is not None:
                # The JSON columns are not copied.
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
        """Returns stored completions, optionally those of one `model` and with all of `metadata`."""
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
        return build_page(Capture, found)

    def _has_metadata(self, key: str, value: str) -> ColumnElement[bool]:
        # JSON paths cannot express every key: SQLite has no escape for a quote in them.
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
        """Removes captures of all tenants older than that, with their feedback. Returns their number."""
        old = captures.c.created_at < now() - older_than_s
        return await prune_rows(self._database, captures, old, together=PRUNED_TOGETHER)


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Capture:
    row = (await connection.execute(select(captures).where(*_stored_and_own(principal, id)))).mappings().first()
    if row is None:
        raise NotFound("chat completion", id)
    return build(Capture, row)


def _stored_and_own(principal: Principal, id: str) -> tuple[ColumnElement[bool], ...]:
    return captures.c.id == id, own(captures, principal), captures.c.stored
