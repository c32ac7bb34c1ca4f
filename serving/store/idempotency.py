"""Keys by which a caller repeats a request without repeating what it does.

A request claims its key before it begins, for a short time that it prolongs. Its answer is kept in the transaction
that stores what it did, so that the two cannot differ. The answer goes with what it tells of; the key stays until it
is over, so that a late repetition does nothing a second time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import LeaseLost
from serving.store.relational.database import Database
from serving.store.relational.tables import idempotency_answers, idempotency_keys

KEPT_S = 86_400.0
"""How long a request can be repeated."""

LEASE_S = 30.0
"""How long a request whose process died holds its key."""

MAX_BODY = 1_000_000
"""Bytes of an answer: a larger one is not kept."""

ATTEMPTS = 5  # whose key goes whenever it is looked at
PRUNED_TOGETHER = 200  # so that others need not wait long to write


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that holds a key: `id` is the key's, `owner` the request's own."""

    id: str
    tenant: str
    user: str
    fingerprint: str
    owner: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The whole body of an answer."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Earlier:
    """A request that had the key before: in flight, or carried out and, as a rule, with its answer."""

    fingerprint: str
    in_flight: bool
    made_id: str | None = None
    answer: KeptAnswer | None = None


def claim_of(principal: Principal, key: str, fingerprint: str) -> Claim:
    """Returns what a request claims that has the caller's `key`."""
    named = json.dumps([principal.tenant, principal.user, key]).encode()
    id = hashlib.sha256(named).hexdigest()
    return Claim(id, principal.tenant, principal.user, fingerprint, new_id("claim"))


class IdempotencyKeys:
    """The idempotency keys of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def claim(self, claim: Claim) -> Earlier | None:
        """Takes the key, for `LEASE_S`; returns the request that has it already, and None when it was taken."""

        def work(connection: Connection) -> Earlier | None:
            for _ in range(ATTEMPTS):
                if _insert(connection, claim):
                    return None
                over = idempotency_keys.delete().where(idempotency_keys.c.id == claim.id, _is_expired())
                if not connection.execute(over).rowcount and (earlier := _find(connection, claim.id)) is not None:
                    return earlier
            return Earlier(claim.fingerprint, in_flight=True)

        return await self._database.group_commit(work)

    @uninterrupted
    async def renew(self, claim: Claim) -> None:
        """Holds the key for another `LEASE_S`; raises `LeaseLost` when another request has it."""
        prolonged = idempotency_keys.update().where(_is_claimed(claim)).values(lease_until=now() + LEASE_S)
        if not await self._database.group_commit(lambda connection: connection.execute(prolonged).rowcount):
            raise LeaseLost(claim.id)

    @uninterrupted
    async def pin(self, claim: Claim) -> None:
        """Holds the key until it is over, whatever becomes of the request; raises `LeaseLost` when it is another's."""
        pinned = idempotency_keys.update().where(_is_claimed(claim)).values(lease_until=now() + KEPT_S)
        if not await self._database.group_commit(lambda connection: connection.execute(pinned).rowcount):
            raise LeaseLost(claim.id)

    @uninterrupted
    async def release(self, claim: Claim) -> None:
        """Gives a key back whose request was not carried out."""
        released = idempotency_keys.delete().where(_is_claimed(claim))
        await self._database.group_commit(lambda connection: connection.execute(released))

    @uninterrupted
    async def keep(
        self, claim: Claim, answer: KeptAnswer | None, made_id: str | None, told_of: Mapping[str, str | None]
    ) -> None:
        """As `keep`, in a transaction of its own."""
        await self._database.group_commit(lambda connection: keep(connection, claim, answer, made_id, told_of))

    @uninterrupted
    async def prune(self) -> int:
        """Removes the keys of all tenants that are over, with their answers. Returns how many."""
        over = select(idempotency_keys.c.id).where(_is_expired()).limit(PRUNED_TOGETHER)
        removed = 0
        while True:
            async with self._database.write() as connection:
                gone = idempotency_keys.delete().where(idempotency_keys.c.id.in_(over), _is_expired())
                found = (await connection.execute(gone)).rowcount
            removed += found
            if found < PRUNED_TOGETHER:
                return removed


def keep(
    connection: Connection,
    claim: Claim,
    answer: KeptAnswer | None,
    made_id: str | None,
    told_of: Mapping[str, str | None],
) -> None:
    """Says within a transaction that a request is carried out, and keeps its answer if there is one.

    `told_of` are the ids of what the answer tells of, by their columns.
    Raises `LeaseLost` when another request has the key.
    """
    done = idempotency_keys.update().where(_is_claimed(claim)).values(lease_until=None, made_id=made_id)
    if not connection.execute(done).rowcount:
        raise LeaseLost(claim.id)
    if answer is not None and len(answer.body) <= MAX_BODY:
        body = base64.b64encode(answer.body).decode()
        row = {"key_id": claim.id, "tenant": claim.tenant, "content_type": answer.content_type, "body": body}
        connection.execute(idempotency_answers.insert(), {**row, **told_of})


def _insert(connection: Connection, claim: Claim) -> bool:
    at = now()
    row: dict[str, Any] = asdict(claim) | {"lease_until": at + LEASE_S, "created_at": at}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(idempotency_keys).values(row).on_conflict_do_nothing().returning(idempotency_keys.c.id)
    return connection.execute(insert).first() is not None


def _find(connection: Connection, id: str) -> Earlier | None:
    both = idempotency_keys.outerjoin(idempotency_answers)
    query = select(idempotency_keys, idempotency_answers.c.content_type, idempotency_answers.c.body).select_from(both)
    row = connection.execute(query.where(idempotency_keys.c.id == id)).first()
    if row is None:
        return None
    answer = KeptAnswer(row.content_type, base64.b64decode(row.body)) if row.body is not None else None
    return Earlier(row.fingerprint, row.lease_until is not None, row.made_id, answer)


def _is_claimed(claim: Claim) -> ColumnElement[bool]:
    of = idempotency_keys.c
    return and_(of.id == claim.id, of.owner == claim.owner, of.lease_until.is_not(None))


def _is_expired() -> ColumnElement[bool]:
    """Whose time is over: a lease that nobody prolonged, or an answer of yesterday."""
    at, of = now(), idempotency_keys.c
    return or_(of.lease_until < at, and_(of.lease_until.is_(None), of.created_at < at - KEPT_S))
