"""Stored API keys: only a keyed hash of each. Keys are created and verified by `serving.security.keys`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import SCOPES, STACK, Principal, Role, allowed
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.relational.belongings import CONTENT, rows_of_user
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page, require_room
from serving.store.relational.tables import keys, quotas, tenants, users
from serving.store.users import ADMIN

USED_S = 60
"""Precision in seconds of the time of a key's last use."""

MAX_KEYS = 100_000
"""Maximum number of keys of a tenant that have not ended."""

MAX_ENDED = 100
"""How many ended keys of a user are kept: the newest, apart for confirmed keys and for others. Those that began the
rotations of a key in use, and those with quotas, are kept beyond that.
"""

MAX_REPLACED = 10
"""Maximum number of keys in their overlap that one key has replaced, directly or through others."""

PRUNED_TOGETHER = 500

MAX_OVERLAP_S = 30 * 86400
"""Maximum overlap of a rotated key."""

Confirmed = Literal["first"] | bool
"""Whether a key may act as its user: `first` if it is the first that ever does, and else not at all."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key; `hash` is its HMAC-SHA256 in hexadecimal and not in `repr`.

    `rotated_to` is the key that replaces it, `first_id` the first of its predecessors; `last_used_at` is exact to
    `USED_S` seconds. A key that is not `confirmed` was made by somebody else than its user, and permits nothing yet.
    """

    id: str
    tenant: str
    user: str
    name: str
    scopes: list[str]
    bootstrap: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    first_id: str | None
    rotated_to: str | None
    confirmed: bool
    hash: str = field(repr=False)

    def valid(self, at: float) -> bool:
        """Returns whether the key may be used at unix time `at`."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True, slots=True)
class KeyWithUser:
    """A key, and the current state of its user."""

    key: ApiKey
    role: Role
    groups: list[str]
    disabled: bool
    """Whether the user or the tenant is disabled."""


def effective_scopes(scopes: Iterable[str], role: Role, *, bootstrap: bool, confirmed: bool) -> frozenset[str]:
    """Returns what a key with `scopes` permits while its user has `role`: nothing before it is confirmed.

    The stack's own key has all scopes, including those that did not exist when it was stored.
    """
    if bootstrap:
        return frozenset(SCOPES)
    return allowed(scopes, role) if confirmed else frozenset()


def lives(at: float) -> ColumnElement[bool]:
    """Returns the condition for keys that may be used at unix time `at`, like `ApiKey.valid`."""
    return and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > at))


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
        confirmed: bool = True,
    ) -> ApiKey:
        """Stores a key of the principal's tenant, for `user` (by default the principal's).

        Raises `NotFound` when the tenant has no such user.
        """
        row = _row(principal.tenant, user if user is not None else principal.user, hash, name, scopes)
        row |= {"expires_at": expires_at, "confirmed": confirmed}
        whose = select(users.c.user).where(users.c.tenant == row["tenant"], users.c.user == row["user"])
        async with self._database.write() as connection:
            if (await connection.execute(whose)).first() is None:
                raise NotFound("user", str(row["user"]))
            await require_room(connection, keys, principal.tenant, MAX_KEYS, "keys", lives(now()))
            await connection.execute(keys.insert().values(row))
        return await self.get(principal, str(row["id"]))

    @uninterrupted
    async def add_bootstrap(self, hash: str) -> None:
        """Stores the bootstrap key once; a new one revokes the previous one. Safe from several replicas.

        An existing key stays unchanged, revoked or not: an old replica cannot restore it. Its tenant and its user exist
        since the schema was created.
        """
        async with self._database.write() as connection:
            await lock(connection, "bootstrap")
            if (await connection.execute(select(keys.c.id).where(keys.c.hash == hash))).first():
                return
            await connection.execute(
                keys.update().where(keys.c.bootstrap, keys.c.revoked_at.is_(None)).values(revoked_at=now())
            )
            row = _row(STACK, ADMIN, hash, "bootstrap", SCOPES)
            await connection.execute(keys.insert().values(row | {"bootstrap": True}))

    @uninterrupted
    async def by_hash(self, hash: str) -> KeyWithUser | None:
        """Returns the key of any tenant with this hash, valid or not, and the current state of its user."""
        return await self._select(keys.c.hash == hash)

    @uninterrupted
    async def by_id(self, tenant: str, id: str) -> KeyWithUser | None:
        """Like `by_hash`, for a tenant's key with this id."""
        return await self._select(and_(keys.c.tenant == tenant, keys.c.id == id))

    async def _select(self, where: ColumnElement[bool]) -> KeyWithUser | None:
        query = (
            select(keys, users.c.role, users.c.groups, users.c.disabled_at, tenants.c.disabled_at.label("closed_at"))
            .join(users, and_(users.c.tenant == keys.c.tenant, users.c.user == keys.c.user))
            .join(tenants, tenants.c.id == keys.c.tenant)
            .where(where)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        disabled = row["disabled_at"] is not None or row["closed_at"] is not None
        return KeyWithUser(build(ApiKey, row), row["role"], row["groups"], disabled)

    @uninterrupted
    async def rehash(self, before: str, hash: str) -> KeyWithUser | None:
        """Replaces the hash `before` of a key by its hash with another secret; returns None when there is
        no such key.
        """
        found = await self.by_hash(before)
        if found is None:  # usually the key is unknown, or another replica was first
            return await self.by_hash(hash)
        async with self._database.write() as connection:
            await connection.execute(keys.update().where(keys.c.hash == before).values(hash=hash))
        return replace(found, key=replace(found.key, hash=hash))

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> ApiKey:
        """Returns a key of the principal's tenant; raises `NotFound`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(keys).where(*_mine(principal, id)))).mappings().first()
        if row is None:
            raise NotFound("key", id)
        return build(ApiKey, row)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        user: str | None = None,
        name: str | None = None,
        expires_before: float | None = None,
        unused_since: float | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[ApiKey]:
        """Returns the tenant's keys, optionally those of one user, or with `name` in theirs, in any case.

        `expires_before` selects keys that end before that time, and `unused_since` those that may still be used but
        were not since that time.
        """
        query = select(keys)
        if user is not None:
            query = query.where(keys.c.user == user)
        if name:
            query = query.where(keys.c.name.icontains(values.text("q", name), autoescape=True))
        if expires_before is not None:
            query = query.where(keys.c.expires_at < expires_before)
        if unused_since is not None:
            used = func.coalesce(keys.c.last_used_at, keys.c.created_at)
            query = query.where(used < unused_since, lives(now()))
        async with self._database.read() as connection:
            found = await page(connection, query, keys, principal, after=after, limit=limit, max_limit=100, order=order)
        return build_page(ApiKey, found)

    @uninterrupted
    async def revoke(self, principal: Principal, id: str) -> ApiKey:
        """Revokes a key for good; a cached verification expires within the cache's seconds.

        Raises `NotFound`, and `Conflict` for the stack's own key.
        """
        async with self._database.write() as connection:
            await connection.execute(
                keys.update()
                .where(*_mine(principal, id), ~keys.c.bootstrap, keys.c.revoked_at.is_(None))
                .values(revoked_at=now())
            )
        key = await self.get(principal, id)
        if key.bootstrap and key.revoked_at is None:
            raise Conflict(_STACKS)
        return key

    @uninterrupted
    async def confirm(self, principal: Principal, id: str) -> ApiKey:
        """Lets a key that somebody else made act as its user.

        Raises `NotFound`, and `Conflict` for one that has ended.
        """
        async with self._database.write() as connection:
            ours = *_mine(principal, id), keys.c.user == principal.user
            found = (await connection.execute(select(keys).where(*ours))).mappings().first()
            if found is None:
                raise NotFound("key", id)
            if not build(ApiKey, found).valid(now()):
                raise Conflict("this key is no longer valid")
            await connection.execute(keys.update().where(*ours).values(confirmed=True))
        return await self.get(principal, id)

    @uninterrupted
    async def rotate(
        self,
        principal: Principal,
        id: str,
        hash: str,
        *,
        overlap_s: float,
        confirmed: Confirmed = True,
        renewed: bool = True,
    ) -> ApiKey:
        """Stores a key that replaces another: with its user, name and scopes, and if `renewed` with a new lifetime.

        The other ends `overlap_s` seconds from now, or at its own expiry if that is earlier. The new one is `confirmed`
        or not, or only if the user has never had another way in. Raises `NotFound`, and `Conflict` for one that is no
        longer valid, that was rotated before, that is the stack's own, that is not the user's `first`, or that follows
        `MAX_REPLACED` keys which are still valid.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidValue("overlap_s", f"must be from 0 to {MAX_OVERLAP_S}")
        async with self._database.write() as connection:
            # Of two concurrent rotations, the second must see the first.
            await lock(connection, "keys", principal.tenant)
            found = (await connection.execute(select(keys).where(*_mine(principal, id)))).mappings().first()
            if found is None:
                raise NotFound("key", id)
            old, at = build(ApiKey, found), now()
            if old.bootstrap:
                raise Conflict(_STACKS)
            if old.rotated_to is not None or not old.valid(at):
                raise Conflict("this key was rotated before, or is no longer valid")
            await require_room(connection, keys, principal.tenant, MAX_KEYS, "keys", lives(at))
            await _require_few_replaced(connection, old, at)
            if confirmed == "first" and not await _is_first(connection, old):
                raise Conflict("its user has, or had, another key or sign-in: confirm this key with that")
            row = _row(old.tenant, old.user, hash, old.name, old.scopes)
            row |= {"first_id": old.first_id or old.id, "confirmed": bool(confirmed)}
            row["expires_at"] = old.expires_at
            if renewed and old.expires_at is not None:
                row["expires_at"] = at + old.expires_at - old.created_at
            await connection.execute(keys.insert().values(row))
            end = at + overlap_s if old.expires_at is None else min(old.expires_at, at + overlap_s)
            changes = {"rotated_to": row["id"], "expires_at": end}
            await connection.execute(keys.update().where(*_mine(principal, id)).values(changes))
        return await self.get(principal, str(row["id"]))

    @uninterrupted
    async def used(self, ids: Collection[str], at: float) -> None:
        """Records the use of keys; a use that another replica recorded within `USED_S` seconds stays unchanged."""
        late = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at <= at - USED_S)
        note = keys.update().where(keys.c.id == bindparam("used"), late).values(last_used_at=at)
        async with self._database.write() as connection:
            # In one order, so that replicas do not deadlock.
            await connection.execute(note, [{"used": id} for id in sorted(ids)])

    @uninterrupted
    async def prune(self) -> int:
        """Removes the oldest ended keys of users with more than `MAX_ENDED`, and returns how many.

        The audit log says which keys there were, and by which they were replaced.
        """
        at = now()
        beyond = func.row_number().over(
            partition_by=(keys.c.tenant, keys.c.user, keys.c.confirmed),
            order_by=(func.coalesce(keys.c.revoked_at, keys.c.expires_at).desc(), keys.c.id),
        )
        ranked = select(keys.c.id, beyond.label("place")).where(~lives(at), ~keys.c.bootstrap).subquery()
        # Whoever first made a rotated key, the first one says; quotas of all that replace it have its id.
        begun = select(keys.c.first_id).where(lives(at), keys.c.first_id.is_not(None))
        limited = select(quotas.c.subject_id).where(quotas.c.subject == "key")
        old = select(ranked.c.id).where(
            ranked.c.place > MAX_ENDED, ranked.c.id.not_in(begun), ranked.c.id.not_in(limited)
        )
        async with self._database.read() as connection:  # others write meanwhile
            found = (await connection.execute(old)).scalars().all()
        for start in range(0, len(found), PRUNED_TOGETHER):
            some = found[start : start + PRUNED_TOGETHER]
            async with self._database.write() as connection:
                await connection.execute(keys.delete().where(keys.c.id.in_(some)))
        return len(found)


