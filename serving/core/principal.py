"""Who is asking: made from a verified key or token, never from a header that the caller can choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["user", "operator", "admin"]
"""What a person or a program is in a tenant; each may do all that the one before may.

A user has what is their own and what was shared with them. An operator also sees what the tenant's users spend and how
it goes, an admin also manages its users, keys and budgets.
"""

ROLES: tuple[Role, ...] = get_args(Role)

Scope = Literal["inference", "prompt", "data:read", "data", "feedback", "operate", "admin", "platform"]
"""What a key or a token is good for.

`inference` asks models, and `prompt` gives them instructions that guardrails trust; `data:read` reads what is stored,
and `data` changes it too; `feedback` rates; `operate` reads usage and the audit log, and exports; `admin` manages a
tenant; `platform` manages tenants, and none of the others says anything about another tenant than one's own.
"""

SCOPES: tuple[Scope, ...] = get_args(Scope)

SCOPES_OF: dict[Role, frozenset[Scope]] = {
    "user": frozenset(("inference", "data:read", "data", "feedback")),
    "operator": frozenset(("inference", "data:read", "data", "feedback", "operate")),
    "admin": frozenset(("inference", "data:read", "data", "feedback", "operate", "admin")),
}
"""What each role can do by itself. A key has these or fewer; `platform` is the stack's own key's alone."""

BY_NAME: frozenset[str] = frozenset(("prompt",))
"""What a key of any role can have, and has only where its scopes name it. Sessions and tokens never have it."""


STACK = "default"
"""The stack's own tenant, which is always there: its own key is of it, and the collections of the configuration."""


def allowed(scopes: Iterable[str], role: Role) -> frozenset[str]:
    """Returns what a key or token with `scopes` is good for while its user has `role`; `data` implies `data:read`."""
    named = frozenset(scopes)
    return (named | {"data:read"} if "data" in named else named) & (SCOPES_OF[role] | BY_NAME)


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. Every store and retrieval call takes one; another tenant's object is not found.

    `groups` are the user's, for the access lists of documents. A key's budget is kept under `account`, by default the
    key's own: keys that follow each other by rotation have one, and so have the sessions of one person.
    """

    tenant: str
    user: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    role: Role = "user"
    groups: frozenset[str] = frozenset()
    account: str = ""

    @property
    def administers(self) -> bool:
        """Whether it may do with what is others' what their tenant's admins may: the scope and the role say so."""
        return self.role == "admin" and "admin" in self.scopes


def worker(tenant: str, name: str) -> Principal:
    """Returns as whom work of the stack's own is done in a tenant, for whoever it is."""
    return Principal(tenant=tenant, user=name, key_id=name, scopes=frozenset(("admin",)), role="admin")
