"""What users deleted of their own, as the audit log of their tenant recorded it in the transaction of the deletion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.engine import RowMapping

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.rows import Page
from serving.store.relational.tables import audit

KINDS = {
    "conversation.delete": "conversation",
    "conversation.delete_all": "conversations",
    "memory.delete": "memory",
    "memory.delete_all": "memories",
}
"""Actions of the audit log that delete what is the caller's own, with what each deletes."""

MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion, with the number and the hash of its newest event. `id` is the event's target."""

    id: str
    kind: str
    deleted: int
    items: int | None
    """Number of the items of one conversation, None for others."""
    finished: bool
    at: float
    """Unix seconds."""
    actor: str
    """The user's pseudonym in the audit log."""
    event: int
    hash: str


class Deletions:
    """The deletions of one user at a time, by the user's pseudonym in the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def page(self, principal: Principal, actor: str, *, after: str | None, limit: int) -> Page[Deletion]:
        """Returns the newest deletions. Raises `InvalidValue` for an unknown `after`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidValue("limit", f"must be from 1 to {MAX_PAGE}")
        newer = audit.alias()
        again = and_(newer.c.tenant == audit.c.tenant, newer.c.seq > audit.c.seq, newer.c.target == audit.c.target)
        # All conversations are deleted a few at a time, each time with an event: the newest has the sum.
        replaced = and_(
            audit.c.action == "conversation.delete_all",
            select(newer.c.seq).where(again, newer.c.action == audit.c.action).exists(),
        )
        query = select(audit).where(*_own(principal, actor), ~replaced)
        async with self._database.read() as connection:
            if after is not None:
                last = select(func.max(audit.c.seq)).where(*_own(principal, actor), audit.c.target == after)
                seq = (await connection.execute(last)).scalar()
                if seq is None:
                    raise InvalidValue("after", "is the id of no deletion in this list")
                query = query.where(audit.c.seq < seq)
            rows = (await connection.execute(query.order_by(audit.c.seq.desc()).limit(limit + 1))).mappings().all()
        return Page([_deletion(row) for row in rows[:limit]], len(rows) > limit)

    @uninterrupted
    async def get(self, principal: Principal, actor: str, id: str) -> Deletion:
        """Returns a deletion; raises `NotFound`."""
        query = select(audit).where(*_own(principal, actor), audit.c.target == id)
        async with self._database.read() as connection:
            row = (await connection.execute(query.order_by(audit.c.seq.desc()).limit(1))).mappings().first()
        if row is None:
            raise NotFound("deletion", id)
        return _deletion(row)


def _own(principal: Principal, actor: str) -> tuple[Any, ...]:
    whose = audit.c.tenant == principal.tenant, audit.c.actor == actor
    return (*whose, audit.c.action.in_(KINDS), audit.c.outcome == "ok")


def _deletion(row: RowMapping) -> Deletion:
    detail = row["detail"] or {}
    return Deletion(
        id=row["target"],
        kind=KINDS[row["action"]],
        deleted=detail.get("deleted", 1),
        items=detail.get("items"),
        finished=detail.get("finished", True),
        at=row["at"] / 1000,
        actor=row["actor"],
        event=row["seq"],
        hash=row["hash"],
    )
