"""Stored browser sessions: a keyed hash of each cookie. All gateways share them, and ended ones are deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import SCOPES_OF, Principal, Role
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import NotFound
from serving.store.keys import effective_scopes, lives
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import build
from serving.store.relational.tables import keys, sessions, tenants, users

PER_USER = 16
"""Maximum number of concurrent sessions of a user; the oldest is replaced."""
TOUCH_S = 60.0
"""Minimum interval between updates of a session's last use."""
PLATFORM_S = 3600.0
"""Maximum duration of a session with the scope `platform`, which administers all tenants."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser session, and the current state of its user.

    `hash` is the HMAC-SHA256 of its cookie in hexadecimal and not in `repr`.
    """

    id: str
    tenant: str
    user: str
    account: str
    role: Role
    groups: list[str]
    issuer: str
    """The provider's name in the configuration; empty if the session began with an API key."""
    key_id: str | None
    """The API key with which it began: the session acts as that key."""
    scopes: frozenset[str]
    created_at: float
    used_at: float
    expires_at: float
    hash: str = field(repr=False)
    confirmed: bool = True
    """Whether its key is, see `ApiKey`."""

    @property
    def principal(self) -> Principal:
        return Principal(
            tenant=self.tenant,
            user=self.user,
            key_id=self.key_id or self.id,
            account=self.account,
            scopes=self.scopes,
            role=self.role,
            groups=frozenset(self.groups),
            confirmed=self.confirmed,
        )


Recorded = Callable[[Session], Awaitable[None]]
"""Records an event about a session, in the same transaction."""


