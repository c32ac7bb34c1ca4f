"""What is done through the API is on record, without names."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import httpx
import orjson
import pytest

from serving.api.app import Api
from serving.config import Catalog
from serving.core.principal import Principal
from serving.security import erasure
from serving.security.audit_export import verify_export
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("audit"), Catalog()) as made:
        yield made


@pytest.fixture
def client(served: Gateway):
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {served.key}"}, timeout=60) as client:
        yield client


def events(client: httpx.Client, **query: str) -> list[dict]:
    answer = client.get("/v1/admin/audit", params=query)
    assert answer.status_code == 200
    return answer.json()["data"]


def test_files_and_vector_stores_are_on_record(client: httpx.Client):
    file = client.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("my.md", b"# words")}).json()["id"]
    store = client.post("/v1/vector_stores", json={"name": "mine"}, headers={"x-request-id": "r-1"}).json()["id"]
    assert client.delete(f"/v1/vector_stores/{store}").status_code == 200
    assert client.delete(f"/v1/files/{file}").status_code == 200
    found = events(client)
    assert [(e["action"], e["target"], e["outcome"]) for e in found[:4]] == [
        ("file.delete", file, "ok"),
        ("vector_store.delete", store, "ok"),
        ("vector_store.create", store, "ok"),
        ("file.create", file, "ok"),
    ]
    assert found[2]["request_id"] == "r-1"
    assert all(e["actor"].startswith("user_") for e in found)
    assert "my.md" not in str(found)
    assert [e["action"] for e in events(client, user="admin", action="file.create")] == ["file.create"]
    assert events(client, user="nobody") == []
    newest = events(client, limit="1")[0]["id"]
    assert events(client, after=newest, limit="1")[0]["id"] == str(int(newest) - 1)


def test_reading_the_log_is_on_record(client: httpx.Client):
    events(client)
    assert events(client)[0]["action"] == "audit.read"


def test_the_log_verifies(client: httpx.Client):
    events(client)
    found = client.get("/v1/admin/audit/verify").json()
    assert (found["valid"], found["problems"]) == (True, [])
    assert found["events"] == found["last"]["seq"] >= 1


def test_an_export_verifies(client: httpx.Client, served: Gateway):
    store = client.post("/v1/vector_stores", json={"name": "exported"}).json()["id"]
    answer = client.get("/v1/admin/audit/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''audit-default.jsonl"
    assert answer.text.count(store) == 1
    [whole] = verify_export([served.services.audit.key], iter(answer.text.splitlines()))
    assert (whole.tenant, whole.valid) == ("default", True)
    assert orjson.loads(answer.text.splitlines()[-2])["action"] == "audit.export"  # is on record, and in it
    of = {"action": "vector_store.create", "user": "admin", "outcome": "ok", "start": "0"}
    some = client.get("/v1/admin/audit/export", params=of).text.splitlines()
    [found] = verify_export([served.services.audit.key], iter(some))
    assert found.valid
    assert {orjson.loads(line)["action"] for line in some[1:-1]} == {"vector_store.create"}
    assert found.events == len(some) - 2 >= 1
    nobodys = client.get("/v1/admin/audit/export", params={"user": "nobody"}).text.splitlines()
    assert [list(orjson.loads(line)) for line in nobodys] == [["filter"], ["selection"]]
    for wrong in ({"outcome": "x"}, {"start": "-1"}, {"action": "a" * 65}):
        assert client.get("/v1/admin/audit/export", params=wrong).status_code == 400


def counted(details: list[dict]) -> dict[str, int]:
    """By reason: the gateway's own minute may have ended while they were counted."""
    found: Counter[str] = Counter()
    for detail in details:
        found[detail.pop("reason")] += detail.pop("count")
        assert detail == {}
    return found


def test_rejected_requests_are_counted(served: Gateway, client: httpx.Client):
    for _ in range(3):
        assert client.delete("/v1/files/file-none").status_code == 404
        assert (
            httpx.get(f"{served.url}/v1/models", headers={"authorization": "Bearer hr_wrong"}, timeout=60).status_code
            == 401
        )
    served.loop.do(served.services.audit.flush())
    denied = [e["detail"] for e in events(client, action="file.delete") if e["outcome"] == "denied"]
    assert counted(denied) == {"NotFound": 3}
    assert counted([e["detail"] for e in served.loop.do(served.services.audit.page("")).items]) == {"invalid": 3}


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=0", "limit=101", f"action={'x' * 65}", "after=²"])
def test_bad_questions_are_refused(client: httpx.Client, query: str):
    answer = client.get(f"/v1/admin/audit?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("path", ["/v1/admin/audit", "/v1/admin/audit/export", "/v1/admin/audit/verify"])
def test_only_the_platform_reads_another_tenants_log(served: Gateway, client: httpx.Client, path: str):
    key = served.loop.do(key_of(served.services, Principal("acme", "boss", ""), role="admin"))
    for tenant, status in (("acme", 200), ("", 200), ("nowhere", 404)):
        assert client.get(path, params={"tenant": tenant}).status_code == status
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=60) as boss:
        assert boss.get(path).status_code == 200
        refused = [boss.get(path, params={"tenant": tenant}) for tenant in ("default", "", "nowhere")]
        assert [each.status_code for each in refused] == [404, 404, 404]
        assert len({each.content for each in refused}) == 1


