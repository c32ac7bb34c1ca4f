"""Tenants, users and keys over HTTP: what each scope opens, and what nobody may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from serving.api.operations import OPERATIONS
from serving.core.principal import SCOPES, SCOPES_OF, Principal
from tests.contract.running import Gateway

ANY_KEY = {"GET /v1/models", "GET /v1/models/{model}", "GET /v1/me", "GET /v1/usage", "POST /auth/codes"} | {
    "GET /v1/me/keys",
    *(f"POST /v1/me/keys/{{key_id}}/{verb}" for verb in ("confirm", "revoke", "rotate")),
    "POST /mcp",
}
"""What any key may ask: what there is, who it is, what it used, its user's keys, a code for its own session, and the
tools that its scopes permit."""

Caller = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def stack(up: Gateway) -> Iterator[httpx.Client]:
    with _client(up, up.key) as client:
        for tenant in ("acme", "evil"):
            assert _ok(client.post("/v1/admin/tenants", json={"id": tenant}))["name"] == tenant
            made = {"id": "boss", "role": "admin"}
            assert _ok(client.post("/v1/admin/users", params={"tenant": tenant}, json=made))["tenant"] == tenant
        yield client


@pytest.fixture(scope="module")
def caller(up: Gateway, stack: httpx.Client) -> Iterator[Caller]:
    """Makes clients with keys of their own."""
    made: list[httpx.Client] = []

    def make(tenant: str, user: str, **given: object) -> httpx.Client:
        body = {"user": user, **given}
        key = _ok(stack.post("/v1/admin/keys", params={"tenant": tenant}, json=body))["key"]
        made.append(_client(up, key))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def boss(caller: Caller) -> httpx.Client:
    return caller("acme", "boss")


def _client(up: Gateway, key: str) -> httpx.Client:
    return httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def _ok(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()


def _code(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


def _user(boss: httpx.Client, id: str, **given: object) -> dict:
    return _ok(boss.post("/v1/admin/users", json={"id": id, **given}))


def test_each_route_that_knows_its_caller_names_a_scope() -> None:
    routes = {f"{op.method} {op.path}": op for op in OPERATIONS if op.authenticated}
    assert {name for name, op in routes.items() if op.scope is None} == ANY_KEY
    for name, op in routes.items():
        assert not op.path.startswith("/v1/admin/") or op.scope in ("operate", "review", "admin", "platform"), name


def test_admin_actions_record_their_actor() -> None:
    changes = [op for op in OPERATIONS if op.scope in ("admin", "platform") and op.method != "GET"]
    assert len(changes) >= 10
    for op in changes:
        assert op.audited is not None, (op.method, op.path)
        assert op.about_user == ("{user_id}" in op.path or op.path == "/v1/admin/users"), op.path


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "platform"])
def test_keys_permit_only_the_routes_of_their_scopes(boss: httpx.Client, caller: Caller, scope: str) -> None:
    with caller("acme", "boss", scopes=[scope]) as client:
        good = {scope} | {"data": {"data:read"}, "hub:write": {"hub:read"}}.get(scope, set())
        assert _ok(client.get("/v1/me"))["scopes"] == sorted(good)
        for op in OPERATIONS:
            if not op.authenticated:
                continue
            path = op.path.replace("{", "").replace("}", "")
            response = client.request(op.method, path, **({"json": {}} if op.method == "POST" else {}))
            refused = response.status_code == 403
            assert refused == (op.scope is not None and op.scope not in good), (op.path, response.text)
            if refused:
                assert _code(response) == (403, "insufficient_scope", None)
                assert op.scope in response.json()["error"]["message"]


def test_the_caller_can_look_up_themselves(stack: httpx.Client, boss: httpx.Client, up: Gateway) -> None:
    me = _ok(stack.get("/v1/me"))
    assert (me["tenant"], me["id"], me["role"], me["scopes"]) == ("default", "admin", "admin", sorted(SCOPES))
    me = _ok(boss.get("/v1/me"))
    assert (me["tenant"], me["id"], me["scopes"]) == ("acme", "boss", sorted(SCOPES_OF["admin"]))
    assert httpx.get(f"{up.url}/v1/me", timeout=60).status_code == 401


def test_tenants_are_isolated_in_admin_routes(stack: httpx.Client, boss: httpx.Client, caller: Caller) -> None:
    other = caller("evil", "boss")
    _user(boss, "secret")
    key = _ok(boss.post("/v1/admin/keys", json={"user": "secret"}))
    there, nowhere = {"tenant": "acme"}, {"tenant": "nowhere"}
    for method, path, body in (
        ("GET", "/v1/admin/users", None),
        ("GET", "/v1/admin/users/secret", None),
        ("POST", "/v1/admin/users", {"id": "mine", "role": "admin"}),
        ("POST", "/v1/admin/users/secret", {"role": "admin"}),
        ("GET", "/v1/admin/users/secret/sessions", None),
        ("DELETE", "/v1/admin/users/secret/sessions", None),
        ("GET", "/v1/admin/keys", None),
        ("POST", "/v1/admin/keys", {"user": "secret"}),
        ("GET", f"/v1/admin/keys/{key['id']}", None),
        ("POST", f"/v1/admin/keys/{key['id']}/revoke", None),
        ("POST", f"/v1/admin/keys/{key['id']}/rotate", {}),
        ("GET", "/v1/admin/usage", None),
        ("GET", "/v1/admin/quotas", None),
        ("PUT", "/v1/admin/quotas", {"quotas": []}),
        ("DELETE", "/v1/admin/quotas", None),
        ("GET", "/v1/admin/audit", None),
        ("GET", "/v1/admin/audit/export", None),
        ("GET", "/v1/admin/audit/verify", None),
        ("GET", "/v1/admin/requests/secret", None),
        ("GET", "/v1/admin/jobs", None),
        ("POST", "/v1/admin/jobs/job_none/cancel", None),
        ("GET", "/v1/admin/feedback/summary", None),
        ("GET", "/v1/admin/models", None),
        ("GET", "/v1/admin/aliases", None),
        ("POST", "/v1/admin/erasures", {"user": "secret"}),
        ("GET", "/v1/admin/erasures", None),
        ("GET", "/v1/admin/erasures/job_none", None),
    ):
        answers = [
            other.request(method, path, params={"quota_id": "x", **params}, json=body) for params in (there, nowhere)
        ]
        assert [a.status_code for a in answers] == [404, 404], path
        assert answers[0].content == answers[1].content, path
    for method, path, body in (
        ("GET", "/v1/admin/users/{}", None),
        ("POST", "/v1/admin/users/{}", {"role": "admin"}),
        ("GET", "/v1/admin/users/{}/sessions", None),
        ("DELETE", "/v1/admin/users/{}/sessions", None),
        ("GET", "/v1/admin/keys/{}", None),
        ("POST", "/v1/admin/keys/{}/revoke", None),
        ("POST", "/v1/admin/keys/{}/rotate", {}),
    ):
        theirs, none = ("secret", "nobody") if "users" in path else (key["id"], "key_none")
        answers = [other.request(method, path.format(id), json=body) for id in (theirs, none)]
        assert [a.status_code for a in answers] == [404, 404], path
        assert answers[0].content == answers[1].content, path
    assert _code(other.get("/v1/admin/tenants/acme")) == (403, "insufficient_scope", None)
    assert _ok(stack.get("/v1/admin/users/secret", params=there))["role"] == "user"
    assert _ok(stack.get(f"/v1/admin/keys/{key['id']}", params=there))["revoked_at"] is None
    assert stack.get("/v1/admin/users/secret").status_code == 404  # its own tenant is another


def test_admin_actions_are_audited_with_pseudonyms(stack: httpx.Client, boss: httpx.Client) -> None:
    def newest(client: httpx.Client, count: int, **params: str) -> list[dict]:
        found = _ok(client.get("/v1/admin/audit", params={"limit": count + 1, **params}))["data"]
        return [event for event in found if event["action"] != "audit.read"][:count]

    _user(boss, "carol@example.com")
    made = _ok(boss.post("/v1/admin/keys", json={"user": "carol@example.com"}))
    _ok(boss.post("/v1/admin/users/carol@example.com", json={"role": "operator"}))
    by_platform = {"tenant": "acme"}
    _ok(stack.post("/v1/admin/users/carol@example.com", params=by_platform, json={"disabled": True}))
    found = newest(boss, 4)
    assert [event["action"] for event in found] == ["user.update", "user.update", "key.create", "user.create"]
    assert found[2]["target"] == made["id"]
    assert found[0]["subject"] == found[1]["subject"] == found[2]["subject"] == found[3]["subject"]
    # The platform has no name here, which an admin of the tenant could have too: its key says who it was.
    assert (found[0]["actor"], found[0]["key_id"]) == (None, _ok(stack.get("/v1/me"))["key_id"])
    assert found[1]["actor"] is not None
    assert "carol" not in str(found)
    assert made["key"] not in str(found)
    assert newest(stack, 4, **by_platform) == found


def test_admins_cannot_grant_more_than_their_own_rights(boss: httpx.Client, caller: Caller) -> None:
    _user(boss, "worker")
    for scopes in (["admin"], ["inference", "operate"], ["platform"]):
        assert _code(boss.post("/v1/admin/keys", json={"user": "worker", "scopes": scopes}))[1] == "invalid_value"
    for user in ("boss", "worker"):
        assert _code(boss.post("/v1/admin/keys", json={"user": user, "scopes": ["platform"]}))[0] == 400
    whole = _ok(boss.post("/v1/admin/keys", json={"user": "boss"}))
    with caller("acme", "boss", scopes=["admin", "data"]) as narrow:
        given = {"user": "boss", "scopes": ["inference"]}
        assert _code(narrow.post("/v1/admin/keys", json=given)) == (403, "insufficient_scope", None)
        assert _ok(narrow.post("/v1/admin/keys", json={"user": "boss"}))["scopes"] == ["admin", "data", "data:read"]
        assert _ok(narrow.post("/v1/admin/keys", json={"user": "worker"}))["scopes"] == ["data", "data:read"]
        rotated = narrow.post(f"/v1/admin/keys/{whole['id']}/rotate", json={})
        assert _code(rotated) == (403, "insufficient_scope", None)
    assert _ok(boss.get(f"/v1/admin/keys/{whole['id']}"))["rotated_to"] is None


def test_a_key_is_shown_once(boss: httpx.Client, up: Gateway) -> None:
    _user(boss, "ci")
    before = time.time()
    body = {"user": "ci", "name": "build", "scopes": ["inference"], "expires_in_s": 600}
    made = _ok(boss.post("/v1/admin/keys", json=body))
    assert before + 599 <= made["expires_at"] <= time.time() + 600
    with _client(up, made["key"]) as client:
        assert _ok(client.get("/v1/me"))["key_id"] == made["id"]
    shown = _ok(boss.get(f"/v1/admin/keys/{made['id']}"))
    assert shown == {name: value for name, value in made.items() if name != "key"}
    listed = boss.get("/v1/admin/keys", params={"user": "ci"})
    assert _ok(listed)["data"] == [shown]
    assert made["key"] not in listed.text
    for path in ("/v1/admin/keys", f"/v1/admin/keys/{made['id']}/rotate"):
        again = boss.post(path, json={"user": "ci"}, headers={"Idempotency-Key": "k"})
        assert _code(again) == (400, "idempotency_not_supported", None)
    assert len(_ok(boss.get("/v1/admin/keys", params={"user": "ci"}))["data"]) == 1


def test_rotated_keys_work_during_their_overlap_and_revoked_ones_do_not(
    boss: httpx.Client, stack: httpx.Client, up: Gateway
) -> None:
    _user(boss, "old")
    first = _ok(boss.post("/v1/admin/keys", json={"user": "old"}))
    second = _ok(boss.post(f"/v1/admin/keys/{first['id']}/rotate", json={"overlap_s": 600}))
    assert second["scopes"] == first["scopes"]
    for key in (first["key"], second["key"]):
        with _client(up, key) as client:
            assert _ok(client.get("/v1/me"))["id"] == "old"
    assert _ok(boss.get(f"/v1/admin/keys/{first['id']}"))["rotated_to"] == second["id"]
    assert _code(boss.post(f"/v1/admin/keys/{first['id']}/rotate", json={})) == (409, "conflict", None)
    third = _ok(boss.post(f"/v1/admin/keys/{second['id']}/rotate", json={"overlap_s": 0}))
    revoked = _ok(boss.post(f"/v1/admin/keys/{third['id']}/revoke"))
    assert revoked["revoked_at"] is not None
    assert _ok(boss.post(f"/v1/admin/keys/{third['id']}/revoke")) == revoked
    with _client(up, third["key"]) as client:  # never seen by this gateway, so not remembered
        assert client.get("/v1/me").status_code == 401
    own = _ok(stack.get("/v1/me"))["key_id"]
    for call in (stack.post(f"/v1/admin/keys/{own}/revoke"), stack.post(f"/v1/admin/keys/{own}/rotate", json={})):
        assert _code(call) == (409, "conflict", None)


def test_disabled_users_cannot_authenticate(stack: httpx.Client, boss: httpx.Client, up: Gateway) -> None:
    _user(boss, "gone")
    keys = [_ok(boss.post("/v1/admin/keys", json={"user": "gone"}))["key"] for _ in range(2)]
    assert _ok(boss.post("/v1/admin/users/gone", json={"disabled": True}))["disabled"]
    with _client(up, keys[0]) as client:
        assert _code(client.get("/v1/me")) == (401, "invalid_api_key", None)
    assert not _ok(boss.post("/v1/admin/users/gone", json={"disabled": False}))["disabled"]
    _ok(stack.post("/v1/admin/tenants", json={"id": "closing"}))
    _ok(stack.post("/v1/admin/users", params={"tenant": "closing"}, json={"id": "u"}))
    key = _ok(stack.post("/v1/admin/keys", params={"tenant": "closing"}, json={"user": "u"}))["key"]
    assert _ok(stack.post("/v1/admin/tenants/closing", json={"disabled": True, "name": "C"}))["disabled"]
    with _client(up, key) as client:
        assert client.get("/v1/me").status_code == 401
    assert _code(stack.post("/v1/admin/tenants/default", json={"disabled": True})) == (409, "conflict", None)


def test_a_tenant_keeps_its_last_admin(boss: httpx.Client, stack: httpx.Client) -> None:
    for change in ({"role": "user"}, {"disabled": True}):
        assert _code(boss.post("/v1/admin/users/boss", json=change)) == (409, "conflict", None)
        assert _code(stack.post("/v1/admin/users/admin", json=change)) == (409, "conflict", None)
    _user(boss, "second", role="admin")
    assert _ok(boss.post("/v1/admin/users/second", json={"role": "operator", "groups": ["g"]}))["groups"] == ["g"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/admin/tenants", {}, "id"),
        ("/v1/admin/tenants", {"id": "Acme"}, "id"),
        ("/v1/admin/tenants", {"id": "a" * 64}, "id"),
        ("/v1/admin/tenants", {"id": "b", "name": "x" * 257}, "name"),
        ("/v1/admin/tenants", {"id": "b", "name": "\0"}, "name"),
        ("/v1/admin/users", {"id": "a/b"}, "id"),
        ("/v1/admin/users", {"id": "a", "role": "root"}, "role"),
        ("/v1/admin/users", {"id": "a", "groups": ["x"] * 257}, "groups"),
        ("/v1/admin/users", {"id": "a", "groups": "x"}, "groups"),
        ("/v1/admin/users/admin", {"groups": [""]}, "groups[0]"),
        ("/v1/admin/keys", {}, "user"),
        ("/v1/admin/keys", {"user": "admin", "scopes": ["root"]}, "scopes[0]"),
        ("/v1/admin/keys", {"user": "admin", "expires_in_s": 0}, "expires_in_s"),
        ("/v1/admin/keys", {"user": "admin", "expires_in_s": 10**30}, "expires_in_s"),
        ("/v1/admin/keys/key_x/rotate", {"overlap_s": 10**9}, "overlap_s"),
    ],
)
def test_invalid_admin_requests_are_rejected(stack: httpx.Client, path: str, body: dict, param: str) -> None:
    assert _code(stack.post(path, json=body))[::2] == (400, param)


def test_lists_are_pages(stack: httpx.Client) -> None:
    _ok(stack.post("/v1/admin/tenants", json={"id": "many"}))
    for n in range(5):
        _ok(stack.post("/v1/admin/users", params={"tenant": "many"}, json={"id": f"u{n}@example.com"}))
    seen: list[str] = []
    page: dict = {"has_more": True}
    while page["has_more"]:
        after = {"after": seen[-1]} if seen else {}
        page = _ok(stack.get("/v1/admin/users", params={"tenant": "many", "limit": 2, "order": "asc", **after}))
        seen += [user["id"] for user in page["data"]]
    assert seen == [f"u{n}@example.com" for n in range(5)]
    assert _code(stack.get("/v1/admin/users", params={"after": "nobody"})) == (400, "invalid_value", "after")
    assert "many" in [t["id"] for t in _ok(stack.get("/v1/admin/tenants", params={"limit": 100}))["data"]]
    assert stack.get("/v1/admin/users", params={"tenant": "\0"}).status_code == 400
    assert stack.get("/v1/admin/users/%00").status_code == 404


def test_lists_are_filtered(stack: httpx.Client, boss: httpx.Client, up: Gateway) -> None:
    for name, role in (("filter.ann", "user"), ("filter.Bea", "operator"), ("other", "user")):
        _ok(boss.post("/v1/admin/users", json={"id": name, "role": role}))
    _ok(boss.post("/v1/admin/users/filter.ann", json={"disabled": True}))

    def ids(path: str, client: httpx.Client = boss, **query: object) -> list[str]:
        return sorted(each["id"] for each in _ok(client.get(f"/v1/admin/{path}", params=query))["data"])

    assert ids("users", q="FILTER.") == ["filter.Bea", "filter.ann"]
    assert ids("users", q="filter.", role="operator") == ["filter.Bea"]
    assert ids("users", q="filter_") == []
    assert ids("users", q="filter.", disabled="true") == ["filter.ann"]
    assert ids("tenants", stack, q="CM") == ["acme"]
    brief = _ok(boss.post("/v1/admin/keys", json={"user": "other", "name": "Filtered", "expires_in_s": 600}))["id"]
    lasting = _ok(boss.post("/v1/admin/keys", json={"user": "other", "name": "lasting"}))["id"]
    now = int(time.time())
    assert ids("keys", user="other", q="filter") == [brief]
    assert ids("keys", user="other", expires_before=now + 700) == [brief]
    assert ids("keys", user="other", expires_before=now) == []
    assert ids("keys", user="other", unused_since=now + 60) == sorted([brief, lasting])
    assert ids("keys", user="other", unused_since=now - 3600) == []
    _ok(boss.post(f"/v1/admin/keys/{lasting}/revoke"))
    assert ids("keys", user="other", unused_since=now + 60) == [brief]
    for path, query in (("keys", {"unused_since": "-1"}), ("users", {"role": "king"}), ("audit", {"outcome": "x"})):
        assert boss.get(f"/v1/admin/{path}", params=query).status_code == 400
    revoked = {"action": "key.revoke", "outcome": "ok"}
    (event,) = _ok(boss.get("/v1/admin/audit", params=revoked | {"start": now - 60}))["data"][:1]
    assert event["target"] == lasting
    assert _ok(boss.get("/v1/admin/audit", params=revoked | {"end": now - 60}))["data"] == []
    assert _ok(boss.get("/v1/admin/audit", params=revoked | {"outcome": "denied"}))["data"] == []


def test_jobs_and_defaults_tell_nothing_of_content(boss: httpx.Client, up: Gateway) -> None:
    who = Principal("acme", "ann", "")
    made = up.loop.do(up.services.jobs.enqueue(who, "test.kind", {"secret": "a document"}))
    answer = boss.get("/v1/admin/jobs", params={"kind": "test.kind", "status": "queued"})
    (job,) = _ok(answer)["data"]
    assert (job["id"], job["kind"], job["done"]) == (made.id, "test.kind", 0)
    assert "a document" not in answer.text
    assert _ok(boss.get("/v1/admin/jobs", params={"kind": "test.kind", "status": "failed"}))["data"] == []
    assert boss.get("/v1/admin/jobs", params={"status": "x"}).status_code == 400
    assert _ok(boss.get("/v1/admin/quotas/defaults")) == {"object": "list", "data": [], "warn_at": 0.8}
