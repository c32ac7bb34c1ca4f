"""Attacks by requests: for each operation with a body, what small and valid bodies could make grow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from safetensors.numpy import save

from serving.store.background.webhooks import MAX_WEBHOOKS
from tests.contract.campaigns.amplification.measuring import Platform
from tests.hub.adapters import SETTINGS, tensors

FULL = {f"{n:02}" + "k" * 62: "\u0001" * 512 for n in range(16)}
"""Metadata of the greatest size, of characters that JSON writes with six."""

NAMES = [f"{n:03}" + "g" * 200 for n in range(100)]
ACCESS = {"users": NAMES, "groups": NAMES}
NAMED = 8_000
"""How often an attack makes a file batch repeat a name, within the limit of what is repeated."""

ITEMS = [{"role": "user", "content": ""}] * 20
LONG = "\u0001" * 20_000
REPEATED = [{"role": "user", "content": LONG}] * 5


_IDS = [f"c{n}" for n in range(20)]
CALLED = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {}} for id in _IDS]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id} for id in _IDS]},
]
"""Calls and their empty results: each becomes a message of the chat."""


@dataclass
class World:
    """What attacks name, made before they begin."""

    platform: Platform
    conversation: str = ""
    growing: str = ""
    item: str = ""
    completion: str = ""
    store: str = ""
    file: str = ""
    files: tuple[str, ...] = ()
    assistant: str = ""
    prompt: str = ""
    memory: str = ""
    tenant: str = ""
    user: str = ""
    webhook: str = ""
    suite: str = ""

    @property
    def http(self) -> httpx.Client:
        return self.platform.http

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Returns the answer to what must succeed."""
        answer = self.http.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def upload(self, name: str, content: bytes, purpose: str = "assistants") -> str:
        """Returns the id of an uploaded file."""
        answer = self.http.post("/v1/files", data={"purpose": purpose}, files={"file": (name, content)})
        assert answer.is_success, answer.text[:500]
        return str(answer.json()["id"])


def world(platform: Platform, files: int) -> World:
    """Makes what the attacks name; `files` is the number of files that one of them attaches."""
    made = World(platform)
    made.conversation = made.post("/v1/conversations", {"items": REPEATED})["id"]
    made.growing = made.post("/v1/conversations", {})["id"]
    made.item = made.http.get(f"/v1/conversations/{made.conversation}/items").json()["data"][0]["id"]
    made.completion = made.post("/v1/chat/completions", chat(store=True))["id"]
    made.store = made.post("/v1/vector_stores", {"name": "s"})["id"]
    made.file = made.upload("heron.md", b"# Heron\n\nThe heron stands still.\n")
    made.files = tuple(made.upload(f"{n}.md", b"Heron number %d.\n" % n) for n in range(files))
    made.post(f"/v1/vector_stores/{made.store}/files", {"file_id": made.file})
    full = {"name": "first", "model": "m", "instructions": LONG[:15_000], "description": "d" * 2000}
    made.assistant = made.post("/v1/assistants", full)["id"]
    made.prompt = made.post("/v1/prompts", {"name": "first", "text": "{{a}}" * 1_000})["id"]
    made.memory = made.post("/v1/memories", {"assistant": "facts", "text": "Likes herons."})["id"]
    made.tenant = made.post("/v1/admin/tenants", {"id": "other"})["id"]
    made.user = made.post("/v1/admin/users", {"id": "ann"})["id"]
    events = ["response.completed", "response.failed", "batch.completed", "batch.failed"]
    hooks = [{"url": "https://127.0.0.1:9/", "events": events} for _ in range(MAX_WEBHOOKS)]
    made.webhook, *_ = [made.post("/v1/admin/webhooks", each)["id"] for each in hooks]
    made.suite = made.post("/v1/hub/suites", suite("whole", 20))["id"]
    return made


def chat(size: int = 1, **more: Any) -> dict[str, Any]:
    """A chat whose question has so many characters."""
    return {"model": "m", "messages": [{"role": "user", "content": "x" * size}]} | more


def message(messages: Sequence[dict[str, Any]] = ({"role": "user", "content": "x"},), **more: Any) -> dict[str, Any]:
    """A message in Anthropic's shape."""
    return {"model": "m", "messages": messages} | more


