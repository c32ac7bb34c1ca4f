"""Idempotency keys, with which a caller can repeat a request without repeating its effects.

A request claims its key before it begins, for a short time that it renews. Its answer is stored in the transaction of
its effects, so that the two cannot diverge. The answer is deleted with the objects that it describes; the key is kept
until it expires, so that a late repetition has no effect.
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
from serving.store.relational.pruning import prune_rows
from serving.store.relational.tables import idempotency_answers, idempotency_keys

KEPT_S = 86_400.0
"""How long a request can be repeated."""

LEASE_S = 30.0
"""How long a request whose process died holds its key."""

MAX_BODY = 1_000_000
"""Maximum size of an answer; a larger one is not stored."""

ATTEMPTS = 5  # expired keys of the caller are removed at each claim
PRUNED_TOGETHER = 200  # so that other writers do not wait long


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
    """An earlier request with the key: in progress, or completed and usually with its answer."""

    fingerprint: str
    in_flight: bool
    made_id: str | None = None
    answer: KeptAnswer | None = None


def claim_of(principal: Principal, key: str, fingerprint: str) -> Claim:
    """Returns the claim of a request with the caller's `key`."""
    named = json.dumps([principal.tenant, principal.user, key]).encode()
    id = hashlib.sha256(named).hexdigest()
    return Claim(id, principal.tenant, principal.user, fingerprint, new_id("claim"))


class IdempotencyKeys:
    """The idempotency keys of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def claim(self, claim: Claim) -> Earlier | None:
        """Claims the key for `LEASE_S`; returns the request that holds it, or None when the claim succeeded."""

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
        """Renews the claim for another `LEASE_S`; raises `LeaseLost` when another request holds the key."""
        prolonged = idempotency_keys.update().where(_is_claimed(claim)).values(lease_until=now() + LEASE_S)
        if not await self._database.group_commit(lambda connection: connection.execute(prolonged).rowcount):
            raise LeaseLost(claim.id)

    @uninterrupted
    async def pin(self, claim: Claim) -> None:
        """Holds the key until it expires, whatever happens to the request; raises `LeaseLost` when another request
        holds it.
        """
        pinned = idempotency_keys.update().where(_is_claimed(claim)).values(lease_until=now() + KEPT_S)
        if not await self._database.group_commit(lambda connection: connection.execute(pinned).rowcount):
            raise LeaseLost(claim.id)

    @uninterrupted
    async def release(self, claim: Claim) -> None:
        """Releases the key of a request that had no effect."""
        released = idempotency_keys.delete().where(_is_claimed(claim))
        await self._database.group_commit(lambda connection: connection.execute(released))

    @uninterrupted
    async def keep(
        self, claim: Claim, answer: KeptAnswer | None, made_id: str | None, told_of: Mapping[str, str | None]
    ) -> None:
        """Like `keep`, in its own transaction."""
        await self._database.group_commit(lambda connection: keep(connection, claim, answer, made_id, told_of))

    @uninterrupted
    async def prune(self) -> int:
        """Removes the expired keys of all tenants, with their answers. Returns their number."""
        return await prune_rows(self._database, idempotency_keys, _is_expired(), together=PRUNED_TOGETHER)


def keep(
    connection: Connection,
    claim: Claim,
    answer: KeptAnswer | None,
    made_id: str | None,
    told_of: Mapping[str, str | None],
) -> None:
    """Marks a request as completed within a transaction, and stores its answer if there is one.

    `told_of` are the ids of the objects that the answer describes, by column. Raises `LeaseLost` when another request
    holds the key.
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
    """Returns the condition for expired keys: a lease that was not renewed, or an old answer."""
    at, of = now(), idempotency_keys.c
    return or_(of.lease_until < at, and_(of.lease_until.is_(None), of.created_at < at - KEPT_S))
