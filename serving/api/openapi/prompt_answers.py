"""JSON Schemas of answers about prompts."""

from __future__ import annotations

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, deleted, list_of, object_of, page_of

_KEPT: dict[str, Schema] = {
    "id": TEXT,
    "created_at": COUNT,
    "updated_at": COUNT,
    "name": TEXT,
    "description": {"type": "string"},
    "version": COUNT,
    "labels": {"type": "object", "additionalProperties": COUNT},
}
_PROMPT = object_of("prompt", **_KEPT, headrace=object_of(None, owner=TEXT))
_IN_LIST = object_of("prompt", **_KEPT, headrace=object_of(None, owner=TEXT, first_line={"type": "string"}))
_FLAG: Schema = {"type": "boolean"}
_LISTED: dict[str, Schema] = {
    "id": TEXT,
    "created_at": COUNT,
    "prompt_id": TEXT,
    "version": COUNT,
    "variables": list_of(TEXT),
    "sha256": TEXT,
    "headrace": object_of(None, author=MAYBE, by_operator=_FLAG, trusted=_FLAG),
}
_VERSION = object_of("prompt.version", **_LISTED, text=TEXT)

PROMPT_ANSWERS: dict[str, Schema] = {
    "prompts_library_create": _PROMPT,
    "prompts_library_list_page": page_of(_IN_LIST),
    "prompts_library_get": _PROMPT,
    "prompts_library_update": _PROMPT,
    "prompts_library_delete": deleted("prompt.deleted"),
    "prompts_library_render": object_of(
        "prompt.rendered", prompt_id=TEXT, version=COUNT, sha256=TEXT, text={"type": "string"}
    ),
    "prompts_versions_add": _VERSION,
    "prompts_versions_list_page": page_of(object_of("prompt.version", **_LISTED)),
    "prompts_versions_get": _VERSION,
    "prompts_labels_put": object_of("prompt.label", prompt_id=TEXT, label=TEXT, version=COUNT, updated_at=COUNT),
    "prompts_labels_delete": object_of("prompt.label.deleted", prompt_id=TEXT, label=TEXT),
}
