"""JSON Schemas of answers for the OpenAPI document.

Clients must expect additional fields. Of parts that engines produce (choices, usage), only what the API itself
guarantees is described.
"""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.console_answers import CONSOLE_ANSWERS
from serving.api.openapi.hub_answers import HUB_ANSWERS
from serving.api.openapi.key_answers import KEY_ANSWERS
from serving.api.openapi.links import operation_id
from serving.api.openapi.prompt_answers import PROMPT_ANSWERS
from serving.api.openapi.schemas import ANY as _ANY
from serving.api.openapi.schemas import COUNT as _COUNT
from serving.api.openapi.schemas import MAYBE as _MAYBE
from serving.api.openapi.schemas import METADATA as _METADATA
from serving.api.openapi.schemas import TEXT as _TEXT
from serving.api.openapi.schemas import YES as _YES
from serving.api.openapi.schemas import Schema
from serving.api.openapi.schemas import deleted as _deleted
from serving.api.openapi.schemas import list_of as _list
from serving.api.openapi.schemas import object_of as _object
from serving.api.openapi.schemas import page_of as _page
from serving.api.openapi.share_answers import SHARE_ANSWERS
from serving.api.openapi.tuning_answers import TUNING_ANSWERS
from serving.api.openapi.vector_store_answers import VECTOR_STORE_ANSWERS
from serving.api.openapi.version_answers import VERSION_ANSWERS
from serving.api.operation import Operation
from serving.config import Measure, Subject, Window
from serving.core.principal import ROLES
from serving.quotas.quota import SetBy
from serving.store.background.batches import BatchStatus

