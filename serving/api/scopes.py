"""What a caller's key must be good for, route by route."""

from __future__ import annotations

from serving.core.principal import Principal, Scope
from serving.protocol.errors import forbidden


def require(scope: Scope | None, caller: Principal) -> None:
    """Raises a 403 unless the caller's key is good for `scope`; None asks for nothing."""
    if scope is not None and scope not in caller.scopes:
        raise forbidden("insufficient_scope", f"This route needs a key with the scope {scope}.")
