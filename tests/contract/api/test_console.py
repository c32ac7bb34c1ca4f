"""What only an operator's console asks for: sessions of users, and the end of background jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from serving.config import Catalog, Tuning
from serving.core.principal import Principal
from serving.hub.jobs.freezing import FREEZE
from serving.hub.jobs.tuning import TUNE
from serving.store.errors import LeaseLost
from serving.store.jobs.job import COMPACT, ERASE, Job
from serving.store.vector_store import INGEST, PURGE_INDEX, REINDEX, UNINDEX
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway

ANN = Principal("acme", "ann", "")
BOSS = Principal("acme", "boss", "")


def client(up: Gateway, who: Principal, **settings: object) -> httpx.Client:
    key = up.loop.do(key_of(up.services, who, **settings))  # type: ignore[arg-type]
    return httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with Loop() as loop, gateway(loop, folder, Catalog(), tuning=Tuning(enabled=True)) as made:
        yield made


@pytest.fixture(scope="module")
def boss(up: Gateway) -> Iterator[httpx.Client]:
    with client(up, BOSS, role="admin") as made:
        yield made


@pytest.fixture(scope="module")
def rival(up: Gateway) -> Iterator[httpx.Client]:
    """An admin of another tenant, which has users of the same names."""
    with client(up, Principal("evil", "boss", ""), role="admin") as made:
        up.loop.do(key_of(up.services, Principal("evil", "ann", "")))
        yield made


def ok(answer: httpx.Response) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@contextmanager
def signed_in(up: Gateway, who: Principal) -> Iterator[httpx.Client]:
    key = up.loop.do(key_of(up.services, who))
    with httpx.Client(base_url=up.url, headers={"origin": up.url}, timeout=60, trust_env=False) as browser:
        assert browser.post("/auth/key", json={"key": key}).status_code == 200
        yield browser


def test_an_admin_sees_and_ends_the_sessions_of_a_user(up: Gateway, boss: httpx.Client, rival: httpx.Client) -> None:
    path = "/v1/admin/users/ann/sessions"
    with signed_in(up, ANN) as laptop, signed_in(up, ANN) as phone, signed_in(up, Principal("acme", "bob", "")) as bob:
        with signed_in(up, Principal("evil", "ann", "")) as namesake:
            answer = boss.get(path)
            found = ok(answer)
            ids = [browser.get("/auth/session").json()["id"] for browser in (phone, laptop)]
            assert ([each["id"] for each in found["data"]], found["has_more"]) == (ids, False)
            of_keys = {browser.get("/v1/me").json()["key_id"] for browser in (phone, laptop)}
            assert {(each["provider"], each["key_id"]) for each in found["data"]} == {(None, key) for key in of_keys}
            assert not [b for b in (laptop, phone) if b.cookies["headrace"] in answer.text]
            assert ok(rival.delete(path)) == {"object": "sessions.deleted", "deleted": 1}
            assert code(namesake.get("/auth/session")) == (401, "invalid_api_key")
        assert ok(boss.get(path)) == found
        assert ok(boss.delete(path)) == {"object": "sessions.deleted", "deleted": 2}
        for browser, status in ((laptop, 401), (phone, 401), (bob, 200)):
            assert browser.get("/v1/me").status_code == status
    assert ok(boss.get(path))["data"] == []
    assert ok(boss.delete(path))["deleted"] == 0
    events = ok(boss.get("/v1/admin/audit", params={"user": "ann", "action": "session.end_all"}))["data"]
    assert [(event["outcome"], event["target"]) for event in events] == [("ok", None)]  # none where none had ended
    assert events[0]["subject"] is not None
    for method in ("GET", "DELETE"):
        assert code(boss.request(method, "/v1/admin/users/nobody/sessions")) == (404, "not_found")
        assert code(rival.request(method, path, params={"tenant": "acme"})) == (404, "not_found")


def test_a_session_that_has_ended_is_not_shown(up: Gateway, boss: httpx.Client) -> None:
    who = Principal("acme", "short", "")
    with signed_in(up, who) as browser:
        key = browser.get("/v1/me").json()["key_id"]
        path = "/v1/admin/users/short/sessions"
        assert [each["key_id"] for each in ok(boss.get(path))["data"]] == [key]
        ok(boss.post(f"/v1/admin/keys/{key}/revoke"))
        assert ok(boss.get(path))["data"] == []


def queued(up: Gateway, kind: str, **payload: object) -> Job:
    return up.loop.do(up.services.jobs.enqueue(BOSS, kind, payload))


def listed(boss: httpx.Client, id: str) -> dict:
    return next(each for each in ok(boss.get("/v1/admin/jobs", params={"limit": 100}))["data"] if each["id"] == id)


def test_a_queued_job_is_cancelled_at_once(up: Gateway, boss: httpx.Client) -> None:
    job = queued(up, TUNE)
    assert (listed(boss, job.id)["cancellable"], listed(boss, job.id)["cancel_requested"]) == (True, False)
    cancelled = ok(boss.post(f"/v1/admin/jobs/{job.id}/cancel"))
    assert (cancelled["status"], cancelled["cancellable"]) == ("cancelled", False)
    assert listed(boss, job.id) == cancelled
    assert code(boss.post(f"/v1/admin/jobs/{job.id}/cancel")) == (409, "conflict")
    events = ok(boss.get("/v1/admin/audit", params={"action": "job.cancel", "outcome": "ok"}))["data"]
    assert [event["target"] for event in events] == [job.id]


def test_a_running_job_is_cancelled_when_its_worker_notices(up: Gateway, boss: httpx.Client) -> None:
    job, jobs = queued(up, TUNE), up.services.jobs
    claimed = up.loop.do(jobs.claim([TUNE], "worker", 60))
    assert claimed is not None
    assert claimed.id == job.id
    for _ in range(2):  # who asks again learns the same
        asked = ok(boss.post(f"/v1/admin/jobs/{job.id}/cancel"))
        assert (asked["status"], asked["cancel_requested"], asked["cancellable"]) == ("running", True, False)
    with pytest.raises(LeaseLost):
        up.loop.do(jobs.heartbeat(claimed, 60))
    up.loop.do(jobs.release(claimed))
    assert listed(boss, job.id)["status"] == "cancelled"
    assert code(boss.post(f"/v1/admin/jobs/{job.id}/cancel")) == (409, "conflict")


def test_what_a_job_was_for_ends_with_it(up: Gateway, boss: httpx.Client) -> None:
    dataset = ok(boss.post("/v1/hub/datasets", json={}))["id"]
    file = ok(boss.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("a.md", b"# words")}))["id"]
    store = ok(boss.post("/v1/vector_stores", json={"name": "s", "file_ids": [file]}))["id"]
    for kind in (FREEZE, INGEST):
        (job,) = ok(boss.get("/v1/admin/jobs", params={"kind": kind, "status": "queued"}))["data"]
        assert ok(boss.post(f"/v1/admin/jobs/{job['id']}/cancel"))["status"] == "cancelled"
    assert ok(boss.get(f"/v1/hub/datasets/{dataset}"))["status"] == "retired"
    assert ok(boss.get(f"/v1/vector_stores/{store}/files/{file}"))["status"] == "cancelled"


def test_a_job_names_its_file_and_store_to_whoever_may_read_them(up: Gateway, boss: httpx.Client) -> None:
    file = ok(boss.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("chart.md", b"# sea")}))["id"]
    store = ok(boss.post("/v1/vector_stores", json={"name": "charts", "file_ids": [file]}))["id"]

    def subjects(who: httpx.Client) -> list[dict[str, Any]]:
        jobs = ok(who.get("/v1/admin/jobs", params={"kind": INGEST}))["data"]
        return next(job["subjects"] for job in jobs if file in [each["id"] for each in job["subjects"]])

    def told(*names: str | None) -> list[dict[str, Any]]:
        kinds = zip(("file", "vector_store"), (file, store), names, strict=True)
        return [{"type": kind, "id": id, "name": name} for kind, id, name in kinds]

    assert subjects(boss) == told("chart.md", "charts")
    with client(up, Principal("acme", "opal", ""), role="operator", scopes=("operate",)) as operator:
        assert subjects(operator) == told(None, None)


@pytest.mark.parametrize("kind", [ERASE, COMPACT, PURGE_INDEX, REINDEX, UNINDEX, "not.known"])
def test_jobs_that_must_complete_cannot_be_cancelled(up: Gateway, boss: httpx.Client, kind: str) -> None:
    job = queued(up, kind, user="ann", subject="user_1", dry_run=False)
    answer = boss.post(f"/v1/admin/jobs/{job.id}/cancel")
    assert code(answer) == (409, "conflict")
    assert kind in answer.json()["error"]["message"]
    assert (listed(boss, job.id)["status"], listed(boss, job.id)["cancellable"]) == ("queued", False)


def test_only_an_admin_of_the_tenant_cancels(up: Gateway, boss: httpx.Client, rival: httpx.Client) -> None:
    job = queued(up, TUNE)
    path = f"/v1/admin/jobs/{job.id}/cancel"
    assert code(rival.post(path)) == code(rival.post("/v1/admin/jobs/job_none/cancel")) == (404, "not_found")
    assert code(rival.post(path, params={"tenant": "acme"})) == (404, "not_found")
    with client(up, Principal("acme", "opal", ""), role="operator") as operator:
        assert code(operator.post(path)) == (403, "insufficient_scope")
    with up.client() as platform:
        assert code(platform.post(path)) == (404, "not_found")
        assert ok(platform.post(path, params={"tenant": "acme"}))["status"] == "cancelled"
