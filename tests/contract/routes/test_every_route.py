"""OpenAI's SDK for Python drives every route of the API. What the answers are, tests/contract/api checks."""

from __future__ import annotations

import json
import secrets

import httpx
import numpy as np
import openai
import pytest
from openai import BaseModel
from safetensors.numpy import save

from tests.callers.routes import not_asked
from tests.wait import eventually


class Recording(openai.OpenAI):
    """The client, which remembers what it asked."""

    requests: list[tuple[str, str]]

    def _prepare_request(self, request):  # the SDK's own hook for those who extend it
        self.requests.append((request.method, request.url.path))


class Plain(BaseModel):
    """An answer that is not in OpenAI's API."""

    id: str = ""


def test_openais_sdk_calls_every_route(whole):
    with Recording(base_url=f"{whole.url}/v1", api_key=whole.key, max_retries=0, timeout=120) as sdk:
        sdk.requests = []
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert sdk.get(f"{whole.url}{path}", cast_to=Plain)
        sign_in(sdk, whole.url)
        models(sdk)
        completions(sdk)
        responses(sdk)
        messages(sdk)
        mcp(sdk, whole.url)
        batches(sdk)
        streams(sdk)
        conversations(sdk)
        files(sdk)
        assistants(sdk)
        prompts(sdk)
        memories(sdk)
        versions(sdk)
        tuning(sdk)
        hub(sdk)
        administration(sdk)
        quotas(sdk)
        assert not_asked(sdk.requests) == []


def sign_in(sdk, url):
    """What a program gets that is no browser; tests/contract/api/sign_in/test_sign_in.py is one."""
    for path, error in (
        ("login?provider=none", openai.BadRequestError),
        ("callback", openai.BadRequestError),
        ("session", openai.AuthenticationError),
        ("sessions", openai.AuthenticationError),
    ):
        with pytest.raises(error):
            sdk.get(f"{url}/auth/{path}", cast_to=Plain)
    with pytest.raises(openai.AuthenticationError):
        sdk.post(f"{url}/auth/logout", cast_to=Plain)
    with pytest.raises(openai.AuthenticationError):
        sdk.delete(f"{url}/auth/sessions/ses_none", cast_to=Plain)
    assert sdk.get(f"{url}/auth/providers", cast_to=Plain).model_extra["key"]
    with pytest.raises(openai.PermissionDeniedError):
        sdk.post(f"{url}/auth/key", body={"key": sdk.api_key}, cast_to=Plain)
    made = sdk.post(f"{url}/auth/codes", cast_to=Plain).model_extra
    with pytest.raises(openai.PermissionDeniedError):
        sdk.post(f"{url}/auth/code", body={"code": made["code"]}, cast_to=Plain)


def quotas(sdk):
    minute = {"subject": "model", "id": "tour", "window": "minute", "measure": "requests", "limit": 1}
    made = sdk.put("/admin/quotas", body={"quotas": [minute]}, cast_to=Plain).model_extra["data"][0]
    listed = sdk.get("/admin/quotas", cast_to=Plain, options={"params": {"subject": "model", "id": "tour"}})
    assert [quota["limit"] for quota in listed.model_extra["data"]] == [1]
    assert sdk.get("/admin/quotas/defaults", cast_to=Plain).model_extra["warn_at"] == 0.8
    params = {"params": {"quota_id": made["quota_id"]}}
    assert sdk.delete("/admin/quotas", cast_to=Plain, options=params).model_extra["deleted"]
    assert sdk.get("/usage", cast_to=Plain).model_extra["data"]
    assert sdk.get("/admin/usage", cast_to=Plain, options={"params": {"by": "user"}}).model_extra["data"]


def models(sdk):
    for model in sdk.models.list():
        assert sdk.models.retrieve(model.id).id == model.id  # `created` is when its gateway took the catalogue in
    assert sdk.embeddings.create(model="all-minilm-l6-v2", input="a heron").data
    with pytest.raises(openai.NotFoundError):  # the stack has no reranker
        sdk.post("/rerank", body={"model": "smollm2", "query": "a", "documents": ["b"]}, cast_to=Plain)
    assert sdk.completions.create(model="smollm2", prompt="Herons", max_tokens=2).choices


