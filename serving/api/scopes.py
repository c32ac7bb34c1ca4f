"""The scope that each route requires of the caller's key."""

from __future__ import annotations

from serving.core.principal import Principal, Scope
from serving.protocol.errors import forbidden


def require(scope: Scope | None, caller: Principal) -> None:
    """Raises a 403 unless the caller's key has `scope`; None requires nothing."""
    if scope is not None and scope not in caller.scopes:
        raise forbidden("insufficient_scope", f"This route requires a key with the scope {scope}.")
