"""JSON Schemas of the answers about API keys, webhooks, and receipts of deletions."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import (
    COUNT,
    MAYBE,
    MAYBE_COUNT,
    TEXT,
    Schema,
    deleted,
    list_of,
    object_of,
    page_of,
)
from serving.core.principal import SCOPES
from serving.store.background.webhooks import SetBy
from serving.store.history.deletions import KINDS

_KEY_FIELDS: dict[str, Schema] = {
    "id": TEXT,
    "tenant": TEXT,
    "user": TEXT,
    "name": TEXT,
    "scopes": list_of({"enum": list(SCOPES)}),
    "confirmed": {"type": "boolean"},
    "created_at": COUNT,
    "expires_at": MAYBE_COUNT,
    "revoked_at": MAYBE_COUNT,
    "last_used_at": MAYBE_COUNT,
    "rotated_to": MAYBE,
}
_KEY = object_of("key", **_KEY_FIELDS)
_NEW_KEY = object_of("key", **_KEY_FIELDS, key=TEXT)
_WEBHOOK_FIELDS: dict[str, Schema] = {
    "id": TEXT,
    "tenant": TEXT,
    "url": TEXT,
    "events": list_of(TEXT),
    "set_by": {"enum": list(get_args(SetBy))},
    "not_sent": COUNT,
    "created_at": COUNT,
}
_WEBHOOK = object_of("webhook", **_WEBHOOK_FIELDS)
_NEW_WEBHOOK = object_of("webhook", **_WEBHOOK_FIELDS, secret=TEXT)

_DELETION = object_of(
    "deletion",
    id=TEXT,
    created_at=COUNT,
    kind={"enum": list(KINDS.values())},
    deleted=COUNT,
    items=MAYBE_COUNT,
    status={"enum": ["begun", "finished"]},
    actor=TEXT,
    event=object_of(None, id=TEXT, hash=TEXT),
)

KEY_ANSWERS: dict[str, Schema] = {
    "admin_keys_create": _NEW_KEY,
    "admin_keys_list_page": page_of(_KEY),
    "admin_keys_get": _KEY,
    "admin_keys_revoke": _KEY,
    "admin_keys_rotate": _NEW_KEY,
    "own_keys_list_page": page_of(_KEY),
    "own_keys_confirm": _KEY,
    "own_keys_revoke": _KEY,
    "own_keys_rotate": _NEW_KEY,
    "own_deletions_list_page": page_of(_DELETION),
    "own_deletions_get": _DELETION,
    "admin_webhooks_create": _NEW_WEBHOOK,
    "admin_webhooks_list_page": page_of(_WEBHOOK),
    "admin_webhooks_get": _WEBHOOK,
    "admin_webhooks_delete": deleted("webhook"),
    "admin_webhooks_rotate": _NEW_WEBHOOK,
}