def called(name: str, **arguments: Any) -> dict[str, Any]:
    """A call of a tool by the Model Context Protocol."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def suite(name: str, prompts: int) -> dict[str, Any]:
    """A suite whose prompts have one word and one check."""
    check = {"kind": "length", "max_characters": 9}
    return {"name": name, "prompts": [{"id": f"p{n}", "messages": "x", "checks": [check]} for n in range(prompts)]}


Attack = Callable[[World, int], httpx.Response]
"""Sends one or more requests, different for each number, and returns the last answer."""


def says(path: str, body: Callable[[World, int], dict[str, Any]], method: str = "POST") -> Attack:
    """An attack of one request: fields of the world stand in its path."""

    def send(of: World, n: int) -> httpx.Response:
        return of.http.request(method, path.format(w=of, n=n), json=body(of, n))

    return send


def line(endpoint: str, body: dict[str, Any]) -> bytes:
    """A batch's input of one line."""
    return json.dumps({"custom_id": "1", "method": "POST", "url": endpoint, "body": body}).encode()


def batch(endpoint: str, body: dict[str, Any], lines: int = 1) -> Attack:
    """An attack by a batch, with the upload of its input."""

    def send(of: World, n: int) -> httpx.Response:
        text = b"\n".join(line(endpoint, body).replace(b'"1"', b'"%d"' % at, 1) for at in range(lines))
        file = of.upload("in.jsonl", text, "batch")
        asked = {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"}
        return of.http.post("/v1/batches", json=asked)

    return send


def attach_all(of: World, n: int) -> httpx.Response:
    """Puts all files into a new vector store, with the longest list and attributes."""
    store = of.http.post("/v1/vector_stores", json={"name": f"all {n}"}).json()["id"]
    names = NAMES[: NAMED // len(of.files)]
    body = {"file_ids": list(of.files), "access": {"users": names, "groups": names}}
    body |= {"attributes": FULL} if len(names) == len(NAMES) else {}
    return of.http.post(f"/v1/vector_stores/{store}/file_batches", json=body)


def adapter(of: World, n: int) -> httpx.Response:
    """Registers an adapter."""
    files = {"weights": ("a.safetensors", save(tensors())), "config": ("a.json", json.dumps(SETTINGS).encode())}
    return of.http.post("/v1/hub/versions", data={"name": "v", "base": "based"}, files=files)


def retire(of: World, n: int) -> httpx.Response:
    """Registers an adapter and retires it for a long reason."""
    made = adapter(of, n).json()["id"]
    return of.http.post(f"/v1/hub/versions/{made}/retire", json={"reason": "\u0001" * 2000})


def tune(of: World, n: int) -> httpx.Response:
    """Begins a tuning job with the smallest training file."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    file = of.upload("rows.jsonl", json.dumps(row).encode(), "fine-tune")
    return of.http.post("/v1/fine_tuning/jobs", json={"model": "based", "training_file": file})


def consent(change: str) -> Attack:
    """Registers an adapter, lets a tenant with a long name call it, and changes that."""

    def send(of: World, n: int) -> httpx.Response:
        url = f"/v1/hub/versions/{adapter(of, n).json()['id']}/consents"
        made = of.http.post(url, json={"tenant": "\u0001" * 128})
        return of.http.post(f"{url}{change}", json={"tenant": "\u0001" * 128}) if change else made

    return send


def release(change: str) -> Attack:
    """Begins a release and changes it; the last change ends it, so that the next can begin."""

    def send(of: World, n: int) -> httpx.Response:
        made = of.http.post("/v1/hub/releases", json={"alias": "managed", "target": "other"})
        url = f"/v1/hub/releases/{made.json().get('id', 'none')}"
        answer = made
        steps = {"resume": ("pause", "resume", "rollback"), "rollback": ("rollback",)}
        for each in steps.get(change, (change, "rollback")):
            sent = of.http.post(f"{url}/{each}", json={})
            answer = sent if each == change else answer
        return answer

    return send


def rotated(path: str) -> Attack:
    """Makes a key of the caller and rotates it."""

    def send(of: World, n: int) -> httpx.Response:
        made = of.http.post("/v1/admin/keys", json={"user": "admin", "scopes": ["data"]}).json()
        return of.http.post(f"{path}/{made.get('id', 'none')}/rotate", json={"overlap_s": 0})

    return send


def quotas(of: World, n: int) -> dict[str, Any]:
    one = {"subject": "user", "window": "day", "measure": "requests", "limit": 10**9}
    return {"quotas": [one | {"id": f"{n}-{at}"} for at in range(20)]}


ATTACKS: dict[str, dict[str, Attack]] = {
    "POST /v1/chat/completions": {
        "stored, eight choices": says("/v1/chat/completions", lambda of, n: chat(n=8, store=True, metadata=FULL)),
        "a turn of a long conversation": says("/v1/chat/completions", lambda of, n: chat(conversation=of.conversation)),
    },
    "POST /v1/chat/completions/{completion_id}": {
        "full metadata": says("/v1/chat/completions/{w.completion}", lambda of, n: {"metadata": FULL}),
    },
    "POST /v1/responses": {
        "small": says("/v1/responses", lambda of, n: {"model": "m", "input": "x"}),
        "a turn of a long conversation": says(
            "/v1/responses", lambda of, n: {"model": "m", "input": "x", "conversation": of.conversation}
        ),
        "in the background, with all webhooks": says(
            "/v1/responses", lambda of, n: {"model": "m", "input": "x", "background": True}
        ),
    },
    "POST /v1/responses/input_tokens": {
        "small": says("/v1/responses/input_tokens", lambda of, n: {"model": "m", "input": "x"}),
        "of a long conversation": says(
            "/v1/responses/input_tokens", lambda of, n: {"model": "m", "input": "x", "conversation": of.conversation}
        ),
    },
    "POST /v1/messages": {
        "stored": says("/v1/messages", lambda of, n: message(max_tokens=8, store=True)),
        "a turn of a long conversation": says(
            "/v1/messages", lambda of, n: message(max_tokens=8, conversation=of.conversation)
        ),
        "a result of each of many calls": says("/v1/messages", lambda of, n: message(CALLED, max_tokens=8)),
    },
    "POST /v1/messages/count_tokens": {
        "small": says("/v1/messages/count_tokens", lambda of, n: message()),
        "of a long conversation": says(
            "/v1/messages/count_tokens", lambda of, n: message(conversation=of.conversation)
        ),
    },
    "POST /mcp": {
        "a question": says("/mcp", lambda of, n: called("ask", model="m", question="x", max_tokens=8)),
        "a search": says("/mcp", lambda of, n: called("search", vector_store_id=of.store, query="x")),
        "a long name": says("/mcp", lambda of, n: called("\u0001" * 20_000)),
    },
    "POST /v1/completions": {
        "many prompts": says("/v1/completions", lambda of, n: {"model": "m", "prompt": ["x"] * 8}),
    },
    "POST /v1/embeddings": {
        "2,048 letters": says("/v1/embeddings", lambda of, n: {"model": "all-minilm-l6-v2", "input": ["x"] * 2048}),
    },
    "POST /v1/rerank": {
        "1,000 letters": says("/v1/rerank", lambda of, n: {"model": "ranks", "query": "x", "documents": ["x"] * 1000}),
    },
    "POST /v1/batches": {
        "embeddings of 256 letters": batch("/v1/embeddings", {"model": "all-minilm-l6-v2", "input": ["x"] * 256}),
        "chats of one letter": batch("/v1/chat/completions", chat(), 20),
    },
    "POST /v1/files": {
        "one byte": lambda of, n: of.http.post(
            "/v1/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"a")}
        ),
        "a long list": lambda of, n: of.http.post(
            "/v1/files",
            data={"purpose": "assistants", "access": json.dumps(ACCESS)},
            files={"file": ("a.txt", b"a")},
        ),
    },
    "POST /v1/vector_stores": {
        "small": says("/v1/vector_stores", lambda of, n: {"name": "x"}),
        "with a file": says("/v1/vector_stores", lambda of, n: {"name": "x", "file_ids": [of.file]}),
        "full": says("/v1/vector_stores", lambda of, n: {"name": "x", "metadata": FULL, "access": ACCESS}),
    },
    "POST /v1/vector_stores/{store_id}": {
        "full": says("/v1/vector_stores/{w.store}", lambda of, n: {"metadata": FULL, "access": ACCESS}),
    },
    "POST /v1/vector_stores/{store_id}/files": {
        "again": says("/v1/vector_stores/{w.store}/files", lambda of, n: {"file_id": of.file}),
    },
    "POST /v1/vector_stores/{store_id}/files/{file_id}": {
        "other attributes": says(
            "/v1/vector_stores/{w.store}/files/{w.file}", lambda of, n: {"attributes": {"k": str(n)}}
        ),
    },
    "POST /v1/vector_stores/{store_id}/file_batches": {
        "one list and attributes for all": attach_all,
    },
    "POST /v1/vector_stores/{store_id}/search": {
        "ten queries": says("/v1/vector_stores/{w.store}/search", lambda of, n: {"query": ["x"] * 10}),
    },
    "POST /v1/conversations": {
        "empty": says("/v1/conversations", lambda of, n: {}),
        "20 empty items": says("/v1/conversations", lambda of, n: {"items": ITEMS}),
        "full metadata": says("/v1/conversations", lambda of, n: {"metadata": FULL}),
    },
    "POST /v1/conversations/{conversation_id}": {
        "full metadata": says("/v1/conversations/{w.conversation}", lambda of, n: {"metadata": FULL}),
    },
    "POST /v1/conversations/{conversation_id}/fork": {
        "a long conversation": says("/v1/conversations/{w.conversation}/fork", lambda of, n: {"after": of.item}),
    },
    "POST /v1/conversations/{conversation_id}/items": {
        "20 empty ones": says("/v1/conversations/{w.growing}/items", lambda of, n: {"items": ITEMS}),
        "control characters": says("/v1/conversations/{w.growing}/items", lambda of, n: {"items": REPEATED}),
    },
    "POST /v1/shares": {
        "a long conversation": says("/v1/shares", lambda of, n: {"conversation": of.conversation}),
    },
    "POST /v1/assistants": {
        "small": says("/v1/assistants", lambda of, n: {"name": f"a{n}", "model": "m"}),
    },
    "POST /v1/assistants/{assistant_id}": {
        "another version": says("/v1/assistants/{w.assistant}", lambda of, n: {"version": 1}),
        "a long list": says("/v1/assistants/{w.assistant}", lambda of, n: {"access": ACCESS}),
    },
    "POST /v1/assistants/{assistant_id}/versions": {
        "small": says("/v1/assistants/{w.assistant}/versions", lambda of, n: {"model": "m"}),
    },
    "POST /v1/prompts": {
        "many variables": says(
            "/v1/prompts", lambda of, n: {"name": f"p{n}", "text": "".join(f"{{{{v{at}}}}}" for at in range(64))}
        ),
    },
    "POST /v1/prompts/{prompt_id}": {
        "a long description": says("/v1/prompts/{w.prompt}", lambda of, n: {"description": "\u0001" * 500}),
    },
    "POST /v1/prompts/{prompt_id}/versions": {
        "small": says("/v1/prompts/{w.prompt}/versions", lambda of, n: {"text": f"{n}"}),
    },
    "POST /v1/prompts/{prompt_id}/render": {
        "a repeated variable": says(
            "/v1/prompts/{w.prompt}/render", lambda of, n: {"version": "1", "variables": {"a": "x" * 100}}
        ),
    },
    "PUT /v1/prompts/{prompt_id}/labels/{label}": {
        "there and back": says("/v1/prompts/{w.prompt}/labels/production", lambda of, n: {"version": 1}, "PUT"),
    },
    "POST /v1/feedback": {
        "control characters": says(
            "/v1/feedback",
            lambda of, n: {
                "target": {"type": "response", "id": of.completion},
                "correction": LONG,
                "tags": [f"{n}-{at}" for at in range(16)],
            },
        ),
    },
    "POST /v1/memories": {
        "small": says("/v1/memories", lambda of, n: {"assistant": "facts", "text": f"Likes {n}."}),
    },
    "POST /v1/memories/{memory_id}": {
        "small": says("/v1/memories/{w.memory}", lambda of, n: {"text": f"Prefers {n}."}),
    },
    "POST /v1/hub/suites": {
        "20 prompts": says("/v1/hub/suites", lambda of, n: suite(f"s{n}", 20)),
    },
    "POST /v1/hub/evaluations": {
        "20 prompts": says("/v1/hub/evaluations", lambda of, n: {"suite": of.suite, "model": "m"}),
    },
    "POST /v1/hub/releases": {"begun and ended": release("rollback")},
    **{f"POST /v1/hub/releases/{{release_id}}/{each}": {"small": release(each)} for each in ("promote", "pause")},
    **{f"POST /v1/hub/releases/{{release_id}}/{each}": {"small": release(each)} for each in ("resume", "rollback")},
    "POST /v1/hub/versions": {"an adapter": adapter},
    "POST /v1/hub/versions/{version_id}/retire": {"a long reason": retire},
    "POST /v1/hub/versions/{version_id}/consents": {"a long name": consent("")},
    "POST /v1/hub/versions/{version_id}/consents/revoke": {"a long name": consent("/revoke")},
    "POST /v1/hub/datasets": {"small": says("/v1/hub/datasets", lambda of, n: {"redact": False})},
    "POST /v1/hub/jobs": {
        "small": says("/v1/hub/jobs", lambda of, n: {"method": "quantise", "base": "based", "name": f"q{n}"}),
    },
    "POST /v1/fine_tuning/jobs": {"one row": tune},
    "POST /v1/me/keys/{key_id}/rotate": {"one after the other": rotated("/v1/me/keys")},
    "POST /v1/admin/keys/{key_id}/rotate": {"one after the other": rotated("/v1/admin/keys")},
    "POST /v1/admin/tenants": {"small": says("/v1/admin/tenants", lambda of, n: {"id": f"t{n}"})},
    "POST /v1/admin/tenants/{tenant_id}": {
        "another name": says("/v1/admin/tenants/{w.tenant}", lambda of, n: {"name": f"\u0001{n}" * 20}),
    },
    "POST /v1/admin/users": {"small": says("/v1/admin/users", lambda of, n: {"id": f"u{n}"})},
    "POST /v1/admin/users/{user_id}": {
        "other groups": says("/v1/admin/users/{w.user}", lambda of, n: {"groups": [f"g{n}-{at}" for at in range(20)]}),
    },
    "POST /v1/admin/keys": {"small": says("/v1/admin/keys", lambda of, n: {"user": "ann"})},
    "POST /v1/admin/webhooks": {
        "one too many": says(
            "/v1/admin/webhooks", lambda of, n: {"url": "https://a.example/", "events": ["batch.failed"]}
        ),
    },
    "POST /v1/admin/webhooks/{webhook_id}/rotate": {
        "again and again": says("/v1/admin/webhooks/{w.webhook}/rotate", lambda of, n: {"overlap_s": 0}),
    },
    "PUT /v1/admin/quotas": {"20 quotas": says("/v1/admin/quotas", quotas, "PUT")},
    "POST /v1/admin/erasures": {
        "of nobody": says("/v1/admin/erasures", lambda of, n: {"user": f"nobody{n}"}),
        "only counted": says("/v1/admin/erasures", lambda of, n: {"user": "ann", "dry_run": True}),
    },
    "POST /auth/key": {"no browser": says("/auth/key", lambda of, n: {"key": "x"})},
    "POST /auth/code": {"no browser": says("/auth/code", lambda of, n: {"code": "x"})},
}
"""By operation, as `METHOD path`, and by what is done."""

REFUSED = {
    "POST /auth/key": "only pages of the stack's own origin may: the attack is the refused request",
    "POST /auth/code": "only pages of the stack's own origin may: the attack is the refused request",
    "POST /v1/admin/webhooks": "the platform has all of its webhooks: the attack is the refused request",
}
"""Operations of which no attack succeeds, with the reason."""


def attacks() -> Iterator[tuple[str, str, Attack]]:
    """Yields every attack with its operation and its name."""
    for operation, named in ATTACKS.items():
        for name, attack in named.items():
            yield operation, f"`{operation}`: {name}", attack