class Sessions:
    """The sessions of all tenants. `lifetime_s` is their maximum duration, `idle_s` that without a request."""

    def __init__(self, database: Database, *, lifetime_s: float, idle_s: float) -> None:
        self._database = database
        self._lifetime_s = lifetime_s
        self._idle_s = idle_s

    @uninterrupted
    async def start(
        self,
        principal: Principal,
        issuer: str,
        hash: str,
        *,
        instead_of: Sequence[str] = (),
        recorded: Recorded | None = None,
    ) -> Session:
        """Stores a new session of the principal, and removes the one with a hash in `instead_of`, and expired ones.

        `issuer` is empty for the session of an API key, which ends no later than the key does. `recorded` is awaited in
        the same transaction.
        """

        if recorded is None:
            return await self._start(principal, issuer, hash, instead_of)

        async def work() -> Session:
            session = await self._start(principal, issuer, hash, instead_of)
            await recorded(session)
            return session

        return await self._database.atomically(work)

    async def _start(self, principal: Principal, issuer: str, hash: str, instead_of: Sequence[str]) -> Session:
        at = now()
        key_id = principal.key_id if not issuer else None
        lifetime_s = min(self._lifetime_s, PLATFORM_S) if "platform" in principal.scopes else self._lifetime_s
        row = {
            "id": new_id("ses"),
            "hash": hash,
            "tenant": principal.tenant,
            "user": principal.user,
            "account": principal.account or principal.key_id,
            "issuer": issuer,
            "key_id": key_id,
            "created_at": at,
            "used_at": at,
            "expires_at": at + lifetime_s,
        }
        theirs = and_(sessions.c.tenant == principal.tenant, sessions.c.user == principal.user)
        async with self._database.write() as connection:
            await lock(connection, "sessions", principal.tenant, principal.user)
            over = or_(sessions.c.expires_at <= at, sessions.c.used_at <= at - self._idle_s)
            await connection.execute(sessions.delete().where(or_(over, sessions.c.hash.in_(instead_of))))
            newest = select(sessions.c.id).where(theirs).order_by(sessions.c.created_at.desc(), sessions.c.id)
            kept = newest.limit(PER_USER - 1).subquery()
            await connection.execute(sessions.delete().where(theirs, sessions.c.id.not_in(select(kept.c.id))))
            if key_id is not None:
                end = (await connection.execute(select(keys.c.expires_at).where(keys.c.id == key_id))).scalar()
                row["expires_at"] = min(at + lifetime_s, end) if end is not None else at + lifetime_s
            await connection.execute(sessions.insert().values(row))
        groups = sorted(principal.groups)
        same = {"role": principal.role, "groups": groups, "scopes": principal.scopes, "confirmed": principal.confirmed}
        return Session(**row, **same)  # type: ignore[arg-type]

    @uninterrupted
    async def get(self, hash: str, *older: str) -> Session | None:
        """Returns the session with this hash; None when there is none, it has expired, its key has ended, or its user
        is disabled.

        A session with an `older` hash gets this hash. It is a single statement for all hashes, since another gateway
        may update the hash concurrently.
        """
        at = now()
        query = (
            select(sessions, users.c.role, users.c.groups, *_OF_KEY)
            .join(users, and_(users.c.tenant == sessions.c.tenant, users.c.user == sessions.c.user))
            .join(tenants, tenants.c.id == sessions.c.tenant)
            .outerjoin(keys, keys.c.id == sessions.c.key_id)
            .where(
                sessions.c.hash.in_((hash, *older)),
                users.c.disabled_at.is_(None),
                tenants.c.disabled_at.is_(None),
                _key_lives(at),
            )
        )

        def find(connection: Connection) -> Session | None:
            row = connection.execute(query).mappings().first()
            return build(Session, row, **_rights(row, row["role"])) if row is not None else None

        found = await self._database.query(find)
        if found is None or at >= found.expires_at or at >= found.used_at + self._idle_s:
            return None
        if found.hash != hash or at >= found.used_at + TOUCH_S:
            used = sessions.update().where(sessions.c.id == found.id).values(used_at=at, hash=hash)
            await self._database.group_commit(lambda connection: connection.execute(used))
        return found

    @uninterrupted
    async def list(self, principal: Principal) -> list[Session]:
        """Returns the sessions of the same person or key that have not ended, newest first: at most `PER_USER`."""
        at = now()
        query = select(sessions).where(*_own(principal), *_lasting(at, self._idle_s))
        query = query.order_by(sessions.c.created_at.desc(), sessions.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            same = {"role": principal.role, "groups": sorted(principal.groups), "scopes": principal.scopes}
            return [build(Session, row, **same, confirmed=principal.confirmed) for row in rows]

    @uninterrupted
    async def of_user(self, principal: Principal, user: str) -> Sequence[Session]:
        """Returns all sessions of a user of the tenant that have not ended, newest first: at most `PER_USER`.

        Raises `NotFound` for a user that the tenant does not have.
        """
        at = now()
        theirs = sessions.c.tenant == principal.tenant, sessions.c.user == user
        query = select(sessions, *_OF_KEY)
        query = query.outerjoin(keys, keys.c.id == sessions.c.key_id).where(
            *theirs, *_lasting(at, self._idle_s), _key_lives(at)
        )
        query = query.order_by(sessions.c.created_at.desc(), sessions.c.id)
        async with self._database.read() as connection:
            role, groups = await _person(connection, principal.tenant, user)
            rows = (await connection.execute(query)).mappings()
            return [build(Session, row, role=role, groups=groups, **_rights(row, role)) for row in rows]

    @uninterrupted
    async def end_all(self, principal: Principal, user: str) -> int:
        """Removes all sessions of a user of the tenant, and returns their number. Raises `NotFound` as `of_user`."""
        async with self._database.write() as connection:
            await lock(connection, "sessions", principal.tenant, user)  # none that begins now is left out
            await _person(connection, principal.tenant, user)
            theirs = sessions.c.tenant == principal.tenant, sessions.c.user == user
            return (await connection.execute(sessions.delete().where(*theirs))).rowcount

    @uninterrupted
    async def end_one(self, principal: Principal, id: str, recorded: Callable[[], Awaitable[None]]) -> None:
        """Removes a session of the same person or key; `recorded` is as in `start`. Raises `NotFound`."""

        async def work() -> None:
            async with self._database.write() as connection:
                gone = await connection.execute(sessions.delete().where(*_own(principal), sessions.c.id == id))
                if not gone.rowcount:
                    raise NotFound("session", id)
            await recorded()

        await self._database.atomically(work)

    @uninterrupted
    async def end(self, *hashes: str, recorded: Callable[[], Awaitable[None]] | None = None) -> None:
        """Removes the session that has one of the hashes, if it exists; `recorded` is as in `start`."""

        async def work() -> None:
            async with self._database.write() as connection:
                await connection.execute(sessions.delete().where(sessions.c.hash.in_(hashes)))
            if recorded is not None:
                await recorded()

        await self._database.atomically(work)


_OF_KEY = keys.c.scopes.label("key_scopes"), keys.c.confirmed.label("key_confirmed"), keys.c.bootstrap


def _own(principal: Principal) -> tuple[ColumnElement[bool], ...]:
    account = principal.account or principal.key_id
    return sessions.c.tenant == principal.tenant, sessions.c.user == principal.user, sessions.c.account == account


def _key_lives(at: float) -> ColumnElement[bool]:
    """Returns the condition for sessions of no key, or whose key has not ended; `keys` is outer-joined."""
    return or_(sessions.c.key_id.is_(None), and_(keys.c.id.is_not(None), lives(at)))


def _lasting(at: float, idle_s: float) -> tuple[ColumnElement[bool], ...]:
    return sessions.c.expires_at > at, sessions.c.used_at > at - idle_s


async def _person(connection: AsyncConnection, tenant: str, user: str) -> tuple[Role, list[str]]:
    """Returns role and groups of a user; raises `NotFound`."""
    query = select(users.c.role, users.c.groups).where(users.c.tenant == tenant, users.c.user == user)
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound("user", user)
    return found.role, found.groups


def _rights(row: RowMapping, role: Role) -> dict[str, Any]:
    """Returns the fields of a session that come from its key, or else from its user's role."""
    if row["key_id"] is None:
        return {"scopes": SCOPES_OF[role], "confirmed": True}
    confirmed = row["key_confirmed"]
    scopes = effective_scopes(row["key_scopes"], role, bootstrap=row["bootstrap"], confirmed=confirmed)
    return {"scopes": scopes, "confirmed": confirmed}
