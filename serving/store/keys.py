"""API keys at rest: only a keyed hash of each. Making and checking keys is `serving.security.keys`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sqlalchemy import select

from serving.security.principal import Principal
from serving.store import values
from serving.store.database import Database
from serving.store.errors import NotFound
from serving.store.ids import new_id, now
from serving.store.models import keys
from serving.store.postgres import lock
from serving.store.rows import Order, Page, build, page
from serving.store.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key; `hash` is its HMAC-SHA256 in hexadecimal and stays out of `repr`."""

    id: str
    tenant: str
    user: str
    name: str
    scopes: list[str]
    bootstrap: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    hash: str = field(repr=False)

    def valid(self, at: float) -> bool:
        """Whether the key may be used at unix time `at`."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    @property
    def principal(self) -> Principal:
        return Principal(tenant=self.tenant, user=self.user, key_id=self.id, scopes=frozenset(self.scopes))


class Keys:
    """The keys of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def add(
        self,
        principal: Principal,
        hash: str,
        *,
        name: str = "",
        user: str | None = None,
        scopes: Iterable[str] = (),
        expires_at: float | None = None,
    ) -> ApiKey:
        """Stores a key of the principal's tenant, for `user` (by default the principal's)."""
        row = _row(principal.tenant, user if user is not None else principal.user, hash, name, scopes)
        row["expires_at"] = expires_at
        async with self._database.write() as connection:
            await connection.execute(keys.insert().values(row))
        return await self.get(principal, str(row["id"]))

    @uninterrupted
    async def add_bootstrap(self, tenant: str, user: str, hash: str, scopes: Iterable[str]) -> None:
        """Stores the stack's own key once; a new one revokes the one before. Safe from several replicas.

        A key that was stored before stays as it is, revoked or not: an old replica cannot bring it back.
        """
        async with self._database.write() as connection:
            await lock(connection, "bootstrap")
            if (await connection.execute(select(keys.c.id).where(keys.c.hash == hash))).first():
                return
            await connection.execute(
                keys.update().where(keys.c.bootstrap, keys.c.revoked_at.is_(None)).values(revoked_at=now())
            )
            row = _row(tenant, user, hash, "bootstrap", scopes)
            await connection.execute(keys.insert().values(row | {"bootstrap": True}))

    @uninterrupted
    async def by_hash(self, hash: str) -> ApiKey | None:
        """Returns the key of any tenant with this hash, valid or not."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(keys).where(keys.c.hash == hash))).mappings().first()
        return build(ApiKey, row) if row is not None else None

    @uninterrupted
    async def rehash(self, before: str, hash: str) -> ApiKey | None:
        """Stores a key's hash under another secret in place of the one `before`; None when there is no such key."""
        found = await self.by_hash(before)
        if found is None:  # most often a key that nobody knows, or else another replica was first
            return await self.by_hash(hash)
        async with self._database.write() as connection:
            await connection.execute(keys.update().where(keys.c.hash == before).values(hash=hash))
        return replace(found, hash=hash)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> ApiKey:
        query = select(keys).where(keys.c.id == id, keys.c.tenant == principal.tenant)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise NotFound("key", id)
        return build(ApiKey, row)

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[ApiKey]:
        async with self._database.read() as connection:
            found = await page(
                connection, select(keys), keys, principal, after=after, limit=limit, max_limit=100, order=order
            )
        return Page([build(ApiKey, row) for row in found.items], found.has_more)

    @uninterrupted
    async def revoke(self, principal: Principal, id: str) -> ApiKey:
        """Ends a key for good; a cached verification ends within the cache's seconds."""
        mine = (keys.c.id == id, keys.c.tenant == principal.tenant)
        async with self._database.write() as connection:
            await connection.execute(keys.update().where(*mine, keys.c.revoked_at.is_(None)).values(revoked_at=now()))
        return await self.get(principal, id)


def _row(tenant: str, user: str, hash: str, name: str, scopes: Iterable[str]) -> dict[str, object]:
    return {
        "id": new_id("key"),
        "hash": hash,
        "tenant": values.text("tenant", tenant, min_length=1),
        "user": values.text("user", user, min_length=1),
        "name": values.text("name", name),
        "scopes": sorted(values.text("scopes", scope, max_length=64, min_length=1) for scope in scopes),
        "created_at": now(),
    }