def completions(sdk):
    messages = [{"role": "user", "content": "Name a heron."}]
    kept = sdk.chat.completions.create(model="smollm2", messages=messages, max_tokens=2, store=True)
    assert sdk.chat.completions.retrieve(kept.id).choices[0].message.content == kept.choices[0].message.content
    assert sdk.chat.completions.update(kept.id, metadata={"tour": kept.id}).metadata == {"tour": kept.id}
    assert [c.id for c in sdk.chat.completions.list(metadata={"tour": kept.id})] == [kept.id]
    assert [m.content for m in sdk.chat.completions.messages.list(kept.id)] == ["Name a heron."]

    rating = {"target": {"type": "response", "id": kept.id}, "thumb": "up"}
    rated = sdk.post("/feedback", body=rating, cast_to=Plain)
    assert sdk.get("/feedback", cast_to=Plain, options={"params": {"target": kept.id}}).model_extra["data"]
    assert sdk.get(f"/feedback/{rated.id}", cast_to=Plain) == rated
    assert sdk.delete(f"/feedback/{rated.id}", cast_to=Plain).model_extra["deleted"]
    assert sdk.chat.completions.delete(kept.id).deleted


def responses(sdk):
    made = sdk.responses.create(model="smollm2", input="Name a heron.", max_output_tokens=2)
    assert sdk.responses.retrieve(made.id).output == made.output
    assert len(list(sdk.responses.input_items.list(made.id))) == 1
    assert sdk.responses.input_tokens.count(model="smollm2", input="Name a heron.").input_tokens > 0
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        sdk.responses.cancel(made.id)
    sdk.responses.delete(made.id)
    queued = sdk.responses.create(model="smollm2", input="Name a heron.", max_output_tokens=2, background=True)
    events = list(sdk.responses.retrieve(queued.id, stream=True))
    assert events[-1].response == sdk.responses.cancel(queued.id), "what has ended stays"


def messages(sdk):
    """Anthropic's own client asks these routes in test_anthropic.py."""
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a heron."}]}
    answer = sdk.post("/messages", body=asked | {"max_tokens": 2}, cast_to=Plain).model_extra
    counted = sdk.post("/messages/count_tokens", body=asked, cast_to=Plain).model_extra
    told = answer["usage"]
    assert counted["input_tokens"] == told["input_tokens"] + told["cache_read_input_tokens"]


