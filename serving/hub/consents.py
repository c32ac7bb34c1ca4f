"""Consents: which other tenants may use a version, by the word of the tenant whose data it was trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.versions import version_of
from serving.store.errors import Conflict, NotFound, TooMany
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import build
from serving.store.relational.tables import hub_consents

MAX_CONSENTS = 100
"""Maximum number of tenants that a version was ever offered to."""

ConsentScope = Literal["call", "release"]
"""Whether another tenant may only call a version, or also release it behind aliases of its own."""


@dataclass(frozen=True, slots=True)
class Consent:
    """The owner's word that `grantee` may use a version, until it is revoked."""

    version: str
    tenant: str
    grantee: str
    scope: ConsentScope
    created_at: float
    created_by: str | None
    revoked_at: float | None


class Consents:
    """The consents of all tenants. They say nothing about whether a tenant of that name exists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def give(self, principal: Principal, version: str, grantee: str, scope: ConsentScope) -> Consent:
        """Lets another tenant use the version, in place of an earlier consent.

        Raises `NotFound` unless the version is the tenant's, `Conflict` unless it is ready, and `TooMany`.
        """
        at = now()
        row = {
            "version": version,
            "tenant": principal.tenant,
            "grantee": grantee,
            "scope": scope,
            "created_at": at,
            "created_by": principal.user,
            "revoked_at": None,
        }
        of = hub_consents.c
        async with self._database.write() as connection:
            await lock(connection, "hub_consents", version)
            if (found := await version_of(connection, principal, version)).status != "ready":
                raise Conflict(f"the version is {found.status}, not ready")
            await connection.execute(hub_consents.delete().where(of.version == version, of.grantee == grantee))
            count = select(func.count()).where(of.version == version)
            if (await connection.execute(count)).scalar_one() >= MAX_CONSENTS:
                raise TooMany(f"the version was offered to {MAX_CONSENTS} tenants already")
            await connection.execute(hub_consents.insert().values(row))
        return Consent(version, principal.tenant, grantee, scope, at, principal.user, None)

    @uninterrupted
    async def revoke(self, principal: Principal, version: str, grantee: str) -> Consent:
        """Ends a consent; again does nothing. Raises `NotFound`."""
        of = hub_consents.c
        this = and_(of.version == version, of.tenant == principal.tenant, of.grantee == grantee)
        async with self._database.write() as connection:
            open_ = hub_consents.update().where(this, of.revoked_at.is_(None))
            await connection.execute(open_.values(revoked_at=now()))
            row = (await connection.execute(select(hub_consents).where(this))).mappings().first()
        if row is None:
            raise NotFound("consent", grantee)
        return build(Consent, row)

    @uninterrupted
    async def list(self, principal: Principal, version: str) -> Sequence[Consent]:
        """Returns the consents of a version of the tenant, with those that were revoked. Raises `NotFound`."""
        of = hub_consents.c
        async with self._database.read() as connection:
            await version_of(connection, principal, version)
            query = select(hub_consents).where(of.version == version).order_by(of.grantee)
            return [build(Consent, row) for row in (await connection.execute(query)).mappings()]

    @uninterrupted
    async def scope(self, version: str, grantee: str) -> ConsentScope | None:
        """Returns what a tenant may do with a version of another one; None for nothing."""
        of = hub_consents.c
        query = select(of.scope).where(of.version == version, of.grantee == grantee, of.revoked_at.is_(None))
        async with self._database.read() as connection:
            found: ConsentScope | None = (await connection.execute(query)).scalar()
            return found


async def grantees(connection: AsyncConnection, versions: Collection[str]) -> Mapping[str, set[str]]:
    """Returns the tenants that may use versions of others, by version."""
    of = hub_consents.c
    query = select(of.version, of.grantee).where(of.version.in_(list(versions)), of.revoked_at.is_(None))
    found: dict[str, set[str]] = {}
    for version, grantee in await connection.execute(query):
        found.setdefault(version, set()).add(grantee)
    return found
