"""The audit log's rows: an append-only chain for each tenant, whose events are only removed by age.

Concurrent writers to one chain wait for each other, since each event contains the hash of the previous one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.audit_chain import GENESIS, PRUNED, event_hash, key_id
from serving.store.errors import InvalidValue
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock_out
from serving.store.relational.rows import Page
from serving.store.relational.tables import audit, audit_pseudonyms, meta

OUTCOMES = ("ok", "denied")
"""How an action ended: it was done, or several attempts were rejected."""

PLATFORM = ""
"""The chain of events that belong to no tenant: no tenant has an empty name."""

MAX_PAGE = 100
READ_TOGETHER = 1000
MAX_DETAILS = 32
MAX_DETAIL = 128
"""Maximum number of characters of a text in `detail`, which has names but no quotes."""

UNLOCKED = "audit_unlocked"

Row = dict[str, Any]
Detail = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to be recorded. `actor` and `subject` are names of the tenant's users.

    `target` is the id of the affected object. Only the two names may be personal data; they are stored as pseudonyms.
    """

    tenant: str
    action: str
    actor: str | None = None
    key_id: str | None = None
    target: str | None = None
    subject: str | None = None
    outcome: str = "ok"
    request_id: str | None = None
    detail: Detail | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """Which events of a chain: those of one `user` (a pseudonym: actor or subject), action and outcome, and with times
    from `start` to `end` (unix seconds), of which the second is not included. None restricts nothing.
    """

    user: str | None = None
    action: str | None = None
    outcome: str | None = None
    start: int | None = None
    end: int | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions for the table's rows."""
        found: list[ColumnElement[bool]] = []
        if self.user is not None:
            found.append((audit.c.actor == self.user) | (audit.c.subject == self.user))
        if self.action is not None:
            found.append(audit.c.action == self.action)
        if self.outcome is not None:
            found.append(audit.c.outcome == self.outcome)
        if self.start is not None:
            found.append(audit.c.at >= self.start * 1000)
        if self.end is not None:
            found.append(audit.c.at < self.end * 1000)
        return found


