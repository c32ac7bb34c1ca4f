"""Operations of the API keys that act as the caller, and of receipts of what the caller deleted."""

from __future__ import annotations

from serving.api.admin_bodies import RotationRequest
from serving.api.operation import Operation
from serving.api.parameters import PAGE
from serving.api.routes.own import deletions, keys

_ONE = "/v1/me/keys/{key_id}"

OWN_KEY_OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/v1/me/keys", keys.list_page, query=PAGE),
    Operation("POST", f"{_ONE}/confirm", keys.confirm, audited="key.confirm"),
    Operation("POST", f"{_ONE}/revoke", keys.revoke, audited="key.revoke"),
    Operation("POST", f"{_ONE}/rotate", keys.rotate, RotationRequest, audited="key.rotate"),
    Operation("GET", "/v1/me/deletions", deletions.list_page, query=PAGE, scope="data:read"),
    Operation("GET", "/v1/me/deletions/{deletion_id}", deletions.get, scope="data:read"),
)