async def _require_few_replaced(connection: AsyncConnection, key: ApiKey, at: float) -> None:
    """Raises `Conflict` if too many of a key's predecessors are still valid: each counts as one of the tenant's."""
    first = key.first_id or key.id
    mine = keys.c.tenant == key.tenant, or_(keys.c.id == first, keys.c.first_id == first)
    count = select(func.count()).select_from(keys).where(*mine, keys.c.id != key.id, lives(at))
    if (await connection.execute(count)).scalar_one() >= MAX_REPLACED:
        raise Conflict(f"{MAX_REPLACED} keys that this one replaces still work: revoke one, or wait until one ends")


_STACKS = "this is the stack's own key, which only the stack replaces"


async def _is_first(connection: AsyncConnection, key: ApiKey) -> bool:
    """Returns whether nobody has acted as the key's user: no confirmed key, no sign-in at a provider, and nothing is
    stored, as an erasure leaves for a while or an import puts there.
    """
    theirs = keys.c.tenant == key.tenant, keys.c.user == key.user, keys.c.confirmed
    people = users.c.tenant == key.tenant, users.c.user == key.user, users.c.issuer.is_not(None)
    other = select(keys.c.id).where(*theirs).exists()
    person = select(users.c.user).where(*people).exists()
    stored = (select(each.c.tenant).where(rows_of_user(each, key.tenant, key.user)).exists() for each in CONTENT)
    return not (await connection.execute(select(or_(other, person, *stored)))).scalar_one()


def _mine(principal: Principal, id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return keys.c.id == id, keys.c.tenant == principal.tenant


def _row(tenant: str, user: str, hash: str, name: str, scopes: Iterable[str]) -> dict[str, object]:
    found = sorted(set(scopes))
    if unknown := [scope for scope in found if scope not in SCOPES]:
        raise InvalidValue("scopes", f"has {len(unknown)} that {'is' if len(unknown) == 1 else 'are'} unknown")
    return {
        "id": new_id("key"),
        "hash": hash,
        "tenant": values.text("tenant", tenant, min_length=1),
        "user": values.text("user", user, min_length=1),
        "name": values.text("name", name),
        "scopes": found,
        "created_at": now(),
    }