def test_erasures_begin_and_are_looked_up(client: httpx.Client):
    made = client.post("/v1/admin/erasures", json={"user": "bob"})
    assert made.status_code == 200
    erasure = made.json()
    assert (erasure["user"], erasure["status"], erasure["dry_run"], erasure["counts"]) == ("bob", "queued", False, None)
    assert client.post("/v1/admin/erasures", json={"user": "bob"}).json() == erasure  # it is under way
    counted = client.post("/v1/admin/erasures", json={"user": "bob", "dry_run": True}).json()
    assert [e["id"] for e in client.get("/v1/admin/erasures").json()["data"]] == [counted["id"], erasure["id"]]
    assert client.get(f"/v1/admin/erasures/{erasure['id']}").json() == erasure
    found = events(client, action="erasure.create")
    assert {e["target"] for e in found} == {erasure["id"], counted["id"]}
    assert "bob" not in str(found)


def test_a_dry_run_creates_no_pseudonym(served: Gateway, client: httpx.Client):
    for _ in range(2):
        counted = client.post("/v1/admin/erasures", json={"user": "carol", "dry_run": True}).json()
        assert (counted["user"], counted["subject"]) == ("carol", None)
    assert served.loop.do(served.services.audit.known_pseudonym("default", "carol")) is None
    erasure = client.post("/v1/admin/erasures", json={"user": "carol"}).json()
    again = client.post("/v1/admin/erasures", json={"user": "carol", "dry_run": True}).json()
    assert again["id"] == counted["id"] != erasure["id"]  # it is under way
    later = client.post("/v1/admin/erasures", json={"user": "dave", "dry_run": True}).json()
    assert later["id"] != counted["id"]


def test_more_erasures_than_may_wait_are_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(erasure, "MAX_WAITING", 0)
    refused = client.post("/v1/admin/erasures", json={"user": "erin"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert refused.headers["retry-after"]


@pytest.mark.parametrize("id", ["job_none", "x" * 300, "%00"])
def test_an_unknown_erasure_is_a_404(client: httpx.Client, id: str):
    answer = client.get(f"/v1/admin/erasures/{id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [{}, {"user": ""}, {"user": "x" * 257}, {"user": "a\0b"}, {"user": "a", "more": 1}])
def test_bad_erasures_are_refused(client: httpx.Client, body: dict):
    assert client.post("/v1/admin/erasures", json=body).status_code == 400


def test_a_lone_surrogate_names_no_user(client: httpx.Client):
    answer = client.post(
        "/v1/admin/erasures", content=b'{"user": "a\\ud800"}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("steps", range(6))
def test_actions_of_disconnected_callers_are_audited(served: Gateway, client: httpx.Client, steps: int):
    """Whenever the server cancels the request: a store that is there has an event."""
    name = f"hung up {steps}"

    async def hang_up() -> None:
        began = asyncio.Event()
        body = [{"type": "http.request", "body": orjson.dumps({"name": name}), "more_body": False}]

        async def receive() -> dict:
            began.set()
            return body.pop() if body else await asyncio.Future()

        async def send(message: dict) -> None:
            pass

        headers = {"authorization": f"Bearer {served.key}", "content-type": "application/json"}
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/vector_stores",
            "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
        task = asyncio.create_task(Api(served.services)(scope, receive, send))
        await began.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    served.loop.do(hang_up())
    made = [s["id"] for s in client.get("/v1/vector_stores", params={"name": name}).json()["data"]]
    recorded = [e["target"] for e in events(client, action="vector_store.create")]
    assert made
    assert made[0] in recorded


def test_unauthorised_requests_are_counted(served: Gateway, client: httpx.Client):
    key = served.loop.do(key_of(served.services, Principal("default", "weak", ""), scopes=["inference"]))
    weak = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{served.url}/v1/admin/audit", headers=weak, timeout=60).status_code == 403
    assert httpx.get(f"{served.url}/v1/files", headers=weak, timeout=60).status_code == 403
    served.loop.do(served.services.audit.flush())
    refused = {(e["action"], e["outcome"]) for e in events(client)}
    assert {("audit.read", "denied"), ("authorization", "denied")} <= refused