def mcp(sdk, url):
    """MCP's own client asks this route in test_mcp_client.py."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    tools = sdk.post(f"{url}/mcp", body=asked, cast_to=httpx.Response).json()["result"]["tools"]
    assert "search" in [tool["name"] for tool in tools]


def batches(sdk):
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a heron."}], "max_tokens": 2}
    line = {"custom_id": "heron", "method": "POST", "url": "/v1/chat/completions", "body": asked}
    file = sdk.files.create(file=("herons.jsonl", json.dumps(line).encode()), purpose="batch")
    made = sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert made.id in [one.id for one in sdk.batches.list()]
    done = eventually(lambda: (one := sdk.batches.retrieve(made.id)).output_file_id and one, "the batch has ended")
    assert json.loads(sdk.files.content(done.output_file_id).text)["custom_id"] == "heron"
    with pytest.raises(openai.ConflictError):
        sdk.batches.cancel(made.id)


def streams(sdk):
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a heron."}], "max_tokens": 4}
    stream = sdk.chat.completions.create(**asked, stream=True, extra_headers={"headrace-resumable": "true"})
    id = stream.response.headers["headrace-stream"]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    again = sdk.get(f"/streams/{id}", cast_to=httpx.Response).text
    chunks = [json.loads(line[6:]) for line in again.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == said
    assert sdk.post(f"/streams/{id}/stop", cast_to=Plain).model_extra["stopped"]
    assert sdk.delete(f"/streams/{id}", cast_to=Plain).model_extra["deleted"]


def conversations(sdk):
    id = sdk.conversations.create().id
    sdk.conversations.items.create(id, items=[{"role": "user", "content": "Hello."}])
    [item] = sdk.conversations.items.list(id)
    assert sdk.conversations.items.retrieve(item.id, conversation_id=id) == item
    assert sdk.conversations.items.delete(item.id, conversation_id=id).id == id
    assert sdk.conversations.update(id, metadata={"a": "b"}) == sdk.conversations.retrieve(id)
    [item] = sdk.conversations.items.create(id, items=[{"role": "user", "content": "Hello again."}]).data
    fork = sdk.post(f"/conversations/{id}/fork", body={"after": item.id}, cast_to=Plain)
    branches = sdk.get(f"/conversations/{id}/branches", cast_to=Plain).model_extra["data"]
    assert [branch["id"] for branch in branches] == [id, fork.id]
    assert [c["id"] for c in sdk.get("/conversations", cast_to=Plain).model_extra["data"]][:2] == [fork.id, id]
    shares(sdk, fork.id)
    assert sdk.conversations.delete(id).deleted
    assert sdk.delete("/conversations", cast_to=Plain).model_extra["deleted"] >= 1


def shares(sdk, conversation):
    made = sdk.post("/shares", body={"conversation": conversation}, cast_to=Plain)
    of = {"params": {"conversation": conversation}}
    assert [each["id"] for each in sdk.get("/shares", cast_to=Plain, options=of).model_extra["data"]] == [made.id]
    assert sdk.get(f"/shares/{made.id}", cast_to=Plain) == made
    items = sdk.get(f"/shares/{made.id}/items", cast_to=Plain).model_extra["data"]
    assert [item["text"] for item in items] == ["Hello again."]
    assert sdk.delete(f"/shares/{made.id}", cast_to=Plain).model_extra["deleted"]


def files(sdk):
    file = sdk.files.create(file=("heron.md", b"# Heron\n\nThe heron stands still.\n"), purpose="assistants")
    store = sdk.vector_stores.create(name="every-route")
    assert sdk.files.retrieve(file.id) == file
    assert file.id in [f.id for f in sdk.files.list()]
    assert sdk.files.content(file.id).content.startswith(b"# Heron")
    assert sdk.get(f"/files/{file.id}/text", cast_to=Plain).model_extra["text"].endswith("The heron stands still.")

    sdk.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id, poll_interval_ms=100)
    assert sdk.vector_stores.files.retrieve(file.id, vector_store_id=store.id).status == "completed"
    assert [f.id for f in sdk.vector_stores.files.list(store.id)] == [file.id]
    attributes = {"team": "birds"}
    updated = sdk.vector_stores.files.update(file.id, vector_store_id=store.id, attributes=attributes)
    assert updated.attributes == attributes
    for type, found in (("eq", [attributes]), ("ne", [])):
        wanted = {"type": type, "key": "team", "value": "birds"}
        hits = sdk.vector_stores.search(store.id, query="Who stands still?", filters=wanted)
        assert [hit.attributes for hit in hits] == found
    assert [hit.file_id for hit in sdk.vector_stores.search(store.id, query="Who stands still?")] == [file.id]
    both = sdk.vector_stores.search(store.id, query=["Who stands still?", "heron"])
    assert [hit.file_id for hit in both] == [file.id], "a passage that two queries find is there once"
    (part,) = sdk.vector_stores.files.content(file.id, vector_store_id=store.id)
    assert (part.type, "The heron stands still." in part.text) == ("text", True)
    (piece,) = sdk.get(f"/vector_stores/{store.id}/files/{file.id}/chunks", cast_to=Plain).model_extra["data"]
    assert (piece["id"], piece["text"]) == (f"{file.id}:0", part.text)
    assert sdk.vector_stores.update(store.id, name="renamed").name == sdk.vector_stores.retrieve(store.id).name
    assert store.id in [s.id for s in sdk.vector_stores.list()]
    assert sdk.vector_stores.files.delete(file.id, vector_store_id=store.id).deleted
    file_batches(sdk, store.id, file.id)
    assert sdk.vector_stores.delete(store.id).deleted
    assert sdk.files.delete(file.id).deleted


def file_batches(sdk, store, file):
    batches = sdk.vector_stores.file_batches
    made = batches.create_and_poll(store, file_ids=[file], attributes={"team": "birds"}, poll_interval_ms=100)
    assert (made.status, made.file_counts.completed, made.file_counts.total) == ("completed", 1, 1)
    assert [f.attributes for f in batches.list_files(made.id, vector_store_id=store)] == [{"team": "birds"}]
    sent = [(f"{name}.md", f"# {name}\n\nThe {name} flies.\n".encode()) for name in ("ibis", "stork")]
    sent = batches.upload_and_poll(store, files=sent, file_ids=[file], poll_interval_ms=100)
    assert (sent.status, sent.file_counts.completed) == ("completed", 3)
    listed = list(batches.list_files(sent.id, vector_store_id=store, limit=2, filter="completed"))
    assert len({f.id for f in listed}) == 3
    assert batches.cancel(sent.id, vector_store_id=store) == batches.retrieve(sent.id, vector_store_id=store)
    for each in {f.id for f in listed} - {file}:
        sdk.files.delete(each)


def versions(sdk):
    q_proj = "base_model.model.model.layers.0.self_attn.q_proj"
    halves = {f"{q_proj}.lora_{half}.weight": np.ones(shape, np.float32) for half, shape in HALVES.items()}
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
    files = {"weights": ("a.safetensors", save(halves)), "config": ("a.json", json.dumps(config).encode())}
    form = {"headers": {"Content-Type": "multipart/form-data"}}
    said = {"name": "tour", "base": "smollm2"}
    made = sdk.post("/hub/versions", body=said, files=files, options=form, cast_to=Plain)
    assert made.model_extra["status"] == "ready"
    url = f"/hub/versions/{made.id}"
    assert made.id in [each["id"] for each in sdk.get("/hub/versions", cast_to=Plain).model_extra["data"]]
    assert sdk.get(url, cast_to=Plain) == made
    assert sdk.get(f"{url}/lineage", cast_to=Plain).model_extra["version"]["id"] == made.id
    gguf = sdk.get(f"{url}/artefacts/adapter.gguf/content", cast_to=httpx.Response)
    assert gguf.content.startswith(b"GGUF")
    served = sdk.post(f"{url}/serve", cast_to=Plain).model_extra
    assert (served["live"], served["model"]) == (True, f"default.tour.{made.model_extra['number']}")
    assert sdk.get(f"{url}/live", cast_to=Plain).model_extra == served
    consent = sdk.post(f"{url}/consents", body={"tenant": "nobody"}, cast_to=Plain).model_extra
    assert (consent["scope"], consent["revoked_at"]) == ("call", None)
    assert sdk.get(f"{url}/consents", cast_to=Plain).model_extra["data"] == [{"object": "hub.consent", **consent}]
    assert sdk.post(f"{url}/consents/revoke", body={"tenant": "nobody"}, cast_to=Plain).model_extra["revoked_at"]
    assert sdk.post(f"{url}/withdraw", cast_to=Plain).model_extra["live"] is False
    retired = sdk.post(f"{url}/retire", body={"delete_artefacts": True}, cast_to=Plain)
    assert (retired.model_extra["status"], retired.model_extra["bytes"]) == ("retired", 0)


def tuning(sdk):
    chat = [{"role": "user", "content": "Heron?"}, {"role": "assistant", "content": "A bird."}]
    file = sdk.files.create(file=("rows.jsonl", json.dumps({"messages": chat}).encode()), purpose="fine-tune")
    fronts = sdk.fine_tuning.jobs
    made = fronts.create(model="smollm2", training_file=file.id)
    assert fronts.retrieve(made.id) == made
    assert made.id in [each.id for each in fronts.list()]
    assert list(fronts.list_events(made.id)) == []
    assert fronts.cancel(made.id).status == "cancelled"
    for kind, body, end in (
        (
            "jobs",
            {"method": "quantise", "name": "tour", "base": "smollm2"},
            lambda url: sdk.post(f"{url}/cancel", cast_to=Plain),
        ),
        ("datasets", {"redact": False}, lambda url: sdk.delete(url, cast_to=Plain)),
    ):
        made = sdk.post(f"/hub/{kind}", body=body, cast_to=Plain)
        url = f"/hub/{kind}/{made.id}"
        assert sdk.get(url, cast_to=Plain) == made
        assert made.id in [each["id"] for each in sdk.get(f"/hub/{kind}", cast_to=Plain).model_extra["data"]]
        if kind == "jobs":
            assert sdk.get(f"{url}/events", cast_to=Plain).model_extra["data"] == []
        assert end(url).model_extra["status"] in ("cancelled", "retired")


HALVES = {"A": (1, 576), "B": (576, 1)}
"""The shapes of an adapter of SmolLM2's queries."""


