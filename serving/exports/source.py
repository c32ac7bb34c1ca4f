"""Reads completions and their ratings from the store, in pages: memory does not grow with the stored data."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, not_, select, tuple_
from sqlalchemy.engine import RowMapping

from serving.core.uninterrupted import uninterrupted
from serving.exports.completion import CapturedMessage, CapturedRating, Completion, Rival
from serving.exports.manifest import Filters
from serving.store.relational.database import Database
from serving.store.relational.tables import captures, feedback

PAGE = 50
MAX_RATINGS = 64
"""Maximum number of ratings per completion: the newest."""

ROLES = {"system", "developer", "user", "assistant"}

_RIVALS = captures.alias("rivals")
_READ = [
    captures.c[name]
    for name in (
        "id",
        "item_id",
        "conversation_id",
        "session_id",
        "created_at",
        "request",
        "prompt",
        "answer",
        "outcome",
        "model",
        "assistant",
        "adapter",
        "prompt_version",
        "user",
    )
]


_AGREED = captures.c.consent  # consent is given by requesting that the completion or response be stored


async def completions(database: Database, filters: Filters) -> AsyncIterator[Completion]:
    """Yields completions with consent that match tenant, time and model, newest first, with their ratings.

    Rows added during the iteration are not included, and deleted ones are omitted.
    """
    before: tuple[float, str] | None = None
    while page := await _page(database, filters, before):
        for row, ratings in page:
            yield _completion(row, ratings)
        last = page[-1][0]
        before = (last["created_at"], last["id"])


@uninterrupted
async def without_consent(database: Database, filters: Filters) -> int:
    """Returns the number of completions that match these filters and must not be exported."""
    query = select(func.count()).where(*_passing(filters), not_(_AGREED))
    async with database.read() as connection:
        return int((await connection.execute(query)).scalar_one())


@uninterrupted
async def _page(
    database: Database, filters: Filters, before: tuple[float, str] | None
) -> list[tuple[RowMapping, list[CapturedRating]]]:
    async with database.read() as connection:
        rows = (await connection.execute(_captures(filters, before))).mappings().all()
        by_capture: defaultdict[str, list[CapturedRating]] = defaultdict(list)
        by_item = {row["item_id"]: row["id"] for row in rows if row["item_id"] is not None}
        ids = [row["id"] for row in rows]
        for column, wanted in (("capture_id", ids), ("rejected_id", ids), ("item_id", list(by_item))):
            found = await connection.execute(_ratings(filters.tenant, column, wanted))
            for rating in found.mappings():
                target = rating[column]
                by_capture[by_item.get(target, target)].append(_rating(rating, column))
    return [(row, by_capture[row["id"]]) for row in rows]


def _passing(filters: Filters) -> list[ColumnElement[bool]]:
    table = captures.c
    passing = [table.tenant == filters.tenant]
    if filters.since is not None:
        passing.append(table.created_at >= filters.since)
    if filters.until is not None:
        passing.append(table.created_at < filters.until)
    if filters.assistant is not None:
        passing.append(table.assistant == filters.assistant)
    if filters.model is not None:
        passing.append(table.model == filters.model)
    return passing


def _captures(filters: Filters, before: tuple[float, str] | None) -> Select[Any]:
    table = captures.c
    query = select(*_READ).where(*_passing(filters), _AGREED)
    if before is not None:
        query = query.where(tuple_(table.created_at, table.id) < before)
    return query.order_by(table.created_at.desc(), table.id.desc()).limit(PAGE)


def _ratings(tenant: str, column: str, ids: Sequence[str]) -> Select[Any]:
    """Returns the newest exportable ratings of each id, limited in number, since raters can add any number."""
    target = feedback.c[column]
    numbered = (
        select(
            feedback,
            func.row_number()
            .over(partition_by=target, order_by=(feedback.c.created_at.desc(), feedback.c.id))
            .label("number"),
        )
        .where(feedback.c.tenant == tenant, feedback.c.consent, target.in_(ids))
        .subquery()
    )
    same = and_(_RIVALS.c.id == numbered.c.rejected_id, _RIVALS.c.tenant == tenant)
    return (
        select(
            numbered,
            _RIVALS.c.answer.label("rival_answer"),
            _RIVALS.c.consent.label("rival_consent"),
            _RIVALS.c.outcome.label("rival_outcome"),
            _RIVALS.c.user.label("rival_user"),
        )
        .outerjoin(_RIVALS, same)
        .where(numbered.c.number <= MAX_RATINGS)
    )


def _completion(row: RowMapping, ratings: Sequence[CapturedRating]) -> Completion:
    return Completion(
        id=row["id"],
        session=row["session_id"] or row["conversation_id"] or _opening(row["id"], row["request"].get("messages")),
        at=row["created_at"],
        messages=_messages(row["prompt"]),
        answer=_answer(row["answer"]),
        whole=row["outcome"] in ("completed", "tool_calls"),
        model=row["model"],
        assistant=row["assistant"],
        adapter=row["adapter"],
        prompt_version=row["prompt_version"],
        user=row["user"],
        ratings=tuple(ratings),
    )


def _rating(row: RowMapping, column: str) -> CapturedRating:
    """Returns a rating's statements about the completion in its `column`."""
    chosen = row["rejected_id"] is not None
    rejected = column == "rejected_id"
    rival = None
    if chosen and not rejected and row["rival_answer"] is not None:
        allowed = row["rival_consent"] and row["rival_outcome"] == "completed"
        rival = Rival(row["rejected_id"], _answer(row["rival_answer"]), allowed, row["rival_user"])
    if rejected:  # the other fields refer to the other side
        return CapturedRating(row["id"], row["created_at"], tags=tuple(row["tags"]), preferred=False, user=row["user"])
    return CapturedRating(
        id=row["id"],
        at=row["created_at"],
        thumb=None if row["thumb"] is None else row["thumb"] == "up",
        score=row["score"],
        tags=tuple(row["tags"]),
        correction=row["correction"] if (row["correction"] or "").strip() else None,
        preferred=True if chosen else None,
        rival=rival,
        user=row["user"],
    )


def _messages(prompt: Mapping[str, Any]) -> tuple[CapturedMessage, ...] | None:
    """Returns the messages of a text-only prompt: without its tools, an answer would belong to another task."""
    messages = prompt.get("messages")
    if not isinstance(messages, list) or prompt.get("tools"):
        return None
    read = [_message(message) for message in messages]
    return tuple(m for m in read if m is not None) if all(read) else None


def _message(message: object) -> CapturedMessage | None:
    """Returns a text-only message, else None."""
    if not isinstance(message, Mapping) or message.get("role") not in ROLES or message.get("tool_calls"):
        return None
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        content = "".join(part for part in parts if part) if all(isinstance(p, str) for p in parts) else None
    return CapturedMessage(message["role"], content) if isinstance(content, str) and _writable(content) else None


def _writable(text: str) -> bool:
    """Returns text without unpaired surrogates, which JSON can escape but UTF-8 cannot encode."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _answer(choices: object) -> str | None:
    """Returns the text of the first choice, which ratings refer to."""
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return None
    message = _message({"role": "assistant", **(choices[0].get("message") or {})})
    return message.content if message else None


def _opening(id: str, messages: object) -> str:
    """Identifies the session of a completion without a conversation by the caller's messages up to the first question.

    Callers that keep the history themselves send it again with every question: equal beginnings are one session.
    """
    said = messages if isinstance(messages, list) else []
    for i, message in enumerate(said):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return hashlib.sha256(json.dumps(said[: i + 1]).encode()).hexdigest()
    return id
