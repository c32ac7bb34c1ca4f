"""Users: people and programs of a tenant, with a role and groups, which determine the permissions of keys
and tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import ROLES, STACK, Principal, Role
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page, require_room
from serving.store.relational.tables import keys, tenants, users

ADMIN = "admin"
"""The user of the stack's own key, in its tenant."""

ID = r"^[A-Za-z0-9][A-Za-z0-9._@+:|=-]{0,127}$"
SIGNED_IN = r"[A-Za-z0-9_-][A-Za-z0-9._@+:|=-]{0,127}"
"""Names that a provider may use: some subjects are base64url, which an admin would not choose."""

MAX_GROUPS = 256
MAX_GROUP = 256


_ADMINS = (users.c.role == "admin", users.c.disabled_at.is_(None))
_LAST = "this is the tenant's last admin: create another one first"


@dataclass(frozen=True, slots=True)
class User:
    """A user. `issuer` and `subject` identify the user at an identity provider, if the user signs in there."""

    tenant: str
    user: str
    role: Role
    groups: list[str]
    issuer: str | None
    subject: str | None
    created_at: float
    disabled_at: float | None


MAX_USERS = 100_000
"""Maximum number of users of a tenant that admins create; an identity provider can add more."""


class Users:
    """The users of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        user: str,
        *,
        role: Role = "user",
        groups: Iterable[str] = (),
    ) -> User:
        """Makes a user of the principal's tenant. Raises `Conflict` when it is there, `NotFound` without the tenant."""
        if not re.fullmatch(ID, user, re.ASCII):
            raise InvalidValue("id", "must be a letter or digit and up to 127 of A-Z a-z 0-9 . _ @ + : | = -")
        row: dict[str, object] = {
            "tenant": principal.tenant,
            "user": user,
            "role": _role(role),
            "groups": _groups(groups),
            "created_at": now(),
        }
        try:
            async with self._database.write() as connection:
                there = select(tenants.c.id).where(tenants.c.id == principal.tenant)
                if (await connection.execute(there)).first() is None:
                    raise NotFound("tenant", principal.tenant)
                await require_room(connection, users, principal.tenant, MAX_USERS, "users")
                await connection.execute(users.insert().values(row))
        except IntegrityError:
            raise Conflict("there is already a user of this name") from None
        return await self.get(principal, user)

    @uninterrupted
    async def get(self, principal: Principal, user: str) -> User:
        """Returns a user; raises `NotFound`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(users).where(*_user_condition(principal, user)))).mappings().first()
        if row is None:
            raise NotFound("user", user)
        return build(User, row)

    @uninterrupted
    async def signed_in(
        self, tenant: str, user: str, *, subject: tuple[str, str], role: Role, groups: Iterable[str], fresh: bool
    ) -> User:
        """Returns the user for an identity provider's subject; a new one is created, with the provider's role and
        groups.

        Existing users get these only if they are `fresh`, since a token may be older than the stored values. The user
        is identified by the provider's `subject` (issuer and name there), even if the name changes. A user that an
        admin created belongs to the subject that first signs in with that name. The provider can also revoke a tenant's
        last admin, since the platform can create another. Raises `Conflict` if the name is taken, or the user or the
        tenant is disabled, and `NotFound` when there is no such tenant.
        """
        issuer, name = subject
        theirs = users.c.issuer == issuer, users.c.subject == name
        # Usually nothing has changed.
        async with self._database.read() as connection:
            found = await _of_tenant(connection, tenant, *theirs)
        said: dict[str, object] = {"role": _role(role), "groups": _groups(groups)}
        if found is None or (fresh and any(getattr(found, key) != value for key, value in said.items())):
            try:
                async with self._database.write() as connection:
                    await _let_in(connection, tenant, user, subject, said, fresh)
                    found = await _of_tenant(connection, tenant, *theirs)
            except IntegrityError:  # an admin created a user of that name meanwhile
                raise Conflict("another user has that name") from None
        if found is None:  # erased meanwhile
            raise Conflict("the user was erased")
        return found

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        name: str | None = None,
        role: Role | None = None,
        disabled: bool | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[User]:
        """Returns the tenant's users, optionally those with `name` in theirs, in any case."""
        query = select(users)
        if name:
            query = query.where(users.c.user.icontains(values.text("q", name), autoescape=True))
        if role is not None:
            query = query.where(users.c.role == role)
        if disabled is not None:
            query = query.where(users.c.disabled_at.is_not(None) if disabled else users.c.disabled_at.is_(None))
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                users,
                principal,
                after=after,
                limit=limit,
                max_limit=100,
                order=order,
                id_column="user",
            )
        return build_page(User, found)

    @uninterrupted
    async def update(
        self,
        principal: Principal,
        user: str,
        *,
        role: Role | None = None,
        groups: Iterable[str] | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Changes the given fields, also for existing keys and tokens.

        Raises `NotFound`, and `Conflict` if the tenant, or the stack, would lose its last admin, and for role and
        groups of a user whose identity provider determines them.
        """
        changes: dict[str, object] = {}
        if role is not None:
            changes["role"] = _role(role)
        if groups is not None:
            changes["groups"] = _groups(groups)
        async with self._database.write() as connection:
            # Of two admins who remove each other, the second fails.
            await lock(connection, "admins", principal.tenant)
            row = (await connection.execute(select(users).where(*_user_condition(principal, user)))).mappings().first()
            if row is None:
                raise NotFound("user", user)
            if changes and row["subject"] is not None:
                raise Conflict("the user's identity provider determines role and groups")
            if disabled is not None and disabled != (row["disabled_at"] is not None):
                changes["disabled_at"] = now() if disabled else None
            if changes:
                await connection.execute(users.update().where(*_user_condition(principal, user)).values(changes))
            was = row["role"] == "admin" and row["disabled_at"] is None
            if was and (role not in (None, "admin") or disabled):
                if (principal.tenant, user) == (STACK, ADMIN):
                    raise Conflict("the user of the stack's own key must stay an admin")
                await _require_admin(connection, principal)
        return await self.get(principal, user)


async def _let_in(
    connection: AsyncConnection, tenant: str, user: str, who: tuple[str, str], said: dict[str, object], fresh: bool
) -> None:
    """Stores a provider's claims about a user: one with this subject, one with the name, or a new one."""
    issuer, subject = who
    # Of two concurrent first sign-ins, the second must see the first: of one person with two names, or two people with
    # one.
    await lock(connection, "subjects", issuer, subject)
    await lock(connection, "users", tenant, user)
    found = await _of_tenant(connection, tenant, users.c.issuer == issuer, users.c.subject == subject)
    if found is None:
        if not re.fullmatch(SIGNED_IN, user, re.ASCII):
            raise Conflict("that name is not a valid user name")
        found = await _of_tenant(connection, tenant, users.c.tenant == tenant, users.c.user == user)
        if found is not None and (found.subject is not None or (tenant, user) == (STACK, ADMIN)):
            raise Conflict("another user has that name")
    if found is not None:
        mine = users.c.tenant == tenant, users.c.user == found.user
        row = {"issuer": issuer, "subject": subject, **(said if fresh else {})}
        await connection.execute(users.update().where(*mine).values(row))
        if found.subject is None:
            await _doubt_handed_keys(connection, tenant, found.user)
        return
    there = (await connection.execute(select(tenants.c.disabled_at).where(tenants.c.id == tenant))).first()
    if there is None:
        raise NotFound("tenant", tenant)
    if there.disabled_at is not None:
        raise Conflict("the tenant is disabled")
    row = {"issuer": issuer, "subject": subject, **said, "tenant": tenant, "user": user, "created_at": now()}
    await connection.execute(users.insert().values(row))


async def _doubt_handed_keys(connection: AsyncConnection, tenant: str, user: str) -> None:
    """Makes a user confirm the successors of keys that an admin made: the admin could have replaced them first."""
    await lock(connection, "keys", tenant)  # no other replacement meanwhile
    theirs = keys.c.tenant == tenant, keys.c.user == user
    handed = select(keys.c.id).where(*theirs, keys.c.confirmed.is_(False)).scalar_subquery()
    await connection.execute(keys.update().where(*theirs, keys.c.first_id.in_(handed)).values(confirmed=False))


async def _of_tenant(connection: AsyncConnection, tenant: str, *where: ColumnElement[bool]) -> User | None:
    """Returns the user for `where`. Raises `Conflict` for one of another tenant, or who is disabled."""
    query = select(users, tenants.c.disabled_at.label("closed_at")).join(tenants, tenants.c.id == users.c.tenant)
    row = (await connection.execute(query.where(*where))).mappings().first()
    if row is None:
        return None
    if row["tenant"] != tenant or row["closed_at"] is not None:
        raise Conflict("the user is of another tenant, or the tenant is disabled")
    if row["disabled_at"] is not None:
        raise Conflict("the user is disabled")
    return build(User, row)


async def require_dispensable(connection: AsyncConnection, tenant: str, user: str) -> None:
    """Raises `Conflict` for the user of the stack's own key, and for a tenant's last admin.

    No other transaction can remove an admin until this one ends.
    """
    if (tenant, user) == (STACK, ADMIN):
        raise Conflict("the user of the stack's own key cannot be removed")
    await lock(connection, "admins", tenant)
    admins = select(users.c.user).where(users.c.tenant == tenant, *_ADMINS)
    if (await connection.execute(admins)).scalars().all() == [user]:
        raise Conflict(_LAST)


async def _require_admin(connection: AsyncConnection, principal: Principal) -> None:
    admins = users.c.tenant == principal.tenant, *_ADMINS
    if not (await connection.execute(select(func.count()).select_from(users).where(*admins))).scalar():
        raise Conflict(_LAST)


def _user_condition(principal: Principal, user: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return users.c.tenant == principal.tenant, users.c.user == user


def _role(role: Role) -> Role:
    if role not in ROLES:
        raise InvalidValue("role", f"must be one of {', '.join(ROLES)}")
    return role


def _groups(groups: Iterable[str]) -> list[str]:
    found = sorted({values.text("groups", group, max_length=MAX_GROUP, min_length=1) for group in groups})
    if len(found) > MAX_GROUPS:
        raise InvalidValue("groups", f"must have at most {MAX_GROUPS} members")
    return found
