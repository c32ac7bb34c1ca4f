"""The scope that each route requires of the caller's key."""

from __future__ import annotations

from serving.api.operation import Operation
from serving.core.principal import Principal, Scope
from serving.protocol.errors import ApiError, forbidden
from serving.security.audit import AuditLog


def require(scope: Scope | None, caller: Principal) -> None:
    """Raises a 403 unless the caller's key has `scope`; None requires nothing."""
    if scope is not None and scope not in caller.scopes:
        if not caller.confirmed:
            raise not_confirmed()
        raise forbidden("insufficient_scope", f"This route requires a key with the scope {scope}.")


def require_for(op: Operation, caller: Principal, audit: AuditLog) -> None:
    """Raises a 403 unless the caller's key has the scope of an operation; the audit log counts refusals."""
    try:
        require(op.scope, caller)
    except ApiError as e:
        audit.count(op.audited or "authorization", e.code, caller.tenant)
        raise


def not_confirmed() -> ApiError:
    """Returns the 403 for a key that somebody else made for its user."""
    return forbidden(
        "key_not_confirmed",
        "Somebody else made this key for you: replace it by POST /v1/me/keys/{key_id}/rotate if it is your first one, "
        "or confirm it by POST /v1/me/keys/{key_id}/confirm with another key or session of yours.",
    )