def assistants(sdk):
    made = sdk.post("/assistants", body={"name": "poet", "model": "smollm2", "max_tokens": 8}, cast_to=Plain)
    url = f"/assistants/{made.id}"
    sdk.post(f"{url}/versions", body={"model": "smollm2", "max_tokens": 4}, cast_to=Plain)
    assert len(sdk.get(f"{url}/versions", cast_to=Plain).model_extra["data"]) == 2
    assert sdk.post(url, body={"version": 1}, cast_to=Plain).model_extra["max_tokens"] == 8
    assert sdk.get("/assistants", cast_to=Plain).model_extra["data"][0]["id"] == made.id
    assert sdk.get(url, cast_to=Plain).model_extra["name"] == "poet"
    assert "poet" in {model.id for model in sdk.models.list()}
    assert sdk.responses.create(model="poet", input="Rhyme.").model == "poet"
    assert sdk.delete(url, cast_to=Plain).model_extra["deleted"]


def prompts(sdk):
    made = sdk.post("/prompts", body={"name": "rhymes", "text": "Rhyme on {{word}}."}, cast_to=Plain)
    url = f"/prompts/{made.id}"
    sdk.post(f"{url}/versions", body={"text": "Rhyme on {{word}}, briefly."}, cast_to=Plain)
    sdk.put(f"{url}/labels/production", body={"version": 1, "expected_version": 0}, cast_to=Plain)
    assert len(sdk.get(f"{url}/versions", cast_to=Plain).model_extra["data"]) == 2
    assert sdk.get(f"{url}/versions/production", cast_to=Plain).model_extra["version"] == 1
    assert sdk.get("/prompts", cast_to=Plain).model_extra["data"][0]["id"] == made.id
    assert sdk.post(url, body={"description": "For poets"}, cast_to=Plain).model_extra["description"] == "For poets"
    assert sdk.get(url, cast_to=Plain).model_extra["labels"] == {"production": 1}
    rendered = sdk.post(f"{url}/render", body={"variables": {"word": "tide"}}, cast_to=Plain)
    assert rendered.model_extra["text"] == "Rhyme on tide."
    prompt = {"id": made.id, "variables": {"word": "tide"}}
    answer = sdk.responses.create(model="smollm2", input="Now.", prompt=prompt, max_output_tokens=8)
    assert (answer.prompt.id, answer.prompt.version) == (made.id, "1")
    assert sdk.delete(f"{url}/labels/production", cast_to=Plain).model_extra["deleted"]
    assert sdk.delete(url, cast_to=Plain).model_extra["deleted"]


