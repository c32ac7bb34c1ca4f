"""A right needs the scope and the role, and what is done is on record with it: both or neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.api.operations import OPERATIONS
from serving.config import AdapterBounds, Alias, CallAccess, Catalog, LlamaCppModel, Managed, RemoteModel, Tuning
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.audit import AuditRows
from serving.store.errors import StoreUnavailable
from serving.store.relational.tables import batches, hub_evaluations
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway
from tests.hub.adapters import write_base, write_gguf
from tests.wait import eventually

Caller = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with models that nobody answers for, and with aliases that a tenant manages."""
    models = tuple(RemoteModel(name=name, url="http://127.0.0.1:9/v1") for name in ("m", "n"))
    access = CallAccess(tenants=("acme",))
    aliases = tuple(Alias(name=f"alias-{n}", managed=Managed(base="m"), access=access) for n in range(3))
    folder = tmp_path_factory.mktemp("gateway")
    base = f"file://{write_base(folder / 'base.gguf')}"
    tunable = LlamaCppModel(name="tunable", source=base, adapters=AdapterBounds(max=2))
    catalog = Catalog(models=(*models, tunable), aliases=aliases)
    with Loop() as loop, gateway(loop, folder, catalog, tuning=Tuning(enabled=True)) as made:
        yield made


@pytest.fixture(scope="module")
def caller(up: Gateway) -> Iterator[Caller]:
    made: list[httpx.Client] = []

    def of(user: str, **settings: Any) -> httpx.Client:
        key = up.loop.do(key_of(up.services, Principal("acme", user, ""), **settings))
        made.append(httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60))
        return made[-1]

    yield of
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def ada(caller: Caller) -> httpx.Client:
    return caller("ada")


@pytest.fixture(scope="module")
def boss(caller: Caller) -> httpx.Client:
    return caller("boss", role="admin")


@pytest.fixture(scope="module")
def narrow(caller: Caller, boss: httpx.Client) -> httpx.Client:
    """The same admin, by a key for data alone."""
    return caller("boss", role="admin", scopes=["data"])


def file(who: httpx.Client, access: str | None = None) -> str:
    form = {"purpose": "assistants"} | ({"access": access} if access is not None else {})
    return str(who.post("/v1/files", data=form, files={"file": ("a.md", b"# words")}).json()["id"])


def store(who: httpx.Client, **fields: Any) -> str:
    return str(who.post("/v1/vector_stores", json={"name": "mine", **fields}).json()["id"])


def test_the_role_without_the_scope_is_no_right(ada: httpx.Client, narrow: httpx.Client, boss: httpx.Client) -> None:
    private, shut = file(ada, "{}"), store(ada, access={})
    shared, open_ = file(ada), store(ada)
    attempts = [
        ("DELETE", f"/v1/files/{private}", None, 404),
        ("POST", f"/v1/vector_stores/{shut}", {"access": None}, 404),
        ("DELETE", f"/v1/vector_stores/{shut}", None, 404),
        ("DELETE", f"/v1/files/{shared}", None, 403),
        ("POST", f"/v1/vector_stores/{open_}", {"name": "theirs"}, 403),
        ("POST", f"/v1/vector_stores/{open_}/files", {"file_id": file(narrow)}, 403),
        ("DELETE", f"/v1/vector_stores/{open_}", None, 403),
    ]
    for method, path, body, status in attempts:
        assert narrow.request(method, path, json=body).status_code == status, path
    assert {ada.get(f"/v1/files/{id}").status_code for id in (private, shared)} == {200}
    assert ada.get(f"/v1/vector_stores/{shut}").json()["headrace"]["access"] == {"users": ["ada"], "groups": []}
    assert boss.delete(f"/v1/files/{private}").status_code == 200
    assert boss.post(f"/v1/vector_stores/{open_}", json={"name": "theirs"}).status_code == 200


