"""Stored browser sessions: a keyed hash of each cookie. All gateways share them, and ended ones are deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, or_, select

from serving.core.ids import new_id, now
from serving.core.principal import SCOPES_OF, Principal, Role
from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import build
from serving.store.relational.tables import sessions, tenants, users

PER_USER = 16
"""Maximum number of concurrent sessions of a user; the oldest is replaced."""
TOUCH_S = 60.0
"""Minimum interval between updates of a session's last use."""


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
    """The provider's name in the configuration."""
    created_at: float
    used_at: float
    expires_at: float
    hash: str = field(repr=False)

    @property
    def principal(self) -> Principal:
        return Principal(
            tenant=self.tenant,
            user=self.user,
            key_id=self.id,
            account=self.account,
            scopes=SCOPES_OF[self.role],
            role=self.role,
            groups=frozenset(self.groups),
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

        `recorded` is awaited in the same transaction.
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
        row = {
            "id": new_id("ses"),
            "hash": hash,
            "tenant": principal.tenant,
            "user": principal.user,
            "account": principal.account or principal.key_id,
            "issuer": issuer,
            "created_at": at,
            "used_at": at,
            "expires_at": at + self._lifetime_s,
        }
        theirs = and_(sessions.c.tenant == principal.tenant, sessions.c.user == principal.user)
        async with self._database.write() as connection:
            await lock(connection, "sessions", principal.tenant, principal.user)
            over = or_(sessions.c.expires_at <= at, sessions.c.used_at <= at - self._idle_s)
            await connection.execute(sessions.delete().where(or_(over, sessions.c.hash.in_(instead_of))))
            newest = select(sessions.c.id).where(theirs).order_by(sessions.c.created_at.desc(), sessions.c.id)
            kept = newest.limit(PER_USER - 1).subquery()
            await connection.execute(sessions.delete().where(theirs, sessions.c.id.not_in(select(kept.c.id))))
            await connection.execute(sessions.insert().values(row))
        return Session(**row, role=principal.role, groups=sorted(principal.groups))  # type: ignore[arg-type]

    @uninterrupted
    async def get(self, hash: str, *older: str) -> Session | None:
        """Returns the session with this hash; None when there is none, it has expired, or its user is disabled.

        A session with an `older` hash gets this hash. It is a single statement for all hashes, since another gateway
        may update the hash concurrently.
        """
        at = now()
        query = (
            select(sessions, users.c.role, users.c.groups)
            .join(users, and_(users.c.tenant == sessions.c.tenant, users.c.user == sessions.c.user))
            .join(tenants, tenants.c.id == sessions.c.tenant)
            .where(sessions.c.hash.in_((hash, *older)), users.c.disabled_at.is_(None), tenants.c.disabled_at.is_(None))
        )

        def find(connection: Connection) -> Session | None:
            row = connection.execute(query).mappings().first()
            return build(Session, row) if row is not None else None

        found = await self._database.query(find)
        if found is None or at >= found.expires_at or at >= found.used_at + self._idle_s:
            return None
        if found.hash != hash or at >= found.used_at + TOUCH_S:
            used = sessions.update().where(sessions.c.id == found.id).values(used_at=at, hash=hash)
            await self._database.group_commit(lambda connection: connection.execute(used))
        return found

    @uninterrupted
    async def end(self, *hashes: str, recorded: Callable[[], Awaitable[None]] | None = None) -> None:
        """Removes the session that has one of the hashes, if it exists; `recorded` is as in `start`."""

        async def work() -> None:
            async with self._database.write() as connection:
                await connection.execute(sessions.delete().where(sessions.c.hash.in_(hashes)))
            if recorded is not None:
                await recorded()

        await self._database.atomically(work)