def memories(sdk):
    made = sdk.post("/memories", body={"assistant": "friend", "text": "Likes herons."}, cast_to=Plain)
    changed = sdk.post(f"/memories/{made.id}", body={"text": "Likes ibises."}, cast_to=Plain)
    assert changed.model_extra["text"] == "Likes ibises."
    listed = sdk.get("/memories", cast_to=Plain, options={"params": {"assistant": "friend"}}).model_extra["data"]
    assert made.id in [m["id"] for m in listed]
    assert sdk.delete(f"/memories/{made.id}", cast_to=Plain).model_extra["deleted"]
    of = {"params": {"assistant": "friend"}}
    assert sdk.delete("/memories", cast_to=Plain, options=of).model_extra["object"] == "memories.deleted"
    assert sdk.get(f"/me/deletions/{made.id}", cast_to=Plain).model_extra["kind"] == "memory"
    assert made.id in [each["id"] for each in sdk.get("/me/deletions", cast_to=Plain).model_extra["data"]]


def hub(sdk):
    prompts = [{"id": "p", "messages": "Rhyme.", "checks": [{"kind": "length", "max_characters": 9}]}]
    suite = sdk.post("/hub/suites", body={"name": "rhymes", "prompts": prompts, "max_tokens": 4}, cast_to=Plain)
    assert sdk.get(f"/hub/suites/{suite.id}", cast_to=Plain).model_extra["suite"]["prompts"][0]["id"] == "p"
    assert suite.id in [each["id"] for each in sdk.get("/hub/suites", cast_to=Plain).model_extra["data"]]
    made = sdk.post("/hub/evaluations", body={"suite": suite.id, "model": "smollm2"}, cast_to=Plain)
    url = f"/hub/evaluations/{made.id}"
    eventually(lambda: sdk.get(url, cast_to=Plain).model_extra["status"] == "completed", "it is evaluated", 300)
    with pytest.raises(openai.ConflictError):
        sdk.post(f"{url}/cancel", cast_to=Plain)
    assert made.id in [each["id"] for each in sdk.get("/hub/evaluations", cast_to=Plain).model_extra["data"]]
    release = sdk.post("/hub/releases", body={"alias": "watched", "target": "clerk"}, cast_to=Plain)
    url = f"/hub/releases/{release.id}"
    for change, status in (
        ("pause", "paused"),
        ("resume", "canary"),
        ("promote", "promoted"),
        ("rollback", "rolled_back"),
    ):
        assert sdk.post(f"{url}/{change}", body={}, cast_to=Plain).model_extra["status"] == status
    assert sdk.get(url, cast_to=Plain).model_extra["reason"] == "requested"
    assert release.id in [each["id"] for each in sdk.get("/hub/releases", cast_to=Plain).model_extra["data"]]


