"""The table of OpenAI's and Anthropic's fields: complete by their own packages, and true of what the API takes."""

from __future__ import annotations

import re
from importlib import import_module
from typing import get_type_hints

import pytest

from serving.api.openai_parameters import NOT_ACTED_UPON
from serving.api.operations import OPERATIONS
from serving.protocol.errors import ApiError
from serving.protocol.parts import Body, Ignored, Refused
from serving.protocol.validation import validate
from tools.reference import compatibility

OPENAIS = {
    "POST /v1/chat/completions": "chat.completion_create_params.CompletionCreateParamsStreaming",
    "GET /v1/chat/completions": "chat.completion_list_params.CompletionListParams",
    "POST /v1/chat/completions/{completion_id}": "chat.completion_update_params.CompletionUpdateParams",
    "GET /v1/chat/completions/{completion_id}/messages": "chat.completions.message_list_params.MessageListParams",
    "POST /v1/responses": "responses.response_create_params.ResponseCreateParamsStreaming",
    "POST /v1/responses/input_tokens": "responses.input_token_count_params.InputTokenCountParams",
    "GET /v1/responses/{response_id}": "responses.response_retrieve_params.ResponseRetrieveParamsStreaming",
    "GET /v1/responses/{response_id}/input_items": "responses.input_item_list_params.InputItemListParams",
    "POST /v1/completions": "completion_create_params.CompletionCreateParamsStreaming",
    "POST /v1/embeddings": "embedding_create_params.EmbeddingCreateParams",
    "POST /v1/files": "file_create_params.FileCreateParams",
    "POST /v1/batches": "batch_create_params.BatchCreateParams",
    "GET /v1/batches": "batch_list_params.BatchListParams",
    "POST /v1/fine_tuning/jobs": "fine_tuning.job_create_params.JobCreateParams",
    "GET /v1/fine_tuning/jobs": "fine_tuning.job_list_params.JobListParams",
    "GET /v1/fine_tuning/jobs/{job_id}/events": "fine_tuning.job_list_events_params.JobListEventsParams",
    "GET /v1/files": "file_list_params.FileListParams",
    "POST /v1/vector_stores": "vector_store_create_params.VectorStoreCreateParams",
    "GET /v1/vector_stores": "vector_store_list_params.VectorStoreListParams",
    "POST /v1/vector_stores/{store_id}": "vector_store_update_params.VectorStoreUpdateParams",
    "POST /v1/vector_stores/{store_id}/search": "vector_store_search_params.VectorStoreSearchParams",
    "POST /v1/vector_stores/{store_id}/files": "vector_stores.file_create_params.FileCreateParams",
    "GET /v1/vector_stores/{store_id}/files": "vector_stores.file_list_params.FileListParams",
    "POST /v1/vector_stores/{store_id}/files/{file_id}": "vector_stores.file_update_params.FileUpdateParams",
    "POST /v1/vector_stores/{store_id}/file_batches": "vector_stores.file_batch_create_params.FileBatchCreateParams",
    "GET /v1/vector_stores/{store_id}/file_batches/{file_batch_id}/files": (
        "vector_stores.file_batch_list_files_params.FileBatchListFilesParams"
    ),
    "POST /v1/conversations": "conversations.conversation_create_params.ConversationCreateParams",
    "POST /v1/conversations/{conversation_id}": "conversations.conversation_update_params.ConversationUpdateParams",
    "POST /v1/conversations/{conversation_id}/items": "conversations.item_create_params.ItemCreateParams",
    "GET /v1/conversations/{conversation_id}/items": "conversations.item_list_params.ItemListParams",
    "GET /v1/conversations/{conversation_id}/items/{item_id}": "conversations.item_retrieve_params.ItemRetrieveParams",
}
"""OpenAI's typed parameters of each route that has some."""

ANTHROPICS = {
    "POST /v1/messages": "message_create_params.MessageCreateParamsStreaming",
    "POST /v1/messages/count_tokens": "message_count_tokens_params.MessageCountTokensParams",
}
"""Anthropic's."""

ELSEWHERE = {"vector_store_id", "conversation_id", "response_id", "user_profile_id", "workspace_id"}
"""Parameters that are parts of paths, or headers."""

BEYOND = {
    "GET /v1/vector_stores": {"name"},
    "POST /v1/messages": {"temperature", "top_p", "top_k"},
    "POST /v1/responses": {"personality"},
    "POST /v1/responses/input_tokens": set(
        compatibility.fields(next(op for op in OPERATIONS if op.body is not None and op.path == "/v1/responses"))
    ),
}
"""What else these take: the input of a response is counted from the response's whole request, and older clients of
Anthropic set the sampling.
"""


def test_each_field_of_openai_and_anthropic_is_listed_once() -> None:
    found = dict(compatibility.routes())
    typed = {route: f"openai.types.{params}" for route, params in OPENAIS.items()}
    typed |= {route: f"anthropic.types.{params}" for route, params in ANTHROPICS.items()}
    assert set(found) == set(typed)
    for route, params in typed.items():
        module, _, name = params.rpartition(".")
        fields = set(get_type_hints(getattr(import_module(module), name))) - ELSEWHERE
        assert fields <= set(found[route]), f"{route}: say what becomes of {fields - set(found[route])}"
        beyond = set(found[route]) - fields - BEYOND.get(route, set())
        assert beyond == set(), f"{route}: these are no fields of its client"


def test_listed_routes_exist() -> None:
    assert set(NOT_ACTED_UPON) <= {f"{op.method} {op.path}" for op in OPERATIONS}


def _marked() -> list[tuple[type[Body], str]]:
    models = {model for model in _subclasses(Body) if model.__module__.startswith("serving.protocol.")}
    return [
        (model, name)
        for model in sorted(models, key=lambda each: each.__name__)
        for name, info in model.model_fields.items()
        if any(isinstance(mark, Refused) for mark in info.metadata)
    ]


def _subclasses(model: type[Body]) -> set[type[Body]]:
    return {model}.union(*(_subclasses(each) for each in model.__subclasses__()))


@pytest.mark.parametrize(("model", "field"), _marked(), ids=lambda value: getattr(value, "__name__", value))
def test_rejected_fields_are_explained_and_null_is_accepted(model: type[Body], field: str) -> None:
    (mark,) = (mark for mark in model.model_fields[field].metadata if isinstance(mark, Refused))
    with pytest.raises(ApiError, match=re.escape(mark.why)) as refused:
        validate(_alone(model, field), {field: {"any": "thing"}})
    assert refused.value.param == field
    validate(_alone(model, field), {field: None})


def _alone(model: type[Body], field: str) -> type[Body]:
    """Returns a model of one field."""
    info = model.model_fields[field]
    return type("Alone", (Body,), {"__annotations__": {field: info.rebuild_annotation()}, field: None})


def test_ignored_fields_accept_any_value() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    (op,) = (op for op in OPERATIONS if op.method == "POST" and op.path == "/v1/chat/completions")
    ignored = [name for name, mark in compatibility.fields(op).items() if isinstance(mark, Ignored)]
    assert {"prediction", "prompt_cache_key", "safety_identifier"} <= set(ignored)
    assert op.body is not None
    validate(op.body, chat | dict.fromkeys(ignored, "default"))
