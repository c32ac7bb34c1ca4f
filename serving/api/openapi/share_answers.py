"""JSON Schemas of the answers about shared conversations."""

from __future__ import annotations

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, deleted, list_of, object_of, page_of

_SHARE = object_of("share", id=TEXT, created_at=COUNT, expires_at=COUNT, owner=TEXT, conversation=MAYBE, title=MAYBE)
_ITEM = object_of(
    "share.item",
    id=TEXT,
    created_at=COUNT,
    role={"enum": ["user", "assistant", None]},
    status=MAYBE,
    text=TEXT,
    withheld={"enum": ["documents", "private", None]},
    attachments=COUNT,
    headrace={
        "type": "object",
        "properties": {name: list_of({"type": "object"}) for name in ("citations", "unsupported")},
    },
)

SHARE_ANSWERS: dict[str, Schema] = {
    "sharing_shares_create": _SHARE,
    "sharing_shares_list_page": page_of(_SHARE),
    "sharing_shares_get": _SHARE,
    "sharing_shares_list_items": page_of(_ITEM),
    "sharing_shares_delete": deleted("share.deleted"),
}