def test_access_to_private_data_is_audited(ada: httpx.Client, boss: httpx.Client) -> None:
    shut = store(ada, access={})
    assert boss.post(f"/v1/vector_stores/{shut}", json={"access": None}).status_code == 403
    assert boss.post(f"/v1/vector_stores/{shut}", json={"name": "theirs"}).status_code == 200
    mine = file(boss)
    assert boss.post(f"/v1/vector_stores/{shut}/files", json={"file_id": mine}).status_code == 200
    assert boss.get(f"/v1/vector_stores/{shut}").status_code == 404, "an admin changes what others may not read"
    found = boss.get("/v1/admin/audit", params={"user": "boss"}).json()["data"]
    assert [(e["action"], e["target"], e["detail"]) for e in found if e["target"] == shut] == [
        ("vector_store_file.create", shut, {"file": mine}),
        ("vector_store.update", shut, {}),
    ]


class Stack:
    """What there is to act upon, and what one can see of it."""

    def __init__(self, up: Gateway, ada: httpx.Client, boss: httpx.Client, adapter: Path) -> None:
        self.up = up
        self.own = up.client()
        self.boss = boss
        self.file, self.store = file(boss), store(boss)
        self.other = file(boss)
        boss.post(f"/v1/vector_stores/{self.store}/files", json={"file_id": self.file})
        batched = boss.post(f"/v1/vector_stores/{self.store}/file_batches", json={"file_ids": [self.file]})
        self.file_batch = batched.json()["id"]
        made = boss.post("/v1/assistants", json={"name": "clerk", "model": "m"})
        self.assistant = made.json()["id"]
        self.prompt = boss.post("/v1/prompts", json={"name": "kept", "text": "x"}).json()["id"]
        boss.put(f"/v1/prompts/{self.prompt}/labels/production", json={"version": 1})
        said = {"items": [{"role": "user", "content": "x"}]}
        self.talk = boss.post("/v1/conversations", json=said).json()["id"]
        self.memory = up.loop.do(up.services.memories.add(Principal("acme", "boss", ""), "a", "Rows a boat.")).id
        self.share = boss.post("/v1/shares", json={"conversation": self.talk}).json()["id"]
        lines = {"file": ("lines.jsonl", b'{"custom_id": "1"}')}
        input = boss.post("/v1/files", data={"purpose": "batch"}, files=lines).json()["id"]
        self.batched = {"input_file_id": input, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        self.batch = boss.post("/v1/batches", json=self.batched).json()["id"]
        eventually(lambda: boss.get(f"/v1/batches/{self.batch}").json()["status"] == "failed", "the batch has ended")
        prompts = [{"id": "p", "messages": "?", "checks": [{"kind": "length", "max_characters": 9}]}]
        self.suited = {"name": "s", "prompts": prompts}
        self.suite = boss.post("/v1/hub/suites", json=self.suited).json()["id"]
        evaluation = {"suite": self.suite, "model": "m"}
        self.evaluation = boss.post("/v1/hub/evaluations", json=evaluation).json()["id"]
        ended = f"/v1/hub/evaluations/{self.evaluation}"
        eventually(lambda: boss.get(ended).json()["ended_at"], "the evaluation has ended")
        releases = [{"alias": f"alias-{n}", "target": "n"} for n in range(2)]
        self.release, self.paused = (boss.post("/v1/hub/releases", json=each).json()["id"] for each in releases)
        boss.post(f"/v1/hub/releases/{self.paused}/pause", json={}).raise_for_status()
        up.loop.do(self.go_on())
        self.dataset = boss.post("/v1/hub/datasets", json={}).json()["id"]
        halves = {"blk.0.attn_q.weight.lora_a": np.ones((2, 16), np.float32)}
        halves["blk.0.attn_q.weight.lora_b"] = np.ones((16, 2), np.float32)
        self.adapter = write_gguf(adapter, **halves).read_bytes()
        self.version, self.live = (boss.post("/v1/hub/versions", **self.registered()).json()["id"] for _ in range(2))
        boss.post(f"/v1/hub/versions/{self.live}/serve").raise_for_status()
        boss.post(f"/v1/hub/versions/{self.live}/consents", json={"tenant": "kin"}).raise_for_status()
        self.tuned = {"method": "quantise", "name": "small", "base": "tunable"}
        self.job = boss.post("/v1/hub/jobs", json=self.tuned).json()["id"]
        self.hooked = {"url": "https://hooks.example.com/a", "events": ["response.completed"]}
        self.webhook = boss.post("/v1/admin/webhooks", json=self.hooked).json()["id"]
        made = boss.post("/v1/admin/keys", json={"user": "ada"}).json()
        self.key = made["id"]
        handed, _ = up.loop.do(up.services.authenticator.issue(Principal("acme", "boss", ""), confirmed=False))
        self.handed_key = handed.id
        signed_in = httpx.post(f"{up.url}/auth/key", json={"key": made["key"]}, headers={"origin": up.url}, timeout=60)
        assert signed_in.status_code == 200, signed_in.text
        entry = {"subject": "user", "id": "ada", "window": "day", "measure": "requests", "limit": 10**9}
        self.entry = {"quotas": [entry]}
        self.quota = boss.put("/v1/admin/quotas", json=self.entry).json()["data"][0]["quota_id"]
        self.more = {"quotas": [{**entry, "id": "boss"}]}
        self.tenants = 0

    def registered(self) -> dict[str, Any]:
        """The body of a request that registers an adapter."""
        return {"data": {"name": "docs", "base": "tunable"}, "files": {"weights": ("a.gguf", self.adapter)}}

    @uninterrupted
    async def go_on(self) -> None:
        """Has batch and evaluation be under way, with nobody who works on them: what has ended cannot be cancelled."""
        async with self.up.services.database.write() as connection:
            await connection.execute(batches.update().values(status="in_progress"))
            await connection.execute(hub_evaluations.update().values(status="running"))

    def seen(self) -> list[Any]:
        paths = ["/v1/files", "/v1/vector_stores", "/v1/admin/users", "/v1/admin/keys", "/v1/admin/quotas"]
        paths += [
            "/v1/assistants",
            "/v1/shares",
            "/v1/conversations",
            "/v1/memories",
            f"/v1/assistants/{self.assistant}/versions",
            "/v1/prompts",
            f"/v1/prompts/{self.prompt}/versions",
            "/v1/admin/users/ada/sessions",
            "/v1/admin/webhooks",
            "/v1/batches",
            "/v1/hub/datasets",
            "/v1/hub/jobs",
            "/v1/hub/versions?status=ready",
            "/v1/admin/erasures",
            "/v1/hub/suites",
            "/v1/hub/evaluations",
            "/v1/hub/releases",
            f"/v1/vector_stores/{self.store}/files",
            f"/v1/vector_stores/{self.store}/file_batches/{self.file_batch}/files",
        ]
        shown = [self.boss.get(path).json()["data"] for path in paths]
        shown += [self.boss.get(f"/v1/hub/versions/{id}/live").json() for id in (self.version, self.live)]
        shown.append(self.boss.get(f"/v1/hub/versions/{self.live}/consents").json())
        moving = r"'(last_active_at|last_used_at|status|completed|in_progress|usage_bytes)': [^,}]+"
        return [re.sub(moving, "", str(each)) for each in [*shown, self.own.get("/v1/admin/tenants").json()["data"]]]


ACTIONS: dict[str, Callable[[Stack], tuple[str, str, dict[str, Any]]]] = {
    "file.create": lambda s: (
        "POST",
        "/v1/files",
        {"data": {"purpose": "assistants"}, "files": {"file": ("b.md", b"# more")}},
    ),
    "file.delete": lambda s: ("DELETE", f"/v1/files/{s.other}", {}),
    "vector_store.create": lambda s: ("POST", "/v1/vector_stores", {"json": {"name": "new", "file_ids": [s.other]}}),
    "vector_store.update": lambda s: ("POST", f"/v1/vector_stores/{s.store}", {"json": {"access": {}}}),
    "vector_store.delete": lambda s: ("DELETE", f"/v1/vector_stores/{s.store}", {}),
    "vector_store_file.create": lambda s: (
        "POST",
        f"/v1/vector_stores/{s.store}/files",
        {"json": {"file_id": s.other}},
    ),
    "vector_store_file.update": lambda s: (
        "POST",
        f"/v1/vector_stores/{s.store}/files/{s.file}",
        {"json": {"attributes": {"a": 1}}},
    ),
    "vector_store_file.delete": lambda s: ("DELETE", f"/v1/vector_stores/{s.store}/files/{s.file}", {}),
    "vector_store_file_batch.create": lambda s: (
        "POST",
        f"/v1/vector_stores/{s.store}/file_batches",
        {"json": {"file_ids": [s.other]}},
    ),
    "vector_store_file_batch.cancel": lambda s: (
        "POST",
        f"/v1/vector_stores/{s.store}/file_batches/{s.file_batch}/cancel",
        {},
    ),
    "hub_dataset.create": lambda s: ("POST", "/v1/hub/datasets", {"json": {}}),
    "hub_dataset.delete": lambda s: ("DELETE", f"/v1/hub/datasets/{s.dataset}", {}),
    "hub_version.create": lambda s: ("POST", "/v1/hub/versions", s.registered()),
    "hub_version.serve": lambda s: ("POST", f"/v1/hub/versions/{s.version}/serve", {}),
    "hub_consent.create": lambda s: ("POST", f"/v1/hub/versions/{s.live}/consents", {"json": {"tenant": "evil"}}),
    "hub_consent.revoke": lambda s: ("POST", f"/v1/hub/versions/{s.live}/consents/revoke", {"json": {"tenant": "kin"}}),
    "hub_version.withdraw": lambda s: ("POST", f"/v1/hub/versions/{s.live}/withdraw", {}),
    "hub_version.retire": lambda s: ("POST", f"/v1/hub/versions/{s.version}/retire", {"json": {}}),
    "hub_job.create": lambda s: ("POST", "/v1/hub/jobs", {"json": s.tuned}),
    "hub_job.cancel": lambda s: ("POST", f"/v1/hub/jobs/{s.job}/cancel", {}),
    "batch.create": lambda s: ("POST", "/v1/batches", {"json": s.batched}),
    "batch.cancel": lambda s: ("POST", f"/v1/batches/{s.batch}/cancel", {}),
    "job.cancel": lambda s: ("POST", f"/v1/admin/jobs/{s.job}/cancel", {}),
    "webhook.create": lambda s: ("POST", "/v1/admin/webhooks", {"json": s.hooked}),
    "webhook.rotate": lambda s: ("POST", f"/v1/admin/webhooks/{s.webhook}/rotate", {"json": {"overlap_s": 0}}),
    "webhook.delete": lambda s: ("DELETE", f"/v1/admin/webhooks/{s.webhook}", {}),
    "share.create": lambda s: ("POST", "/v1/shares", {"json": {"conversation": s.talk}}),
    "share.delete": lambda s: ("DELETE", f"/v1/shares/{s.share}", {}),
    "assistant.create": lambda s: ("POST", "/v1/assistants", {"json": {"name": "made", "model": "m"}}),
    "prompt.create": lambda s: ("POST", "/v1/prompts", {"json": {"name": "made", "text": "x"}}),
    "prompt.update": lambda s: ("POST", f"/v1/prompts/{s.prompt}", {"json": {"description": "x"}}),
    "prompt.version": lambda s: ("POST", f"/v1/prompts/{s.prompt}/versions", {"json": {"text": "x"}}),
    "prompt.label": lambda s: ("PUT", f"/v1/prompts/{s.prompt}/labels/staging", {"json": {"version": 1}}),
    "prompt.unlabel": lambda s: ("DELETE", f"/v1/prompts/{s.prompt}/labels/production", {}),
    "prompt.delete": lambda s: ("DELETE", f"/v1/prompts/{s.prompt}", {}),
    "assistant.update": lambda s: ("POST", f"/v1/assistants/{s.assistant}", {"json": {"access": {}}}),
    "assistant.version": lambda s: ("POST", f"/v1/assistants/{s.assistant}/versions", {"json": {"model": "m"}}),
    "assistant.delete": lambda s: ("DELETE", f"/v1/assistants/{s.assistant}", {}),
    "tenant.create": lambda s: ("POST", "/v1/admin/tenants", {"json": {"id": "made"}}),
    "tenant.update": lambda s: ("POST", "/v1/admin/tenants/acme", {"json": {"name": "Other"}}),
    "user.create": lambda s: ("POST", "/v1/admin/users", {"json": {"id": "made"}}),
    "user.update": lambda s: ("POST", "/v1/admin/users/ada", {"json": {"groups": ["made"]}}),
    "session.end_all": lambda s: ("DELETE", "/v1/admin/users/ada/sessions", {}),
    "key.create": lambda s: ("POST", "/v1/admin/keys", {"json": {"user": "ada"}}),
    "key.confirm": lambda s: ("POST", f"/v1/me/keys/{s.handed_key}/confirm", {}),
    "key.revoke": lambda s: ("POST", f"/v1/admin/keys/{s.key}/revoke", {}),
    "key.rotate": lambda s: ("POST", f"/v1/admin/keys/{s.key}/rotate", {"json": {"overlap_s": 0}}),
    "quota.put": lambda s: ("PUT", "/v1/admin/quotas", {"json": s.more}),
    "quota.delete": lambda s: ("DELETE", f"/v1/admin/quotas?quota_id={s.quota}", {}),
    "hub_suite.create": lambda s: ("POST", "/v1/hub/suites", {"json": {**s.suited, "name": "other"}}),
    "hub_evaluation.create": lambda s: ("POST", "/v1/hub/evaluations", {"json": {"suite": s.suite, "model": "m"}}),
    "hub_evaluation.cancel": lambda s: ("POST", f"/v1/hub/evaluations/{s.evaluation}/cancel", {}),
    "hub_release.create": lambda s: ("POST", "/v1/hub/releases", {"json": {"alias": "alias-2", "target": "n"}}),
    "hub_release.promote": lambda s: ("POST", f"/v1/hub/releases/{s.release}/promote", {"json": {}}),
    "hub_release.pause": lambda s: ("POST", f"/v1/hub/releases/{s.release}/pause", {"json": {}}),
    "hub_release.resume": lambda s: ("POST", f"/v1/hub/releases/{s.paused}/resume", {"json": {}}),
    "hub_release.rollback": lambda s: ("POST", f"/v1/hub/releases/{s.release}/rollback", {"json": {}}),
    "conversation.delete": lambda s: ("DELETE", f"/v1/conversations/{s.talk}", {}),
    "conversation.delete_all": lambda s: ("DELETE", "/v1/conversations", {}),
    "memory.delete": lambda s: ("DELETE", f"/v1/memories/{s.memory}", {}),
    "memory.delete_all": lambda s: ("DELETE", "/v1/memories", {}),
    "sign_in_code.create": lambda s: ("POST", "/auth/codes", {}),
    "erasure.create": lambda s: ("POST", "/v1/admin/erasures", {"json": {"user": "bob"}}),
}


@pytest.fixture(scope="module")
def stack(
    up: Gateway, ada: httpx.Client, boss: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    made = Stack(up, ada, boss, tmp_path_factory.mktemp("adapter") / "a.gguf")
    yield made
    made.own.close()


def test_every_action_is_tried() -> None:
    assert {op.audited for op in OPERATIONS if op.audited is not None and op.method != "GET"} == set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_fail_if_they_cannot_be_audited(stack: Stack, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    async def full(self: AuditRows, entries: object) -> None:
        raise StoreUnavailable("the disk is full")

    method, path, body = ACTIONS[action](stack)
    who = stack.own if action.startswith("tenant") else stack.boss
    before = stack.seen()
    with monkeypatch.context() as patch:
        patch.setattr(AuditRows, "append", full)
        answer = who.request(method, path, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert stack.seen() == before


@pytest.mark.parametrize(
    "action",
    [*(action for action in ACTIONS if action.endswith(".cancel")), "key.confirm", "key.revoke", "session.end_all"],
)
def test_what_changes_nothing_is_not_recorded(stack: Stack, action: str) -> None:
    """Otherwise who cancels the same thing again and again fills the log."""
    if action == "job.cancel":
        stack.job = stack.boss.post("/v1/hub/jobs", json=stack.tuned).json()["id"]
    method, path, body = ACTIONS[action](stack)
    answers = [stack.boss.request(method, path, **body).status_code for _ in range(3)]
    assert answers[0] == 200
    assert set(answers[1:]) <= {200, 409}
    events = stack.boss.get("/v1/admin/audit", params={"action": action, "limit": 100}).json()["data"]
    assert len(events) == 1
