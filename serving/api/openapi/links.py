"""OpenAPI links: values of an answer that subsequent requests need.

Source: OpenAPI 3.1, link objects and runtime expressions. Generated clients and stateful tests follow them from an
object's creation to its reading, changing and deletion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serving.api.operation import Operation

_ID = "$response.body#/id"
_ITEM = "$response.body#/data/0/id"

_MAKERS = {
    "chat_create": "completion_id",
    "responses_create": "response_id",
    "batches_create": "batch_id",
    "files_create": "file_id",
    "vector_stores_create": "store_id",
    "assistants_create": "assistant_id",
    "prompts_library_create": "prompt_id",
    "conversations_create": "conversation_id",
    "feedback_create": "feedback_id",
    "memories_create": "memory_id",
    "sharing_shares_create": "share_id",
    "admin_tenants_create": "tenant_id",
    "admin_users_create": "user_id",
    "admin_keys_create": "key_id",
    "admin_webhooks_create": "webhook_id",
    "erasures_create": "erasure_id",
    "hub_evaluations_create": "evaluation_id",
    "hub_releases_create": "release_id",
    "hub_suites_create": "suite_id",
    "hub_datasets_create": "dataset_id",
    "hub_jobs_create": "job_id",
}
"""Operations that create objects, each with the path parameter that identifies the object."""

_FURTHER: Mapping[str, tuple[tuple[str, Mapping[str, str], Mapping[str, Any] | None], ...]] = {
    "models_list_all": (("models_get", {"model": _ITEM}, None),),
    "chat_create": (("feedback_create", {}, {"target": {"type": "response", "id": _ID}}),),
    "responses_create": (
        ("responses_create", {}, {"previous_response_id": _ID}),
        ("feedback_create", {}, {"target": {"type": "response", "id": _ID}}),
    ),
    "conversations_create": (
        ("chat_create", {}, {"conversation": _ID}),
        ("responses_create", {}, {"conversation": _ID}),
        ("sharing_shares_create", {}, {"conversation": _ID}),
        ("feedback_create", {}, {"target": {"type": "session", "id": _ID}}),
    ),
    "conversations_add_items": (
        ("conversations_get_item", {"conversation_id": "$request.path.conversation_id", "item_id": _ITEM}, None),
        ("conversations_delete_item", {"conversation_id": "$request.path.conversation_id", "item_id": _ITEM}, None),
        ("feedback_create", {}, {"target": {"type": "message", "id": _ITEM}}),
    ),
    "prompts_library_create": (
        ("responses_create", {}, {"prompt": {"id": _ID}}),
        ("prompts_versions_get", {"prompt_id": _ID, "version": "$response.body#/version"}, None),
    ),
    "files_create": (("vector_stores_create", {}, {"file_ids": [_ID]}),),
    "vector_stores_create": (
        ("vector_stores_get_file", {"store_id": _ID, "file_id": "$request.body#/file_ids/0"}, None),
        ("vector_stores_detach", {"store_id": _ID, "file_id": "$request.body#/file_ids/0"}, None),
    ),
}
"""Operations, each with subsequent ones, their parameters, and the body fields taken from the answer."""


def links(op: Operation, operations: tuple[Operation, ...]) -> dict[str, Any]:
    """Returns the links of an operation's answer, by name."""
    source = operation_id(op)
    found = list(_FURTHER.get(source, ()))
    if (name := _MAKERS.get(source)) is not None:
        targets = [other for other in operations if path_parameters(other) == [name]]
        found += [(operation_id(target), {name: _ID}, None) for target in targets]
    return {target: _link(target, parameters, body) for target, parameters, body in found}


def operation_id(op: Operation) -> str:
    """Returns an operation's id: its resource and its verb."""
    module = op.handler.__module__.rpartition(".routes.")[2]
    return f"{module.replace('.', '_')}_{op.handler.__name__}"


def path_parameters(op: Operation) -> list[str]:
    """Returns the names of the parameters in an operation's path."""
    return re.findall(r"{(\w+)}", op.path)


def _link(target: str, parameters: Mapping[str, str], body: Mapping[str, Any] | None) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": target}
    if parameters:
        link["parameters"] = dict(parameters)
    if body is not None:
        link["requestBody"] = dict(body)
    return link
