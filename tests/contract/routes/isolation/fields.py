"""What a random request to each route says, and which ids it names."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from serving.api.operations import Operation
from tests.contract.routes.isolation.world import EVERYBODYS, MAKES, User


class Draw(random.Random):
    def flip(self) -> bool:
        return self.random() < 0.5


def says(word: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"I say {word}"}]


def attaches(file: str, word: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "file", "file": {"file_id": file}}, {"type": "text", "text": word}]}]


def reads(file: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": file}}]}]


Fields = Callable[[dict[str, str]], dict[str, Any]]


def fields_of(op: Operation, user: User, draw: Draw) -> tuple[dict[str, str], Fields]:
    """Returns the kinds of ids that a request names in its body or query, by place, and what it says with them."""
    kinds, fields = _fields_of(op, user, draw)
    place = {"/v1/memories": "assistant"}.get(op.path, "model")
    if op.method != "POST" or op.path not in NAMING or draw.flip():
        return kinds, fields
    # Anything that is called by a name, whoever may call it.
    own = op.path in ASKING and draw.flip()
    return kinds | {
        place: "own assistant" if own else "model"
    }, lambda ids: fields({k: v for k, v in ids.items() if k != place}) | {place: ids[place]}


NAMING = {
    f"/v1/{name}"
    for name in (
        "chat/completions",
        "responses",
        "responses/input_tokens",
        "messages",
        "messages/count_tokens",
        "completions",
        "embeddings",
        "rerank",
        "memories",
    )
}
"""Routes whose bodies name a model or an assistant."""

ASKING = {
    f"/v1/{name}"
    for name in ("chat/completions", "responses", "responses/input_tokens", "messages", "messages/count_tokens")
}
"""Those of them that an assistant answers."""


def _fields_of(op: Operation, user: User, draw: Draw) -> tuple[dict[str, str], Fields]:
    own, shared = user.own, user.shared
    route = f"{op.method} {op.path}"
    stream = draw.flip()
    if route == "POST /v1/chat/completions":
        base = {
            "model": draw.choice(EVERYBODYS),
            "messages": says(own),
            "store": True,
            "stream": stream,
            "metadata": {"w": own},
        }
        place = draw.choice(["", "conversation", "knowledge", "file"])
        if place == "knowledge":
            return {place: "vector store"}, lambda ids: base | {place: {"vector_store_ids": [ids[place]]}}
        if place == "file":
            return {place: "file"}, lambda ids: base | {"messages": attaches(ids[place], own)}
        return ({place: "conversation"} if place else {}), lambda ids: base | ids
    if route in ("POST /v1/messages", "POST /v1/messages/count_tokens"):
        base = {"model": draw.choice(EVERYBODYS), "messages": says(own), "system": own}
        if op.path == "/v1/messages":
            base |= {"max_tokens": 8, "store": True, "stream": stream}
        place = draw.choice(["", "conversation", "knowledge", "file"])
        if place == "knowledge":
            return {place: "vector store"}, lambda ids: base | {place: {"vector_store_ids": [ids[place]]}}
        if place == "file":
            return {place: "file"}, lambda ids: base | {"messages": reads(ids[place])}
        return ({place: "conversation"} if place else {}), lambda ids: base | ids
    if route == "POST /mcp":
        return _call_of(own, draw)
    if route in ("POST /v1/responses", "POST /v1/responses/input_tokens"):
        base = {"model": draw.choice(EVERYBODYS), "input": f"I say {own}", "metadata": {"w": own}}
        if op.path == "/v1/responses":
            base |= {"stream": stream, "background": draw.flip()}
        else:
            del base["metadata"]
        place = draw.choice(["", "previous_response_id", "conversation", "tools", "prompt"])
        if not place:
            return {}, lambda ids: base
        if place == "prompt":
            return {place: "prompt"}, lambda ids: base | {place: {"id": ids[place]}}
        if place == "tools":
            search = {"type": "file_search"}
            return (
                {place: "vector store"},
                lambda ids: (
                    base
                    | {place: [search | {"vector_store_ids": [ids[place]]}], "include": ["file_search_call.results"]}
                ),
            )
        return {
            place: "response" if place.startswith("previous") else "conversation"
        }, lambda ids: base | {place: ids[place]}
    if route == "POST /v1/batches":
        base = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"w": own}}
        return {"input_file_id": "file"}, lambda ids: base | ids
    if route == "POST /v1/fine_tuning/jobs":
        return {"training_file": "file"}, lambda ids: {"model": "based", "suffix": shared, "metadata": {"w": own}} | ids
    if route == "POST /v1/assistants":
        name = f"a{draw.randrange(10**9)}"
        base = {"name": name, "model": "m", "instructions": shared}
        if draw.flip():
            base["access"] = {"groups": ["g"]}
        if draw.flip():
            return {"store": "vector store"}, lambda ids: base | {"vector_store_ids": [ids["store"]]}
        if draw.flip():
            return {"prompt": "prompt"}, lambda ids: base | {"instructions": "", "prompt": {"id": ids["prompt"]}}
        return {}, lambda ids: base
    if route == "POST /v1/prompts":
        base = {"name": f"p{draw.randrange(10**9)}", "text": shared, "description": shared}
        return {}, lambda ids: base
    if route == "POST /v1/feedback":
        said = {"comment": own, "tags": [own], "thumb": "up"}
        type, kind = draw.choice([("response", "completion"), ("message", "item"), ("session", "conversation")])
        if kind == "completion" and draw.flip():
            return (
                {"target": kind, "rejected": kind},
                lambda ids: (
                    said
                    | {
                        "target": {"type": type, "id": ids["target"]},
                        "rejected": ids["rejected"],
                    }
                ),
            )
        return {"target": kind}, lambda ids: said | {"target": {"type": type, "id": ids["target"]}}
    if route == "POST /v1/files":
        form = {"purpose": draw.choice(["assistants", "batch", "fine-tune"]), "text": shared}
        if draw.flip():
            return {}, lambda ids: form | {"access": '{"groups": ["g"]}'}
        return {}, lambda ids: form if stream else {"purpose": "assistants", "text": own, "access": "{}"}
    if route == "POST /v1/vector_stores":
        accesses: list[tuple[str, dict[str, Any]]] = [
            (own, {"access": {}}),
            (shared, {}),
            (shared, {"access": {"groups": ["g"]}}),
        ]
        word, access = draw.choice(accesses)
        base = {"name": word, "metadata": {"w": word}} | access
        return ({"file": "file"}, lambda ids: base | {"file_ids": [ids["file"]]}) if stream else ({}, lambda ids: base)
    if route == "POST /v1/vector_stores/{store_id}/files":
        return {"file": "file"}, lambda ids: {"file_id": ids["file"], "attributes": {"w": shared}}
    if route == "POST /v1/vector_stores/{store_id}/file_batches":
        said = {"attributes": {"w": shared}}
        if stream:
            return {"file": "file"}, lambda ids: said | {"file_ids": [ids["file"]]}
        return {"file": "file"}, lambda ids: {"files": [said | {"file_id": ids["file"]}]}
    if route in ("POST /v1/admin/users", "POST /v1/admin/tenants"):
        name = f"made{draw.randint(0, 10**6)}{user.tenant}"
        return {}, lambda ids: {"id": name} | ({"groups": [shared]} if op.path.endswith("users") else {"name": shared})
    if route == "DELETE /v1/admin/quotas":
        return {"quota_id": "quota"}, lambda ids: {"quota_id": ids["quota_id"]}
    if route == "POST /v1/hub/evaluations":
        return {"suite": "suite"}, lambda ids: {"model": "m"} | ids
    if route == "POST /v1/hub/releases":
        tenant = draw.choice(["t0", "t1", user.tenant])
        return {}, lambda ids: {"alias": f"managedonlyof{tenant}", "target": f"modelonlyof{tenant}"}
    if route == "POST /v1/conversations/{conversation_id}/fork":
        place = draw.choice(["after", "before"])
        return {place: "item"}, lambda ids: {place: ids[place]}
    if route == "POST /v1/shares":
        base = {"expires_in_s": draw.choice([60, 86_400])}
        if draw.flip():
            return {"conversation": "conversation"}, lambda ids: base | ids
        return {"conversation": "conversation", "until": "item"}, lambda ids: base | ids
    if op.method == "GET":
        names = {parameter.name for parameter in op.query}
        kinds = {}
        if "after" in names and op.path not in NUMBERED and draw.flip():
            kinds["after"] = KIND_OF_LIST.get(op.path, "item")
        if "target" in names and draw.flip():
            kinds["target"] = draw.choice(["completion", "conversation", "item"])
        if "conversation" in names and draw.flip():
            kinds["conversation"] = "conversation"
        if "model" in names and draw.flip():
            kinds["model"] = "model"
        return kinds, lambda ids: {name: ids[name] for name in kinds}
    said = SAID.get(route)
    assert said is not None or (op.body is None and op.upload is None), f"say in SAID what a request to {route} can be"
    made = said(own, shared) if said is not None else {}
    return {}, lambda ids: made


def _call_of(own: str, draw: Draw) -> tuple[dict[str, str], Fields]:
    """A call of a tool by the Model Context Protocol, with an id among its arguments if it takes one."""
    name, kinds, arguments = draw.choice(CALLS)
    said = dict.fromkeys(arguments, own)
    if name == "ask":
        said["model"] = draw.choice(EVERYBODYS)

    def fields(ids: dict[str, str]) -> dict[str, Any]:
        named = {place: [id] if place.endswith("_ids") else id for place, id in ids.items()}
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": said | named}}

    return kinds, fields


CALLS: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("ask", {}, ("question",)),
    ("ask", {"model": "model"}, ("question",)),
    ("ask", {"model": "own assistant"}, ("question",)),
    ("ask", {"vector_store_ids": "vector store"}, ("question",)),
    ("search", {"vector_store_id": "vector store"}, ("query",)),
    ("list_models", {}, ()),
    ("list_vector_stores", {}, ()),
    ("list_vector_stores", {"after": "vector store"}, ()),
    ("list_files", {"after": "file"}, ()),
    ("read_file", {"file_id": "file"}, ()),
    ("list_memories", {"after": "memory"}, ()),
    ("list_memories", {"assistant": "model"}, ()),
    ("add_memory", {"assistant": "model"}, ("text",)),
    ("update_memory", {"memory_id": "memory"}, ("text",)),
    ("delete_memory", {"memory_id": "memory"}, ()),
)
"""Tools, the kinds of ids among their arguments, and the arguments that say the user's own word."""