class AuditRows:
    """The chains of all tenants. `key` is the hash key."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    def __repr__(self) -> str:
        return "AuditRows()"

    @uninterrupted
    async def append(self, entries: Sequence[Entry]) -> None:
        """Appends events in a transaction that others may share. Raises `InvalidValue` beyond the limits."""
        # Chains are locked in one order, to prevent deadlocks.
        checked = sorted((_checked(entry) for entry in entries), key=lambda entry: entry.tenant)

        def work(connection: Connection) -> None:
            for entry in checked:
                add(connection, self._key, entry)

        await self._database.group_commit(work)

    @uninterrupted
    async def page(
        self,
        tenant: str,
        *,
        user: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        start: int | None = None,
        end: int | None = None,
        after: int | None = None,
        limit: int = 20,
    ) -> Page[Row]:
        """Returns the newest events of a chain with numbers below `after`, optionally those of one action or outcome.

        With `user`, those of which the user is the actor or the subject. `start` and `end` are times in unix seconds,
        of which the second is not included.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidValue("limit", f"must be from 1 to {MAX_PAGE}")
        query = select(audit).where(audit.c.tenant == tenant)
        if after is not None:
            query = query.where(audit.c.seq < after)
        query = query.order_by(audit.c.seq.desc()).limit(limit + 1)

        def work(connection: Connection) -> list[Row]:
            name = _pseudonym(connection, tenant, user, make=False)
            narrowed = query.where(*Selected(name, action, outcome, start, end).conditions)
            return [dict(row) for row in connection.execute(narrowed).mappings()]

        rows = await self._database.query(work)
        return Page(rows[:limit], len(rows) > limit)

    async def events(self, tenant: str) -> AsyncIterator[Row]:
        """Yields a chain's events from the first on."""
        async for rows in self.batches(tenant):
            for row in rows:
                yield row

    async def batches(self, tenant: str) -> AsyncIterator[list[Row]]:
        """Yields a chain's events from the first on, in batches of `READ_TOGETHER`."""
        seq = 0
        while rows := await self._following(tenant, seq):
            yield rows
            seq = rows[-1]["seq"]

    async def selected(self, tenant: str, which: Selected, through: int) -> AsyncIterator[list[Row]]:
        """Yields the chosen events up to number `through` from the first on, in batches.

        Each statement reads at most `READ_TOGETHER` events of the chain, however few of them are chosen.
        """
        seq = await self._first(tenant) - 1
        while seq < through:
            last = min(seq + READ_TOGETHER, through)
            query = select(audit).where(audit.c.tenant == tenant, audit.c.seq > seq, audit.c.seq <= last)
            if rows := await self._rows(query.where(*which.conditions).order_by(audit.c.seq)):
                yield rows
            seq = last

    @uninterrupted
    async def head(self, tenant: str) -> tuple[int, str]:
        """Returns number and hash of a chain's last event; 0 and `GENESIS` before the first."""
        return await self._database.query(lambda connection: _last(connection, tenant))

    @uninterrupted
    async def _first(self, tenant: str) -> int:
        query = select(func.min(audit.c.seq)).where(audit.c.tenant == tenant)
        return await self._database.query(lambda connection: connection.execute(query).scalar()) or 1

    @uninterrupted
    async def _rows(self, query: Select[Any]) -> list[Row]:
        return await self._database.query(lambda c: [dict(row) for row in c.execute(query).mappings()])

    @uninterrupted
    async def _following(self, tenant: str, seq: int) -> list[Row]:
        query = select(audit).where(audit.c.tenant == tenant, audit.c.seq > seq)
        return await self._rows(query.order_by(audit.c.seq).limit(READ_TOGETHER))

    @uninterrupted
    async def heads(self) -> dict[str, tuple[int, str]]:
        """Returns number and hash of each chain's last event."""
        last = select(audit.c.tenant, func.max(audit.c.seq).label("seq")).group_by(audit.c.tenant).subquery()
        same = and_(audit.c.tenant == last.c.tenant, audit.c.seq == last.c.seq)
        query = select(audit.c.tenant, audit.c.seq, audit.c.hash).join(last, same)
        found = await self._database.query(lambda connection: connection.execute(query).all())
        return {tenant: (seq, hash) for tenant, seq, hash in found}

    @uninterrupted
    async def pseudonym(self, tenant: str, user: str) -> str:
        """Returns a user's pseudonym in the chain, creating it if the user has none."""

        def work(connection: Connection) -> str:
            return str(_pseudonym(connection, tenant, user))

        return await self._database.group_commit(work)

    @uninterrupted
    async def known_pseudonym(self, tenant: str, user: str) -> str | None:
        """Returns a user's pseudonym in the chain, None if the user has none: writes nothing."""
        return await self._database.query(lambda c: _pseudonym(c, tenant, user, make=False) or None)

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes events of all chains older than that, and records this as an event. Returns their number.

        The newest event of a chain is kept at any age.
        """
        before = int((now() - older_than_s) * 1000)
        removed = 0
        for tenant in await self.heads():
            async with self._database.write() as connection:
                removed += await connection.run_sync(self._prune, tenant, before)
        return removed

    def _prune(self, connection: Connection, tenant: str, before: int) -> int:
        head = _head(connection, tenant)
        newer = select(func.min(audit.c.seq)).where(audit.c.tenant == tenant, audit.c.at >= before)
        through = min(connection.execute(newer).scalar() or head[0], head[0]) - 1
        last = select(audit.c.hash).where(audit.c.tenant == tenant, audit.c.seq == through)
        if (hash := connection.execute(last).scalar()) is None:
            return 0
        detail = {"through": through, "hash": hash}
        add(connection, self._key, Entry(tenant, PRUNED, detail=detail))
        connection.execute(meta.insert().values(key=UNLOCKED, value="prune"))
        gone = connection.execute(audit.delete().where(audit.c.tenant == tenant, audit.c.seq <= through)).rowcount
        connection.execute(meta.delete().where(meta.c.key == UNLOCKED))
        return gone


def entry_of(
    principal: Principal,
    action: str,
    *,
    target: str | None = None,
    subject: str | None = None,
    outcome: str = "ok",
    request_id: str | None = None,
    detail: Detail | None = None,
    tenant: str | None = None,
) -> Entry:
    """Returns the entry for a principal's action in a tenant, by default its own.

    In another tenant it has no name, since a user there could have the same: the id of its key identifies it.
    """
    own = tenant is None or tenant == principal.tenant
    return Entry(
        principal.tenant if tenant is None else tenant,
        action,
        principal.user if own else None,
        principal.key_id,
        target,
        subject,
        outcome,
        request_id,
        detail,
    )


def add(connection: Connection, key: bytes, entry: Entry) -> None:
    """Appends an event within a transaction."""
    entry = _checked(entry)
    seq, previous = _head(connection, entry.tenant)
    row: Row = {
        "tenant": entry.tenant,
        "seq": seq + 1,
        "at": int(now() * 1000),
        "actor": _pseudonym(connection, entry.tenant, entry.actor),
        "key_id": entry.key_id,
        "action": entry.action,
        "target": entry.target,
        "subject": _pseudonym(connection, entry.tenant, entry.subject),
        "outcome": entry.outcome,
        "request_id": entry.request_id,
        "detail": dict(entry.detail or {}),
        "previous": previous,
        "signed_with": key_id(key),
    }
    connection.execute(audit.insert(), row | {"hash": event_hash(key, row)})


@asynccontextmanager
async def unlocked(connection: AsyncConnection, why: str) -> AsyncIterator[None]:
    """Lets a transaction replace the log, as a restored backup does. It has no effect on other transactions."""
    await connection.execute(meta.insert().values(key=UNLOCKED, value=why))
    yield
    await connection.execute(meta.delete().where(meta.c.key == UNLOCKED))


def _head(connection: Connection, tenant: str) -> tuple[int, str]:
    lock_out(connection, "audit", tenant)
    return _last(connection, tenant)


def _last(connection: Connection, tenant: str) -> tuple[int, str]:
    last = select(audit.c.seq, audit.c.hash).where(audit.c.tenant == tenant).order_by(audit.c.seq.desc()).limit(1)
    row = connection.execute(last).first()
    return (row.seq, row.hash) if row is not None else (0, GENESIS)


def _pseudonym(connection: Connection, tenant: str, user: str | None, *, make: bool = True) -> str | None:
    """Returns a user's pseudonym; the salt's row is the only link to the user, and is deleted when the user is erased.

    The pseudonym depends only on the salt, a key of 256 bits: it stays the same when the stack's secrets are rotated.
    """
    if user is None:
        return None
    mine = audit_pseudonyms.c.tenant == tenant, audit_pseudonyms.c.user == user
    salt = connection.execute(select(audit_pseudonyms.c.salt).where(*mine)).scalar()
    if salt is None:
        if not make:
            return ""
        lock_out(connection, "audit", tenant)
        salt = connection.execute(select(audit_pseudonyms.c.salt).where(*mine)).scalar()
    if salt is None:
        salt = secrets.token_hex(32)
        connection.execute(audit_pseudonyms.insert().values(tenant=tenant, user=user, salt=salt))
    return "user_" + hmac.digest(bytes.fromhex(salt), f"{tenant}\0{user}".encode(), "sha256").hex()[:32]


def _checked(entry: Entry) -> Entry:
    values.text("tenant", entry.tenant)
    values.text("action", entry.action, max_length=64, min_length=1)
    values.text("outcome", entry.outcome, max_length=16, min_length=1)
    for name, longest in (("actor", 256), ("key_id", 64), ("target", 128), ("subject", 256), ("request_id", 64)):
        if (value := getattr(entry, name)) is not None:
            values.text(name, value, max_length=longest)
    detail = entry.detail or {}
    if len(detail) > MAX_DETAILS:
        raise InvalidValue("detail", f"must have at most {MAX_DETAILS} pairs")
    for name, value in detail.items():
        values.text("detail", name, max_length=64, min_length=1)
        if isinstance(value, str):
            values.text("detail", value, max_length=MAX_DETAIL)
        elif value is not None and (not isinstance(value, int) or abs(value) > values.MAX_NUMBER):
            raise InvalidValue("detail", "must hold texts, whole numbers up to 2^53 and booleans")
    return entry
