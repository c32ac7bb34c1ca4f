"""Responses: requests with their answers, one row each, linked in chains.

A response has only its own items; its context is in the responses before it, or in its conversation. Several responses
may follow one, so chains are the branches of a tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Integer, and_, exists, literal, select
from sqlalchemy.engine import Connection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Body, Conversations, Item, add_items
from serving.store.errors import LeaseLost, NotFound
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.rows import Order, Page, build, part
from serving.store.relational.tables import captures, responses

MAX_PAGE = 100
PRUNED_TOGETHER = 50  # so that other writers do not wait long

MAX_CHAIN = 10_000
"""Maximum number of responses of a chain that are read; earlier ones are ignored."""

_OPENING = ("user", "system", "developer")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response: `body` is OpenAI's object with its output, `input` its own items, `turns` those that begin in it.

    It continues the response `previous_id`, or the items of `conversation_id` numbered below `conversation_before`. All
    responses of a tree share a `session_id`. `checked` is as for items.
    """

    id: str
    tenant: str
    user: str | None
    previous_id: str | None
    conversation_id: str | None
    conversation_before: int | None
    session_id: str
    turns: int
    body: dict[str, Any]
    input: list[dict[str, Any]]
    created_at: float
    checked: str | None = None

    @property
    def unanswered(self) -> bool:
        """Whether it is a background response without an answer."""
        return self.body.get("status") in ("queued", "in_progress", "failed", "cancelled")

    @property
    def items(self) -> list[dict[str, Any]]:
        """Its items, oldest first."""
        return [*self.input, *_shown_again(self.body)]


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response to store, as `StoredResponse`. It continues a response, a conversation or nothing.

    `details` are stored with its first item in a conversation.
    """

    body: dict[str, Any]
    input: Sequence[Body]
    session_id: str
    previous_id: str | None = None
    conversation_id: str | None = None
    checked: str | None = None
    details: Body | None = None


class Responses:
    """The responses of all tenants. `Captures.record` stores them, together with their captures."""

    def __init__(self, database: Database, conversations: Conversations) -> None:
        self._database = database
        self._conversations = conversations

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> StoredResponse:
        """Returns the user's response or raises `NotFound`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(responses).where(*_mine(principal, id)))).mappings().first()
        if row is None:
            raise NotFound("response", id)
        return build(StoredResponse, row)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a response with its capture and the feedback on it; raises `NotFound`.

        Those that followed it continue its predecessor.
        """
        async with self._database.write() as connection:
            row = await connection.run_sync(_lock, principal, id)
            before = {name: row[name] for name in ("previous_id", "conversation_id", "conversation_before")}
            followers = responses.update().where(responses.c.previous_id == id)
            await connection.execute(followers.values(before))
            await connection.execute(responses.delete().where(*_mine(principal, id)))
            await connection.execute(
                captures.delete().where(captures.c.id == id, captures.c.tenant == principal.tenant)
            )

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes responses of all tenants whose session has no newer one, with their captures and feedback. Returns
        their number.
        """
        before = now() - older_than_s
        others = responses.alias("others")
        newer = exists().where(others.c.session_id == responses.c.session_id, others.c.created_at >= before)
        old = and_(responses.c.created_at < before, ~newer)
        # Locked first and checked again: another may have followed during the wait.
        query = select(responses.c.id).where(old).limit(PRUNED_TOGETHER).with_for_update(skip_locked=True, of=responses)
        removed = 0
        while True:
            async with self._database.write() as connection:
                ids = (await connection.execute(query)).scalars().all()
                gone = responses.delete().where(responses.c.id.in_(ids), old).returning(responses.c.id)
                pruned = (await connection.execute(gone)).scalars().all()
                await connection.execute(captures.delete().where(captures.c.id.in_(pruned)))
                removed += len(pruned)
            if len(ids) < PRUNED_TOGETHER:
                return removed

    async def list_input(
        self, principal: Principal, id: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[dict[str, Any]]:
        """Returns a response's own input in order or, by default, newest first; raises `NotFound`."""
        items = (await self.get(principal, id)).input
        return part(items, after=after, limit=limit, max_limit=MAX_PAGE, order=order)

    @uninterrupted
    async def chain(self, principal: Principal, id: str, *, limit: int) -> list[StoredResponse]:
        """Returns the response and its predecessors, newest first, at most `limit`; none of another user's."""
        links = _links(principal, id, limit)
        query = select(responses).join(links, responses.c.id == links.c.id).order_by(links.c.depth)
        async with self._database.read() as connection:
            return [build(StoredResponse, row) for row in (await connection.execute(query)).mappings()]

    @uninterrupted
    async def count_turns(self, principal: Principal, id: str) -> int:
        """Returns the number of turns in the response and all before it, including those of the conversation."""
        links = _links(principal, id, MAX_CHAIN)
        columns = responses.c.turns, responses.c.conversation_id, responses.c.conversation_before
        query = select(*columns).join(links, responses.c.id == links.c.id).order_by(links.c.depth)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        count: int = sum(row.turns for row in rows)
        if rows and (conversation_id := rows[-1].conversation_id) is not None:
            before = rows[-1].conversation_before
            count += await self._conversations.count_turns(principal, conversation_id, before=before)
        return count


def add_response(connection: Connection, principal: Principal, new: NewResponse) -> list[Item]:
    """Stores a response within a transaction, and adds its items to its conversation; returns those.

    Raises `NotFound` when the conversation, or the previous response, no longer exists.
    """
    output = _shown_again(new.body)
    items = [*new.input, *(item | {"details": new.details} for item in output[:1]), *output[1:]]
    head, *begun = split(items)
    first = bool(head) and new.previous_id is None and new.conversation_id is None
    if new.previous_id is not None:
        _lock(connection, principal, new.previous_id)
    id = new.conversation_id
    model = new.body.get("model")
    added = add_items(connection, principal, id, items, new.checked, model) if id is not None else []
    row = _row(principal, new, before=added[0].seq if added else None, turns=len(begun) + first)
    if not new.body.get("background"):
        connection.execute(responses.insert(), row)
        return added
    # An unwanted answer is not stored: the response was cancelled, deleted, or answered by another gateway.
    mine = _mine(principal, new.body["id"])
    queued = connection.execute(select(responses.c.body).where(*mine).with_for_update()).scalar()
    if queued is None or not waited_for(queued):
        raise LeaseLost(new.body["id"])
    connection.execute(responses.update().where(*mine).values(row))
    return added


def waited_for(body: Mapping[str, Any]) -> bool:
    """Returns whether a response is a background one without an answer, and has not ended.

    The database does not check it: PostgreSQL cannot read a field of a document that has the character NUL anywhere.
    """
    return body.get("status") in ("queued", "in_progress")


def queue_response(connection: Connection, principal: Principal, new: NewResponse) -> None:
    """Stores a response without an answer within a transaction; `add_response` completes it."""
    connection.execute(responses.insert(), _row(principal, new, before=None, turns=0))


def _row(principal: Principal, new: NewResponse, *, before: int | None, turns: int) -> dict[str, Any]:
    return {
        "id": new.body["id"],
        "tenant": principal.tenant,
        "user": principal.user,
        "previous_id": new.previous_id,
        "conversation_id": new.conversation_id,
        "conversation_before": before,
        "session_id": new.session_id,
        "turns": turns,
        "body": new.body,
        "input": list(new.input),
        "created_at": now(),
        "checked": new.checked,
    }


def _shown_again(body: Body) -> list[dict[str, Any]]:
    """Returns a response's output without its reasoning and searches, which are never in later prompts."""
    return [item for item in body["output"] if item["type"] not in ("reasoning", "file_search_call")]


def split(items: Sequence[Body]) -> list[list[Body]]:
    """Divides `items` into turns. The first list, which may be empty, continues an earlier turn.

    A turn begins with a message of a user or a program, and extends to the next one.
    """
    turns: list[list[Body]] = [[]]
    opening = False
    for item in items:
        opens = item.get("role") in _OPENING
        if opens and not opening:
            turns.append([])
        opening = opens
        turns[-1].append(item)
    return turns


def _links(principal: Principal, id: str, limit: int) -> CTE:
    """Returns the query for the ids of a chain with their depth, from 1."""
    first = select(responses.c.id, responses.c.previous_id, literal(1, Integer).label("depth"))
    links = first.where(*_mine(principal, id)).cte("links", recursive=True)
    further = select(responses.c.id, responses.c.previous_id, links.c.depth + 1)
    joined = further.join(links, responses.c.id == links.c.previous_id)
    return links.union_all(joined.where(own(responses, principal), links.c.depth < limit))


def _lock(connection: Connection, principal: Principal, id: str) -> Any:
    """Returns a response's row, locked against deletion and continuation until the transaction ends."""
    query = select(responses).where(*_mine(principal, id)).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound("response", id)
    return row


def _mine(principal: Principal, id: str) -> tuple[Any, Any]:
    return responses.c.id == id, own(responses, principal)