NUMBERED = {"/v1/admin/audit", "/v1/vector_stores/{store_id}/files/{file_id}/chunks"}
"""Lists whose objects have numbers, which no request makes."""

KIND_OF_LIST = {path: kind for path, kind in MAKES.items() if kind != "item"}

SAID: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "POST /v1/chat/completions/{completion_id}": lambda own, shared: {"metadata": {"w": own}},
    "POST /v1/completions": lambda own, shared: {"model": "m", "prompt": own},
    "POST /v1/embeddings": lambda own, shared: {"model": "all-minilm-l6-v2", "input": own},
    "POST /v1/rerank": lambda own, shared: {"model": "ranks", "query": own, "documents": [own]},
    "POST /v1/vector_stores/{store_id}": lambda own, shared: {"name": shared, "metadata": {"w": shared}},
    "POST /v1/vector_stores/{store_id}/files/{file_id}": lambda own, shared: {"attributes": {"w": shared}},
    "POST /v1/vector_stores/{store_id}/search": lambda own, shared: {"query": own},
    "POST /v1/conversations": lambda own, shared: {"metadata": {"w": own}, "items": says(own)},
    "POST /v1/conversations/{conversation_id}": lambda own, shared: {
        "metadata": {"w": own},
        "headrace": {"title": own},
    },
    "POST /v1/conversations/{conversation_id}/items": lambda own, shared: {"items": says(own)},
    "POST /v1/assistants/{assistant_id}": lambda own, shared: {"version": 1},
    "POST /v1/assistants/{assistant_id}/versions": lambda own, shared: {"model": "m", "instructions": shared},
    "POST /v1/prompts/{prompt_id}": lambda own, shared: {"description": shared},
    "POST /v1/prompts/{prompt_id}/versions": lambda own, shared: {"text": shared},
    "POST /v1/prompts/{prompt_id}/render": lambda own, shared: {},
    "PUT /v1/prompts/{prompt_id}/labels/{label}": lambda own, shared: {"version": 1},
    "POST /v1/memories": lambda own, shared: {"assistant": "facts", "text": own},
    "POST /v1/memories/{memory_id}": lambda own, shared: {"text": f"{own} still"},
    "POST /v1/admin/tenants/{tenant_id}": lambda own, shared: {"name": shared},
    "POST /v1/admin/users/{user_id}": lambda own, shared: {"groups": [shared]},
    "POST /v1/admin/keys": lambda own, shared: {"user": "u0", "name": shared},
    "POST /v1/admin/webhooks": lambda own, shared: {
        "url": f"https://{shared}.example/",
        "events": ["response.completed"],
    },
    "POST /v1/admin/webhooks/{webhook_id}/rotate": lambda own, shared: {"overlap_s": 0},
    "POST /v1/admin/keys/{key_id}/rotate": lambda own, shared: {"overlap_s": 0},
    "POST /v1/me/keys/{key_id}/rotate": lambda own, shared: {"overlap_s": 0},
    "PUT /v1/admin/quotas": lambda own, shared: {
        "quotas": [{"subject": "user", "id": "u0", "window": "day", "measure": "requests", "limit": 10**9}]
    },
    "POST /v1/hub/datasets": lambda own, shared: {"assistant": shared, "redact": False},
    "POST /v1/hub/jobs": lambda own, shared: {"method": "quantise", "base": "based", "name": shared},
    "POST /v1/hub/versions": lambda own, shared: {"name": shared, "base": "based"},
    "POST /v1/hub/versions/{version_id}/retire": lambda own, shared: {"reason": shared},
    # No tenant of the campaign: those who may use a version see its name.
    "POST /v1/hub/versions/{version_id}/consents": lambda own, shared: {"tenant": f"x{shared}"},
    "POST /v1/hub/versions/{version_id}/consents/revoke": lambda own, shared: {"tenant": f"x{shared}"},
    "POST /v1/hub/suites": lambda own, shared: {
        "name": shared,
        "prompts": [{"id": "p", "messages": shared, "checks": [{"kind": "length", "max_characters": 9}]}],
    },
    **{
        f"POST /v1/hub/releases/{{release_id}}/{change}": lambda own, shared: {}
        for change in ("pause", "resume", "promote", "rollback")
    },
    "POST /v1/admin/erasures": lambda own, shared: {"user": "u0", "dry_run": True},
}
"""What is said to other routes, with the word of the user's own and that of its tenant."""
