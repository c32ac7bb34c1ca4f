"""Callers of deferred requests: their identity is stored with the request, and checked again when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.core.ids import now
from serving.core.principal import ROLES, SCOPES_OF, Principal
from serving.security.keys import is_good, principal_of
from serving.store.errors import NotFound
from serving.store.keys import Keys
from serving.store.tenants import Tenants
from serving.store.users import Users

_KEY = "key_"

MAX_ROTATIONS = 32
"""Maximum number of key rotations between a request and its execution; after more, its caller is not recognised."""


class NotAllowedAnyMore(Exception):
    """The key was revoked or has expired, or its user or tenant was deleted or disabled."""


def note(caller: Principal) -> dict[str, Any]:
    """Returns what identifies a caller later, as JSON. It contains no secret."""
    return {
        "key_id": caller.key_id,
        "account": caller.account,
        "scopes": sorted(caller.scopes),
        "role": caller.role,
        "groups": sorted(caller.groups),
    }


class AbsentCallers:
    """Determines the current permissions of callers of earlier requests."""

    def __init__(self, keys: Keys, users: Users, tenants: Tenants) -> None:
        self._keys = keys
        self._users = users
        self._tenants = tenants

    async def again(self, tenant: str, user: str, noted: Mapping[str, Any]) -> Principal:
        """Returns a caller with its current permissions, but no more than it had; raises `NotAllowedAnyMore`.

        A caller with a key has the permissions of that key, or of the one that it was rotated to. Sessions and tokens
        may have ended: their callers keep the permissions that they had, as far as the user still has them.
        """
        if str(noted["key_id"]).startswith(_KEY):
            now_good = await self._by_key(tenant, str(noted["key_id"]))
            if now_good.user != user:
                raise NotAllowedAnyMore
        else:
            now_good = await self._by_user(tenant, user, noted)
        scopes = now_good.scopes & frozenset(noted["scopes"])
        return Principal(tenant, user, now_good.key_id, scopes, now_good.role, now_good.groups, now_good.account)

    async def _by_key(self, tenant: str, id: str) -> Principal:
        for _ in range(MAX_ROTATIONS):
            held = await self._keys.by_id(tenant, id)
            if held is None:
                break
            if is_good(held, now()):
                return principal_of(held)
            if held.key.rotated_to is None or held.key.revoked_at is not None:
                break
            id = held.key.rotated_to
        raise NotAllowedAnyMore

    async def _by_user(self, tenant: str, user: str, noted: Mapping[str, Any]) -> Principal:
        asking = Principal(tenant=tenant, user=user, key_id=str(noted["key_id"]))
        try:
            found = await self._users.get(asking, user)
            closed = (await self._tenants.get(tenant)).disabled_at is not None
        except NotFound:
            raise NotAllowedAnyMore from None
        if closed or found.disabled_at is not None:
            raise NotAllowedAnyMore
        role = min(found.role, noted["role"], key=ROLES.index)
        groups = frozenset(found.groups) & frozenset(noted["groups"])
        account = str(noted["account"])
        return Principal(tenant, user, asking.key_id, frozenset(SCOPES_OF[role]), role, groups, account)
