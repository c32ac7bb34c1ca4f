"""The scope `review` over HTTP: who has it, what it shows, and that each read is on record."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from serving.inference.apps.runs import SCOPES as OF_APPS
from serving.store.audit import AuditRows
from serving.store.errors import StoreUnavailable
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway
from tests.store.captures import capture

ANN = Principal("acme", "ann", "")
CAPTURES = "/v1/admin/captures"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as made:
        kept = capture(
            ANN,
            "How do locks work?",
            id="chatcmpl_yes",
            created_at=1.0,
            request={
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "How do locks work?"},
                            {"type": "file", "file": {"file_data": "data:text/plain;base64,c2VjcmV0"}},
                        ],
                    },
                ],
                "user": "ann@example.com",
            },
            metadata={"w": "ann@example.com"},
            chunks=[
                {"file_id": "file_gone", "file_name": "locks.md", "text": "what was deleted", "start": 0, "end": 9}
            ],
            answer=[
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "By water.",
                        "annotations": [{"quote": "what was deleted"}],
                    },
                }
            ],
        )
        own = capture(ANN, id="chatcmpl_response", created_at=2.0, request={"input": "Why?", "instructions": "Rhyme."})
        for each in (kept, own, capture(ANN, "a secret", id="chatcmpl_no", consent=False)):
            loop.do(made.services.captures.record(ANN, each))
        yield made


@pytest.fixture(scope="module")
def reviewer(up: Gateway) -> Iterator[httpx.Client]:
    with client(up, "acme", "rita", role="operator", scopes=("review", "operate")) as made:
        yield made


def client(up: Gateway, tenant: str, user: str, **settings: object) -> httpx.Client:
    key = up.loop.do(key_of(up.services, Principal(tenant, user, ""), **settings))  # type: ignore[arg-type]
    return httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)


def ok(answer: httpx.Response) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_reviewer_reads_what_was_consented_to(reviewer: httpx.Client) -> None:
    listed = reviewer.get(CAPTURES)
    assert [each["id"] for each in ok(listed)["data"]] == ["chatcmpl_response", "chatcmpl_yes"]
    found = reviewer.get(f"{CAPTURES}/chatcmpl_yes")
    told = ok(found)
    assert told["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How do locks work?"}, {"type": "file"}]},
    ]
    assert told["answer"] == [{"content": "By water.", "refusal": None, "tool_calls": []}]
    none = dict.fromkeys(("file_name", "title", "heading", "text", "start", "end", "page"))
    assert told["passages"] == [{"file_id": "file_gone", **none}]
    assert not [word for word in ("ann", "c2VjcmV0", "deleted") if word in found.text + listed.text]
    told = ok(reviewer.get(f"{CAPTURES}/chatcmpl_response"))
    assert told["messages"] == [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Why?"}]
    assert code(reviewer.get(f"{CAPTURES}/chatcmpl_no")) == (404, "not_found")
    for wrong in ({"thumb": "sideways"}, {"start": "-1"}, {"limit": "101"}, {"after": "chatcmpl_no"}):
        assert reviewer.get(CAPTURES, params=wrong).status_code == 400, wrong


def test_each_read_is_on_record(reviewer: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(reviewer.get(CAPTURES))
    ok(reviewer.get(f"{CAPTURES}/chatcmpl_yes"))
    for action, target in (("capture.list", None), ("capture.read", "chatcmpl_yes")):
        event = ok(reviewer.get("/v1/admin/audit", params={"action": action, "user": "rita"}))["data"][0]
        assert (event["target"], event["outcome"]) == (target, "ok")

    async def full(self: AuditRows, entries: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(AuditRows, "append", full)
    for path in (CAPTURES, f"{CAPTURES}/chatcmpl_yes"):
        answer = reviewer.get(path)
        assert code(answer) == (503, "unavailable")
        assert "chatcmpl_yes" not in answer.text


def test_no_role_includes_the_scope(up: Gateway, reviewer: httpx.Client) -> None:
    for role in ("user", "operator", "admin"):
        with client(up, "acme", f"a-{role}", role=role) as other:
            assert "review" not in ok(other.get("/v1/me"))["scopes"]
            for path in (CAPTURES, f"{CAPTURES}/chatcmpl_yes", f"{CAPTURES}/chatcmpl_none"):
                assert code(other.get(path)) == (403, "insufficient_scope")
    assert "review" not in OF_APPS  # an app does not review for its caller
    with client(up, "acme", "ann", scopes=("review", "data:read")) as user:
        assert ok(user.get("/v1/me"))["scopes"] == ["data:read"]  # nor does a key of a user have it


def test_only_who_has_the_scope_grants_it(up: Gateway) -> None:
    boss = client(up, "acme", "boss", role="admin")
    own = up.client()
    with boss, own:
        asked = {"user": "boss", "scopes": ["review"]}
        assert code(boss.post("/v1/admin/keys", json=asked)) == (403, "insufficient_scope")
        of_user = own.post("/v1/admin/keys", params={"tenant": "acme"}, json={"user": "ann", "scopes": ["review"]})
        assert code(of_user) == (400, "invalid_value")
        made = ok(own.post("/v1/admin/keys", params={"tenant": "acme"}, json=asked | {"scopes": ["review", "admin"]}))
        with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=60) as lead:
            assert ok(lead.post("/v1/admin/keys", json=asked))["scopes"] == ["review"]
            assert len(ok(lead.get(CAPTURES))["data"]) == 2
        with httpx.Client(base_url=up.url, headers={"origin": up.url}, timeout=60) as browser:
            scopes = ok(browser.post("/auth/key", json={"key": made["key"]}))["scopes"]
            assert scopes == ["admin", "review"]
            assert len(ok(browser.get(CAPTURES))["data"]) == 2


def test_reviewers_see_their_tenant_alone(up: Gateway, reviewer: httpx.Client) -> None:
    with client(up, "evil", "rita", role="admin", scopes=("review", "admin")) as rival, up.client() as platform:
        assert ok(rival.get(CAPTURES))["data"] == []
        answers = [rival.get(f"{CAPTURES}/{id}") for id in ("chatcmpl_yes", "chatcmpl_none")]
        assert [code(answer) for answer in answers] == [(404, "not_found")] * 2
        for path in (CAPTURES, f"{CAPTURES}/chatcmpl_yes"):
            assert code(rival.get(path, params={"tenant": "acme"})) == (404, "not_found")
        assert ok(platform.get(CAPTURES))["data"] == []
        of = {"tenant": "acme"}
        assert len(ok(platform.get(CAPTURES, params=of))["data"]) == 2
        assert ok(platform.get(f"{CAPTURES}/chatcmpl_yes", params=of))["id"] == "chatcmpl_yes"
    last = ok(reviewer.get("/v1/admin/audit", params={"action": "capture.read"}))["data"][0]
    assert (last["target"], last["actor"]) == ("chatcmpl_yes", None)  # the tenant learns that the platform read it


def test_a_reviewer_who_is_no_operator_any_more_reads_nothing(up: Gateway) -> None:
    with client(up, "acme", "rosa", role="operator", scopes=("review",)) as rosa, up.client() as platform:
        ok(platform.post("/v1/admin/users/rosa", params={"tenant": "acme"}, json={"role": "user"}))
        assert code(rosa.get(CAPTURES)) == (403, "insufficient_scope")
