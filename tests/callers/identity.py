"""Callers for tests: a tenant and a user of its own for each, and a key."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from serving.api.services import Services
from serving.core.principal import SCOPES_OF, Principal, Role
from serving.security.person import Person
from serving.security.prompt_cache import CacheOwners
from serving.store.errors import Conflict

CALLER = Principal("acme", "ann", "key_1")
OWNERS = CacheOwners("tenant", "s" * 40)


class Anybody:
    """`People` that keeps no list: whoever has a valid token is who it says."""

    async def admit(self, person: Person, *, fresh: bool = False) -> Principal:
        """Returns the person with the rights of their role."""
        return Principal(
            tenant=person.tenant,
            user=person.user,
            key_id=person.id,
            scopes=SCOPES_OF[person.role],
            role=person.role,
            groups=person.groups,
        )


async def key_of(s: Services, who: Principal, *, role: Role = "user", scopes: Iterable[str] | None = None) -> str:
    """Returns a new key of `who`, by default for all that the role allows; makes the tenant and the user if need be."""
    with suppress(Conflict):
        await s.tenants.create(who.tenant)
    with suppress(Conflict):
        await s.users.create(who, who.user, role=role)
    _, key = await s.authenticator.issue(who, scopes=SCOPES_OF[role] if scopes is None else scopes)
    return key
