"""What is known of answered requests without their texts, for whom the scope `operate` allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.engine import RowMapping

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Ending
from serving.store.errors import NotFound
from serving.store.history.reviews import not_deleted
from serving.store.relational.database import Database
from serving.store.relational.rows import Page, build
from serving.store.relational.tables import captures

MOST = 20
"""Maximum number of answers of one request: a caller may send several requests with the same id."""


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """The figures of one capture: see `Capture`.

    `stream` and `finish_reason`, which the engine gave the first choice, are None if the content was not stored.
    `timings` end when the answer was stored.
    """

    id: str
    request_id: str
    requested: str
    assistant: str | None
    prompt_version: str | None
    prompts: list[dict[str, Any]] | None
    alias: str
    model: str
    adapter: str | None
    stream: bool | None
    steps: int
    passages: int
    prompt_tokens: int | None
    completion_tokens: int | None
    timings: dict[str, float]
    cost: float | None
    currency: str | None
    outcome: Ending
    finish_reason: str | None
    error_code: str | None
    stored: bool
    consent: bool
    created_at: float


_OF = captures.c
_COMPUTED: dict[str, ColumnElement[Any]] = {
    "steps": func.json_array_length(_OF.steps).label("steps"),
    "passages": func.json_array_length(_OF.chunks).label("passages"),
    # PostgreSQL cannot read a field of a document that has the character NUL anywhere, and its error quotes the text.
    "stream": _OF.request,
    "finish_reason": _OF.answer,
}
_SHOWN: list[ColumnElement[Any]] = [
    _COMPUTED[name] if name in _COMPUTED else _OF[name] for name in AnsweredRequest.__slots__
]


class AnsweredRequests:
    """The answered requests of all tenants, as far as they were captured."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def find(
        self, principal: Principal, id: str, *, start: float | None = None, end: float | None = None
    ) -> Page[AnsweredRequest]:
        """Returns the answer with this id, or the newest `MOST` of the requests with this id, of the tenant.

        Those of requests are from `start` until before `end`, in unix seconds, if these are given: callers choose the
        ids of requests, and may use one again. Raises `NotFound`.
        """
        if "\0" in id:  # PostgreSQL rejects it
            raise NotFound("request", id)
        async with self._database.read() as connection:
            within = [_OF.created_at >= start] if start is not None else []
            within += [_OF.created_at < end] if end is not None else []
            for condition in (_OF.id == id, and_(_OF.request_id == id, *within)):
                query = _of_tenant(principal, condition)
                found = (await connection.execute(query)).mappings().all()
                if found:
                    return Page([_build(row) for row in found[:MOST]], len(found) > MOST)
        raise NotFound("request", id)


def _build(row: RowMapping) -> AnsweredRequest:
    request, answer = row["request"], row["answer"]
    # Every request names a model, unless its content was not stored; it may leave out `stream`.
    stream = None if request.get("model") is None else bool(request.get("stream"))
    reason = answer[0].get("finish_reason") if answer else None
    return build(AnsweredRequest, row, stream=stream, finish_reason=reason)


def _of_tenant(principal: Principal, condition: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*_SHOWN)
        .where(_OF.tenant == principal.tenant, condition, not_deleted(principal))
        .order_by(_OF.created_at.desc(), _OF.id)
        .limit(MOST + 1)
    )
