"""A right needs the scope and the role, and what is done is on record with it: both or neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from serving.api.operations import OPERATIONS
from serving.config import Catalog, RemoteModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.audit import AuditRows
from serving.store.errors import StoreUnavailable
from serving.store.relational.tables import batches
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway
from tests.wait import eventually

Caller = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a model, which nobody asks."""
    model = RemoteModel(name="m", url="http://127.0.0.1:9/v1")
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog(models=(model,))) as made:
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
    assert boss.post(f"/v1/vector_stores/{shut}", json={"access": None}).status_code == 200
    mine = file(boss)
    assert boss.post(f"/v1/vector_stores/{shut}/files", json={"file_id": mine}).status_code == 200
    assert boss.delete(f"/v1/vector_stores/{shut}/files/{mine}").status_code == 200
    found = boss.get("/v1/admin/audit", params={"user": "boss"}).json()["data"]
    assert [(e["action"], e["target"], e["detail"]) for e in found if e["target"] == shut] == [
        ("vector_store_file.delete", shut, {"file": mine}),
        ("vector_store_file.create", shut, {"file": mine}),
        ("vector_store.update", shut, {}),
    ]


class Stack:
    """What there is to act upon, and what one can see of it."""

    def __init__(self, up: Gateway, ada: httpx.Client, boss: httpx.Client) -> None:
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
        lines = {"file": ("lines.jsonl", b'{"custom_id": "1"}')}
        input = boss.post("/v1/files", data={"purpose": "batch"}, files=lines).json()["id"]
        self.batched = {"input_file_id": input, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        self.batch = boss.post("/v1/batches", json=self.batched).json()["id"]
        eventually(lambda: boss.get(f"/v1/batches/{self.batch}").json()["status"] == "failed", "the batch has ended")
        up.loop.do(self.go_on())
        self.hooked = {"url": "https://hooks.example.com/a", "events": ["response.completed"]}
        self.webhook = boss.post("/v1/admin/webhooks", json=self.hooked).json()["id"]
        self.key = boss.post("/v1/admin/keys", json={"user": "ada"}).json()["id"]
        entry = {"subject": "user", "id": "ada", "window": "day", "measure": "requests", "limit": 10**9}
        self.entry = {"quotas": [entry]}
        self.quota = boss.put("/v1/admin/quotas", json=self.entry).json()["data"][0]["quota_id"]
        self.more = {"quotas": [{**entry, "id": "boss"}]}
        self.tenants = 0

    @uninterrupted
    async def go_on(self) -> None:
        """Has the batch be under way, with nobody who works on it: one that has ended cannot be cancelled."""
        async with self.up.services.database.write() as connection:
            await connection.execute(batches.update().values(status="in_progress"))

    def seen(self) -> list[Any]:
        paths = ["/v1/files", "/v1/vector_stores", "/v1/admin/users", "/v1/admin/keys", "/v1/admin/quotas"]
        paths += [
            "/v1/assistants",
            f"/v1/assistants/{self.assistant}/versions",
            "/v1/admin/webhooks",
            "/v1/batches",
            "/v1/admin/erasures",
            f"/v1/vector_stores/{self.store}/files",
            f"/v1/vector_stores/{self.store}/file_batches/{self.file_batch}/files",
        ]
        shown = [self.boss.get(path).json()["data"] for path in paths]
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
    "batch.create": lambda s: ("POST", "/v1/batches", {"json": s.batched}),
    "batch.cancel": lambda s: ("POST", f"/v1/batches/{s.batch}/cancel", {}),
    "webhook.create": lambda s: ("POST", "/v1/admin/webhooks", {"json": s.hooked}),
    "webhook.rotate": lambda s: ("POST", f"/v1/admin/webhooks/{s.webhook}/rotate", {"json": {"overlap_s": 0}}),
    "webhook.delete": lambda s: ("DELETE", f"/v1/admin/webhooks/{s.webhook}", {}),
    "assistant.create": lambda s: ("POST", "/v1/assistants", {"json": {"name": "made", "model": "m"}}),
    "assistant.update": lambda s: ("POST", f"/v1/assistants/{s.assistant}", {"json": {"access": {}}}),
    "assistant.version": lambda s: ("POST", f"/v1/assistants/{s.assistant}/versions", {"json": {"model": "m"}}),
    "assistant.delete": lambda s: ("DELETE", f"/v1/assistants/{s.assistant}", {}),
    "tenant.create": lambda s: ("POST", "/v1/admin/tenants", {"json": {"id": "made"}}),
    "tenant.update": lambda s: ("POST", "/v1/admin/tenants/acme", {"json": {"name": "Other"}}),
    "user.create": lambda s: ("POST", "/v1/admin/users", {"json": {"id": "made"}}),
    "user.update": lambda s: ("POST", "/v1/admin/users/ada", {"json": {"groups": ["made"]}}),
    "key.create": lambda s: ("POST", "/v1/admin/keys", {"json": {"user": "ada"}}),
    "key.revoke": lambda s: ("POST", f"/v1/admin/keys/{s.key}/revoke", {}),
    "key.rotate": lambda s: ("POST", f"/v1/admin/keys/{s.key}/rotate", {"json": {"overlap_s": 0}}),
    "quota.put": lambda s: ("PUT", "/v1/admin/quotas", {"json": s.more}),
    "quota.delete": lambda s: ("DELETE", f"/v1/admin/quotas?quota_id={s.quota}", {}),
    "erasure.create": lambda s: ("POST", "/v1/admin/erasures", {"json": {"user": "bob"}}),
}


@pytest.fixture(scope="module")
def stack(up: Gateway, ada: httpx.Client, boss: httpx.Client) -> Iterator[Stack]:
    made = Stack(up, ada, boss)
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
