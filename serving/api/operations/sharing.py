"""Operations of conversations that people share within their tenant."""

from __future__ import annotations

from serving.api.operation import Operation, Parameter
from serving.api.parameters import AFTER, PAGE
from serving.api.routes.sharing import shares
from serving.protocol.conversations import ShareRequest
from serving.store.sharing.shares import MAX_SHARED

_ONE = "/v1/shares/{share_id}"

SHARE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/shares",
        shares.create,
        ShareRequest,
        once="transaction",
        scope="data",
        audited="share.create",
        own_transaction=True,
    ),
    Operation(
        "GET",
        "/v1/shares",
        shares.list_page,
        query=(*PAGE, Parameter("conversation", {"type": "string", "maxLength": 64})),
        scope="data:read",
    ),
    Operation("GET", _ONE, shares.get, scope="data:read"),
    Operation(
        "GET",
        f"{_ONE}/items",
        shares.list_items,
        query=(
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_SHARED, "default": 20}),
            Parameter("order", {"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
            AFTER,
        ),
        scope="data:read",
    ),
    Operation("DELETE", _ONE, shares.delete, scope="data", audited="share.delete", own_transaction=True),
)