_MODEL = _object("model", id=_TEXT, created=_COUNT, owned_by=_TEXT)
_CHOICES = _list({"type": "object"})
_CHAT = _object("chat.completion", id=_TEXT, model=_TEXT, choices=_CHOICES)
_MESSAGE: Schema = {
    "type": "object",
    "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
    "properties": {
        "id": _TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": _TEXT,
        "content": _list(_object(None, type={"enum": ["text", "thinking", "tool_use"]})),
        "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]},
        "usage": {"type": "object"},
    },
}
_STORED = _object("chat.completion", id=_TEXT, created=_COUNT, model=_TEXT, choices=_CHOICES, metadata=_METADATA)
_RESPONSE = _object(
    "response",
    id=_TEXT,
    created_at=_COUNT,
    status={"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
    model=_TEXT,
    output=_list(_object(None, id=_TEXT, type=_TEXT)),
    previous_response_id=_MAYBE,
    metadata=_METADATA,
)
_ITEMS = ["message", "function_call", "function_call_output", "reasoning", "file_search_call"]
_ITEM = _object(None, id=_TEXT, type={"enum": _ITEMS})
_BATCH = _object(
    "batch",
    id=_TEXT,
    endpoint=_TEXT,
    input_file_id=_TEXT,
    status={"enum": list(get_args(BatchStatus))},
    output_file_id=_MAYBE,
    error_file_id=_MAYBE,
    created_at=_COUNT,
    expires_at=_COUNT,
    request_counts=_object(None, total=_COUNT, completed=_COUNT, failed=_COUNT),
    metadata=_METADATA,
)
_FILE = _object("file", id=_TEXT, bytes=_COUNT, created_at=_COUNT, filename=_TEXT, purpose=_TEXT, status=_TEXT)
_ASSISTANT_FIELDS: dict[str, Schema] = {
    "id": _TEXT,
    "created_at": _COUNT,
    "version": _COUNT,
    "model": _TEXT,
    "instructions": _TEXT,
    "vector_store_ids": _list(_TEXT),
}
_ASSISTANT = _object("assistant", name=_TEXT, **_ASSISTANT_FIELDS)
_ASSISTANT_VERSION = _object("assistant.version", assistant_id=_TEXT, **_ASSISTANT_FIELDS)
_FLAG: Schema = {"type": "boolean"}
_CONVERSATION = _object(
    "conversation",
    id=_TEXT,
    created_at=_COUNT,
    metadata=_METADATA,
    headrace=_object(
        None,
        title={"type": "string"},
        pinned=_FLAG,
        archived=_FLAG,
        last_active_at=_COUNT,
        items=_COUNT,
        model=_MAYBE,
        forked_from=_MAYBE,
    ),
)
_NAMED: Schema = {"type": "string"}
_BRANCH = _object("conversation.branch", id=_TEXT, created_at=_COUNT, title=_NAMED, forked_from=_MAYBE, shared=_COUNT)
_FEEDBACK = _object(
    "feedback",
    id=_TEXT,
    created_at=_COUNT,
    target=_object(None, type={"enum": ["response", "message", "session"]}, id=_TEXT),
    thumb={"enum": ["up", "down", None]},
    score={"type": ["number", "null"], "minimum": 0, "maximum": 1},
    tags=_list(_TEXT),
    comment=_MAYBE,
    correction=_MAYBE,
    rejected=_MAYBE,
    consent={"type": "boolean"},
)
_MEMORY = _object(
    "memory", id=_TEXT, created_at=_COUNT, assistant=_TEXT, text=_TEXT, made_by={"enum": ["model", "user"]}
)
_TENANT = _object("tenant", id=_TEXT, name=_TEXT, created_at=_COUNT, disabled={"type": "boolean"})
_ROLE: Schema = {"enum": list(ROLES)}
_USER = _object(
    "user", id=_TEXT, tenant=_TEXT, role=_ROLE, groups=_list(_TEXT), created_at=_COUNT, disabled={"type": "boolean"}
)
_SESSION = _object(
    "session",
    id=_TEXT,
    tenant=_TEXT,
    user=_TEXT,
    role=_ROLE,
    groups=_list(_TEXT),
    scopes=_list(_TEXT),
    expires_at=_COUNT,
    csrf_token=_TEXT,
)
_QUOTA = _object(
    "quota",
    quota_id=_TEXT,
    subject={"enum": list(get_args(Subject))},
    id=_TEXT,
    window={"enum": list(get_args(Window))},
    measure={"enum": list(get_args(Measure))},
    currency=_MAYBE,
    limit={"type": ["integer", "string"]},
    set_by={"enum": list(get_args(SetBy))},
    used={"type": ["integer", "string", "null"]},
    reserved={"type": ["integer", "string", "null"]},
    resets_at=_MAYBE,
)
_USAGE = _object(
    "usage",
    id=_TEXT,
    requests=_COUNT,
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    cost=_list(_object(None, amount=_TEXT, currency=_TEXT)),
)
_OWN_USAGE: Schema = {
    **_page(_USAGE),
    "required": [*_page(_USAGE)["required"], "quotas"],
    "properties": {**_page(_USAGE)["properties"], "quotas": _list(_QUOTA)},
}

_EVENT = _object(
    "audit.event",
    id=_TEXT,
    created_at=_COUNT,
    action=_TEXT,
    outcome=_TEXT,
    actor=_MAYBE,
    key_id=_MAYBE,
    target=_MAYBE,
    subject=_MAYBE,
    request_id=_MAYBE,
    detail={"type": "object"},
    hash=_TEXT,
)

_ERASURE = _object(
    "erasure",
    id=_TEXT,
    created_at=_COUNT,
    finished_at={"type": ["integer", "null"]},
    user=_MAYBE,
    subject=_MAYBE,
    dry_run={"type": "boolean"},
    status={"enum": ["queued", "running", "succeeded", "failed", "cancelled"]},
    step=_TEXT,
    counts={"type": ["object", "null"], "additionalProperties": _COUNT},
    error=_MAYBE,
)

_ANSWERS: dict[str, Schema] = {
    "models_list_all": _object("list", data=_list(_MODEL)),
    "models_get": _MODEL,
    "chat_create": _CHAT,
    "mcp_messages_answer": {
        **_object(None, id=_ANY),
        "properties": {"jsonrpc": {"const": "2.0"}, "result": {"type": "object"}},
    },
    "anthropic_messages_create": _MESSAGE,
    "anthropic_messages_count_tokens": _object(None, input_tokens=_COUNT),
    "stored_completions_list_page": _page(_STORED),
    "stored_completions_get": _STORED,
    "stored_completions_update": _STORED,
    "stored_completions_delete": _deleted("chat.completion.deleted"),
    "stored_completions_list_messages": _page(_object(None, id=_TEXT, role=_TEXT)),
    "batches_create": _BATCH,
    "batches_list_page": _page(_BATCH),
    "batches_get": _BATCH,
    "batches_cancel": _BATCH,
    "responses_create": _RESPONSE,
    "responses_count_input": _object("response.input_tokens", input_tokens=_COUNT),
    "responses_get": _RESPONSE,
    "responses_cancel": _RESPONSE,
    "responses_delete": _deleted("response"),
    "responses_list_input": _page(_ITEM),
    "streams_stop": _object("stream", id=_TEXT, stopped=_YES),
    "streams_cancel": _deleted("stream"),
    "sign_in_providers": _object("list", data=_list(_object(None, name=_TEXT, label=_TEXT)), key={"type": "boolean"}),
    "sign_in_key": _SESSION,
    "sign_in_make_code": _object("sign_in_code", id=_TEXT, code=_TEXT, path=_TEXT, expires_at=_COUNT),
    "sign_in_use_code": _SESSION,
    "sign_in_session": _SESSION,
    "sign_in_sessions": _object(
        "list",
        data=_list(
            _object(
                "session",
                id=_TEXT,
                provider=_MAYBE,
                created_at=_COUNT,
                last_used_at=_COUNT,
                expires_at=_COUNT,
                current={"type": "boolean"},
            )
        ),
    ),
    "sign_in_end_session": _object("session", id=_TEXT, deleted=_YES),
    "sign_in_logout": _object("session", id=_TEXT, deleted=_YES, provider_url=_MAYBE),
    "completions_create": _object(None, id=_TEXT, model=_TEXT, choices=_CHOICES),
    "embeddings_create": _object("list", model=_TEXT, data=_list(_object("embedding", index=_COUNT, embedding=_ANY))),
    "rerank_create": _object(
        None,
        id=_TEXT,
        model=_TEXT,
        results=_list(_object(None, index=_COUNT, relevance_score={"type": "number"})),
    ),
    "files_create": _FILE,
    "files_list_page": _page(_FILE),
    "files_get": _FILE,
    "files_delete": _deleted("file"),
    "files_text": _object(
        "file.text",
        id=_TEXT,
        filename=_TEXT,
        text=_TEXT,
        start=_COUNT,
        end=_COUNT,
        length=_COUNT,
        title=_TEXT,
        page={"type": ["integer", "null"]},
    ),
    "assistants_create": _ASSISTANT,
    "assistants_list_page": _page(_ASSISTANT),
    "assistants_get": _ASSISTANT,
    "assistants_update": _ASSISTANT,
    "assistants_delete": _deleted("assistant.deleted"),
    "assistants_add_version": _ASSISTANT_VERSION,
    "assistants_list_versions": _page(_ASSISTANT_VERSION),
    "conversations_create": _CONVERSATION,
    "conversations_list_page": _page(_CONVERSATION),
    "conversations_delete_all": _object("conversations.deleted", id=_MAYBE, deleted=_COUNT),
    "conversations_fork": _CONVERSATION,
    "conversations_branches": _object("list", data=_list(_BRANCH)),
    "conversations_get": _CONVERSATION,
    "conversations_update": _CONVERSATION,
    "conversations_delete": _deleted("conversation.deleted"),
    "conversations_add_items": _page(_ITEM),
    "conversations_list_items": _page(_ITEM),
    "conversations_get_item": _ITEM,
    "conversations_delete_item": _CONVERSATION,
    "feedback_create": _FEEDBACK,
    "feedback_list_page": _page(_FEEDBACK),
    "feedback_get": _FEEDBACK,
    "feedback_delete": _deleted("feedback.deleted"),
    "memories_create": _MEMORY,
    "memories_list_page": _page(_MEMORY),
    "memories_update": _MEMORY,
    "memories_delete_all": _object("memories.deleted", id=_MAYBE, deleted=_COUNT),
    "memories_delete": _deleted("memory.deleted"),
    "me_get": _object(
        "me",
        id=_TEXT,
        tenant=_TEXT,
        role=_ROLE,
        groups=_list(_TEXT),
        scopes=_list(_TEXT),
        key_id=_TEXT,
        confirmed={"type": "boolean"},
        headrace=_object(
            None,
            limits=_object(None, upload_bytes=_COUNT, characters=_COUNT, messages=_COUNT, file_kinds=_list(_TEXT)),
            capture=_TEXT,
            retention={"type": "object"},
        ),
    ),
    "admin_tenants_create": _TENANT,
    "admin_tenants_list_page": _page(_TENANT),
    "admin_tenants_get": _TENANT,
    "admin_tenants_update": _TENANT,
    "admin_users_create": _USER,
    "admin_users_list_page": _page(_USER),
    "admin_users_get": _USER,
    "admin_users_update": _USER,
    "usage_own": _OWN_USAGE,
    "usage_of_all": _page(_USAGE),
    "quotas_list_page": _page(_QUOTA),
    "quotas_put": _object("list", data=_list(_QUOTA)),
    "quotas_delete": _deleted("quota.deleted"),
    "erasures_create": _ERASURE,
    "erasures_list_page": _page(_ERASURE),
    "erasures_get": _ERASURE,
    "audit_list_page": _page(_EVENT),
    "audit_verify": _object(
        "audit.verification",
        valid={"type": "boolean"},
        events=_COUNT,
        unchecked=_COUNT,
        last=_object(None, seq=_COUNT, hash=_TEXT),
        problems=_list(_object(None, seq=_COUNT, message=_TEXT)),
    ),
}


def answer_schema(op: Operation) -> Schema:
    """Returns the schema of an operation's JSON answer; without a definition it allows anything."""
    id = operation_id(op)
    hub = (VERSION_ANSWERS, HUB_ANSWERS, TUNING_ANSWERS)
    further = (CONSOLE_ANSWERS, KEY_ANSWERS, VECTOR_STORE_ANSWERS, *hub, PROMPT_ANSWERS, SHARE_ANSWERS)
    return next((found[id] for found in (_ANSWERS, *further) if id in found), {})
