"""The principal: created from a verified key or token, never from a header that the caller can choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["user", "operator", "admin"]
"""Roles in a tenant; each includes the permissions of the previous one.

A user has access to their own objects and to those shared with them. An operator can also read the tenant's usage and
state, and an admin can also manage its users, keys and budgets.
"""

ROLES: tuple[Role, ...] = get_args(Role)

Scope = Literal[
    "inference",
    "prompt",
    "data:read",
    "data",
    "feedback",
    "hub:read",
    "hub:write",
    "operate",
    "review",
    "admin",
    "platform",
]
"""Scopes of keys and tokens.

`inference` calls models, and `prompt` gives them instructions that guardrails trust; `data:read` reads stored data, and
`data` also changes it; `feedback` rates; `hub:read` reads versions of models, evaluations and releases, and `hub:write`
also makes them; `operate` reads usage and the audit log, and exports; `review` reads what others consented to be read;
`admin` manages a tenant; `platform` manages tenants, while all other scopes apply only to the caller's own tenant.
"""

SCOPES: tuple[Scope, ...] = get_args(Scope)

SCOPES_OF: dict[Role, frozenset[Scope]] = {
    "user": frozenset(("inference", "data:read", "data", "feedback")),
    "operator": frozenset(("inference", "data:read", "data", "feedback", "hub:read", "operate")),
    "admin": frozenset(("inference", "data:read", "data", "feedback", "hub:read", "hub:write", "operate", "admin")),
}
"""Scopes of each role. A key has these or fewer; only the stack's own key has `platform`."""

BY_NAME: dict[Role, frozenset[str]] = {
    "user": frozenset(("prompt",)),
    "operator": frozenset(("prompt", "review")),
    "admin": frozenset(("prompt", "review")),
}
"""Scopes that keys of a role can have, but only if explicitly named. Tokens never have them, nor do sessions that began
at an identity provider.
"""

_IMPLIED: dict[str, str] = {"data": "data:read", "hub:write": "hub:read"}


STACK = "default"
"""The stack's own tenant, which always exists: the stack's own key and the configured collections belong to it."""


def allowed(scopes: Iterable[str], role: Role) -> frozenset[str]:
    """Returns the effective scopes of a key or token while its user has `role`; writing implies reading."""
    named = frozenset(scopes)
    implied = {reading for writing, reading in _IMPLIED.items() if writing in named}
    return (named | implied) & (SCOPES_OF[role] | BY_NAME[role])


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. Every call of store and retrieval takes one; objects of other tenants are not found.

    `groups` are the user's, for the access lists of documents. A key's quotas are counted under `account`, by default
    the key itself: keys that replace each other by rotation share one, and so do the sessions of one person. A key
    that is not `confirmed` was made by somebody else, and permits nothing until its user confirms or replaces it.
    """

    tenant: str
    user: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    role: Role = "user"
    groups: frozenset[str] = frozenset()
    account: str = ""
    confirmed: bool = True

    @property
    def administers(self) -> bool:
        """Whether it has an admin's permissions on other users' objects in its tenant, by scope and role."""
        return self.role == "admin" and "admin" in self.scopes


def worker(tenant: str, name: str) -> Principal:
    """Returns the principal of the stack's own background work in a tenant."""
    return Principal(tenant=tenant, user=name, key_id=name, scopes=frozenset(("admin",)), role="admin")