def administration(sdk):
    """Tenants and users stay, so each run has its own."""
    assert sdk.get("/me", cast_to=Plain).model_extra["tenant"] == "default"
    name = f"tour-{secrets.token_hex(8)}"
    tenant = sdk.post("/admin/tenants", body={"id": name}, cast_to=Plain)
    assert sdk.get(f"/admin/tenants/{name}", cast_to=Plain) == tenant
    newest = {"params": {"limit": 1}}
    assert sdk.get("/admin/tenants", cast_to=Plain, options=newest).model_extra["data"][0]["id"] == name

    of = {"params": {"tenant": name}}
    user = sdk.post("/admin/users", body={"id": "ada"}, cast_to=Plain, options=of)
    assert sdk.get("/admin/users/ada", cast_to=Plain, options=of) == user
    assert [u["id"] for u in sdk.get("/admin/users", cast_to=Plain, options=of).model_extra["data"]] == ["ada"]
    changed = sdk.post("/admin/users/ada", body={"groups": ["herons"]}, cast_to=Plain, options=of)
    assert changed.model_extra["groups"] == ["herons"]

    made = sdk.post("/admin/keys", body={"user": "ada"}, cast_to=Plain, options=of)
    theirs = {"headers": {"Authorization": f"Bearer {made.model_extra['key']}"}}
    theirs = sdk.get("/me", cast_to=Plain, options=theirs)
    assert (theirs.id, theirs.model_extra["tenant"]) == ("ada", name)
    theirs = {"headers": {"Authorization": f"Bearer {made.model_extra['key']}"}}
    own = sdk.post(f"/me/keys/{made.id}/rotate", body={"overlap_s": 60}, cast_to=Plain, options=theirs)
    assert sdk.post(f"/me/keys/{own.id}/confirm", cast_to=Plain, options=theirs).model_extra["confirmed"]
    assert sdk.post(f"/me/keys/{own.id}/revoke", cast_to=Plain, options=theirs).model_extra["revoked_at"]
    listed = sdk.get("/me/keys", cast_to=Plain, options=theirs).model_extra["data"]
    assert {key["id"] for key in listed} == {made.id, own.id}
    made = sdk.post("/admin/keys", body={"user": "ada"}, cast_to=Plain, options=of)
    second = sdk.post(f"/admin/keys/{made.id}/rotate", body={"overlap_s": 60}, cast_to=Plain, options=of)
    assert sdk.get(f"/admin/keys/{made.id}", cast_to=Plain, options=of).model_extra["rotated_to"] == second.id
    sessions = "/admin/users/ada/sessions"
    assert sdk.get(sessions, cast_to=Plain, options=of).model_extra["data"] == []
    assert sdk.delete(sessions, cast_to=Plain, options=of).model_extra["deleted"] == 0
    assert sdk.get("/admin/jobs", cast_to=Plain).model_extra["object"] == "list"
    with pytest.raises(openai.NotFoundError):
        sdk.post("/admin/jobs/job_none/cancel", cast_to=Plain)
    assert sdk.get("/admin/dashboards", cast_to=Plain).model_extra["data"]
    assert sdk.get("/admin/alerts/GcsDown", cast_to=Plain).model_extra["runbook"]
    for path in ("/admin/dashboards/overview", "/admin/alerts"):
        with pytest.raises(openai.InternalServerError, match="has no Prometheus"):
            sdk.get(path, cast_to=Plain)
    assert sdk.get("/admin/feedback/summary", cast_to=Plain).model_extra["object"] == "list"
    messages = [{"role": "user", "content": "Herons"}]
    kept = sdk.chat.completions.create(model="smollm2", messages=messages, max_tokens=2, store=True)
    assert sdk.get("/admin/captures", cast_to=Plain).model_extra["data"][0]["id"] == kept.id
    assert sdk.get(f"/admin/captures/{kept.id}", cast_to=Plain).model_extra["messages"] == messages
    shown = sdk.get(f"/admin/requests/{kept.id}", cast_to=Plain).model_extra["answers"]
    assert [(one["id"], one["model"], one["completion_tokens"]) for one in shown] == [
        (kept.id, "smollm2", kept.usage.completion_tokens)
    ]
    sdk.chat.completions.delete(kept.id)
    engines = {m["id"]: m["engine"] for m in sdk.get("/admin/models", cast_to=Plain).model_extra["data"]}
    assert engines["smollm2"] == "llamacpp"
    aliases = sdk.get("/admin/aliases", cast_to=Plain).model_extra["data"]
    assert all(sum(target["share"] for target in each["targets"]) == pytest.approx(1) for each in aliases)
    listed = sdk.get("/admin/keys", cast_to=Plain, options=of).model_extra["data"]
    assert {key["id"] for key in listed} > {made.id, second.id}
    assert sdk.post(f"/admin/keys/{second.id}/revoke", cast_to=Plain, options=of).model_extra["revoked_at"]
    asked = {"url": "https://hooks.example.com/", "events": ["batch.completed"]}
    hook = sdk.post("/admin/webhooks", body=asked, cast_to=Plain, options=of)
    assert hook.model_extra["secret"].startswith("whsec_")
    assert sdk.get(f"/admin/webhooks/{hook.id}", cast_to=Plain, options=of).model_extra["events"] == asked["events"]
    assert [w["id"] for w in sdk.get("/admin/webhooks", cast_to=Plain, options=of).model_extra["data"]] == [hook.id]
    second = sdk.post(f"/admin/webhooks/{hook.id}/rotate", body={"overlap_s": 60}, cast_to=Plain, options=of)
    assert second.model_extra["secret"] != hook.model_extra["secret"]
    assert sdk.delete(f"/admin/webhooks/{hook.id}", cast_to=Plain, options=of).model_extra["deleted"]
    closed = sdk.post(f"/admin/tenants/{name}", body={"disabled": True}, cast_to=Plain)
    assert closed.model_extra["disabled"]
    made = sdk.post("/admin/erasures", body={"user": "nobody", "dry_run": True}, cast_to=Plain)
    assert sdk.get(f"/admin/erasures/{made.id}", cast_to=Plain).model_extra["dry_run"]
    listed = sdk.get("/admin/erasures", cast_to=Plain).model_extra["data"]
    assert made.id in [e["id"] for e in listed]
    events = sdk.get("/admin/audit", cast_to=Plain, options={"params": {"action": "erasure.create"}})
    assert events.model_extra["data"][0]["target"] == made.id
    assert sdk.get("/admin/audit/verify", cast_to=Plain).model_extra["valid"]
    exported = sdk.get("/admin/audit/export", cast_to=httpx.Response).text.splitlines()
    assert list(json.loads(exported[-1])) == ["anchor"]
