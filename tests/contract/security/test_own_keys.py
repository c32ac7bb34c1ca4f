"""Keys that somebody else made: a tenant's admin reads nothing of a user with one, until the user says so."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from serving.api.operations import OPERATIONS
from serving.config import Catalog, RemoteModel
from serving.core.principal import Principal
from serving.security.person import Person
from tests.contract.running import Gateway, Loop, gateway
from tests.wait import eventually

PLATFORM = {"params": {"tenant": "birds"}}

NUMBERS = itertools.count()

SAID = "My bank asks for the password of the herons."


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a model that nobody answers for."""
    catalog = Catalog(models=(RemoteModel(name="m", url="http://127.0.0.1:9/v1"),))
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), catalog) as made:
        yield made


@pytest.fixture(scope="module")
def stack(up: Gateway) -> Iterator[httpx.Client]:
    with client(up, up.key) as made:
        ok(made.post("/v1/admin/tenants", json={"id": "birds"}))
        ok(made.post("/v1/admin/users", **PLATFORM, json={"id": "boss", "role": "admin"}))
        yield made


@pytest.fixture(scope="module")
def boss(up: Gateway, stack: httpx.Client) -> Iterator[httpx.Client]:
    with client(up, made(stack, "boss", **PLATFORM)["key"]) as admin:
        yield admin


@pytest.fixture
def user(boss: httpx.Client) -> str:
    """A new user of the tenant, by the tenant's admin."""
    return str(ok(boss.post("/v1/admin/users", json={"id": f"user{next(NUMBERS)}"}))["id"])


@pytest.fixture
def by(up: Gateway) -> Iterator[Callable[[str], httpx.Client]]:
    opened: list[httpx.Client] = []

    def of(key: str) -> httpx.Client:
        opened.append(client(up, key))
        return opened[-1]

    yield of
    for each in opened:
        each.close()


By = Callable[[str], httpx.Client]


def client(up: Gateway, key: str) -> httpx.Client:
    return httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def made(admin: httpx.Client, user: str, **options: Any) -> dict[str, Any]:
    return ok(admin.post("/v1/admin/keys", json={"user": user}, **options))


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return response.json()


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def replaced(one: httpx.Client, id: str) -> dict[str, Any]:
    return ok(one.post(f"/v1/me/keys/{id}/rotate", json={"overlap_s": 0}))


def talk(own: httpx.Client) -> str:
    items = [{"type": "message", "role": "user", "content": SAID}]
    return str(ok(own.post("/v1/conversations", json={"items": items}))["id"])


@pytest.fixture
def settled(stack: httpx.Client, user: str, by: By) -> httpx.Client:
    """The user, with a key that the platform gave."""
    return by(made(stack, user, **PLATFORM)["key"])


def test_no_route_shows_a_users_content_to_a_key_of_the_admin(
    boss: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    told = talk(settled)
    issued = made(boss, user)
    assert not issued["confirmed"]
    spy = by(issued["key"])
    assert ok(spy.get("/v1/me")) == ok(settled.get("/v1/me")) | {
        "key_id": issued["id"],
        "scopes": [],
        "confirmed": False,
    }
    for op in OPERATIONS:
        if op.authenticated and op.scope is not None:
            path = op.path.replace("{conversation_id}", told).replace("{", "").replace("}", "")
            answer = spy.request(op.method, path, **({"json": {}} if op.method == "POST" else {}))
            assert code(answer) == (403, "key_not_confirmed"), (op.method, op.path)
    for method, path in (
        ("GET", "/v1/me/keys"),
        ("POST", f"/v1/me/keys/{issued['id']}/confirm"),
        ("POST", f"/v1/me/keys/{issued['id']}/revoke"),
    ):
        assert code(spy.request(method, path)) == (403, "key_not_confirmed")
    assert SAID in settled.get(f"/v1/conversations/{told}/items").text


def test_a_session_with_such_a_key_reads_nothing_either(
    up: Gateway, boss: httpx.Client, user: str, settled: httpx.Client
) -> None:
    told = talk(settled)
    with httpx.Client(base_url=up.url, headers={"origin": up.url}, timeout=60) as browser:
        assert ok(browser.post("/auth/key", json={"key": made(boss, user)["key"]}))["scopes"] == []
        for path in ("/v1/conversations", f"/v1/conversations/{told}/items"):
            assert code(browser.get(path)) == (403, "key_not_confirmed")


def test_the_user_confirms_a_key_and_it_reads_from_then_on(
    up: Gateway, boss: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    told = talk(settled)
    issued = made(boss, user)
    assert [each["confirmed"] for each in ok(settled.get("/v1/me/keys"))["data"]] == [False, True]
    assert ok(settled.post(f"/v1/me/keys/{issued['id']}/confirm"))["confirmed"]
    assert SAID in by(issued["key"]).get(f"/v1/conversations/{told}/items").text
    assert ok(settled.post(f"/v1/me/keys/{issued['id']}/revoke"))["revoked_at"]
    assert code(settled.post(f"/v1/me/keys/{issued['id']}/confirm")) == (409, "conflict")


def test_a_users_first_key_is_replaced_by_one_that_the_admin_does_not_know(
    boss: httpx.Client, user: str, by: By
) -> None:
    handed, second = made(boss, user), made(boss, user)
    own = replaced(by(handed["key"]), handed["id"])
    assert own["confirmed"]
    assert own["scopes"] == handed["scopes"]
    told = talk(by(own["key"]))
    assert ok(boss.get(f"/v1/admin/keys/{handed['id']}"))["rotated_to"] == own["id"]
    # The admin has nothing that opens it: not what was handed over, nor another key, nor a successor.
    spy = by(second["key"])
    assert code(spy.post(f"/v1/me/keys/{second['id']}/rotate", json={})) == (409, "conflict")
    assert code(spy.post(f"/v1/me/keys/{own['id']}/rotate", json={})) == (403, "key_not_confirmed")
    successor = ok(boss.post(f"/v1/admin/keys/{own['id']}/rotate", json={"overlap_s": 60}))
    assert not successor["confirmed"]
    for key in (second, successor):
        assert code(by(key["key"]).get(f"/v1/conversations/{told}/items")) == (403, "key_not_confirmed")


def test_revoking_all_keys_of_a_user_does_not_make_another_the_first(
    boss: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    talk(settled)
    boss.post(f"/v1/admin/keys/{ok(settled.get('/v1/me'))['key_id']}/revoke").raise_for_status()
    issued = made(boss, user)
    assert code(by(issued["key"]).post(f"/v1/me/keys/{issued['id']}/rotate", json={})) == (409, "conflict")


def test_who_signs_in_at_a_provider_has_another_way_in(up: Gateway, boss: httpx.Client, user: str, by: By) -> None:
    person = Person("https://id.example", user, "birds", user, "user", frozenset())
    signed_in = up.services.users.signed_in(
        person.tenant, person.user, subject=(person.issuer, person.subject), role="user", groups=(), fresh=True
    )
    up.loop.do(signed_in)
    issued = made(boss, user)
    assert code(by(issued["key"]).post(f"/v1/me/keys/{issued['id']}/rotate", json={})) == (409, "conflict")


def test_the_first_sign_in_ends_what_a_replaced_key_of_the_admin_reads(
    up: Gateway, boss: httpx.Client, stack: httpx.Client, user: str, by: By
) -> None:
    """Whoever handed the key over can have replaced it with itself before the user came."""
    handed = made(boss, user)
    spy = by(replaced(by(handed["key"]), handed["id"])["key"])
    service = by(made(stack, user, **PLATFORM)["key"])
    told = talk(service)
    assert SAID in spy.get(f"/v1/conversations/{told}/items").text
    up.loop.do(
        up.services.users.signed_in(
            "birds", user, subject=("https://id.example", user), role="user", groups=(), fresh=True
        )
    )
    eventually(lambda: spy.get(f"/v1/conversations/{told}/items").status_code == 403, "the key is asked for again")
    assert code(spy.get(f"/v1/conversations/{told}/items")) == (403, "key_not_confirmed")
    assert SAID in service.get(f"/v1/conversations/{told}/items").text, "what the platform made stays"


def test_a_key_is_not_the_first_of_a_user_for_whom_something_is_stored(
    up: Gateway, boss: httpx.Client, user: str, by: By
) -> None:
    """An erasure that is under way has removed their keys and sign-in before their conversations."""
    up.loop.do(up.services.conversations.create(Principal("birds", user, "")))
    issued = made(boss, user)
    assert code(by(issued["key"]).post(f"/v1/me/keys/{issued['id']}/rotate", json={})) == (409, "conflict")


def test_a_temporary_key_does_not_prolong_itself(stack: httpx.Client, user: str, by: By) -> None:
    brief = ok(stack.post("/v1/admin/keys", **PLATFORM, json={"user": user, "expires_in_s": 3600}))
    time.sleep(1.1)  # ends of keys are in whole seconds
    assert replaced(by(brief["key"]), brief["id"])["expires_at"] == brief["expires_at"]


def test_such_a_key_is_not_shown_private_assistants(
    boss: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    name = f"layoffs{user}"
    ok(settled.post("/v1/assistants", json={"name": name, "model": "m", "access": {"users": [user]}}))
    spy = by(made(boss, user)["key"])
    shown = [each["id"] for each in ok(settled.get("/v1/models"))["data"]]
    assert name in shown
    assert name not in spy.get("/v1/models").text
    assert code(spy.get(f"/v1/models/{name}")) == (404, "model_not_found")


def test_what_changes_nothing_of_an_own_key_is_not_recorded(
    up: Gateway, boss: httpx.Client, user: str, settled: httpx.Client
) -> None:
    issued = made(boss, user)
    for verb in ("confirm", "confirm", "revoke", "revoke"):
        ok(settled.post(f"/v1/me/keys/{issued['id']}/{verb}"))
    events = ok(boss.get("/v1/admin/audit", params={"user": user}))["data"]
    found = [each["action"] for each in events if each["target"] == issued["id"]]
    assert found == ["key.revoke", "key.confirm", "key.create"]


def test_a_narrow_key_changes_no_wider_one_of_its_user(
    stack: httpx.Client, boss: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    narrow = by(ok(stack.post("/v1/admin/keys", **PLATFORM, json={"user": user, "scopes": ["inference"]}))["key"])
    for id in (made(boss, user)["id"], ok(settled.get("/v1/me"))["key_id"]):
        for verb in ("confirm", "revoke", "rotate"):
            answer = narrow.post(f"/v1/me/keys/{id}/{verb}", json={})
            assert code(answer) == (403, "insufficient_scope"), verb
    other = ok(boss.get("/v1/me"))["key_id"]
    for verb in ("confirm", "revoke", "rotate"):
        assert code(settled.post(f"/v1/me/keys/{other}/{verb}", json={})) == (404, "not_found")


def test_the_stacks_own_key_stays_the_stacks(stack: httpx.Client) -> None:
    own = ok(stack.get("/v1/me"))["key_id"]
    for verb in ("revoke", "rotate"):
        assert code(stack.post(f"/v1/me/keys/{own}/{verb}", json={})) == (409, "conflict")


def test_a_key_with_scopes_by_name_is_its_users_to_confirm_and_revoke(
    stack: httpx.Client, user: str, settled: httpx.Client, by: By
) -> None:
    """Neither the user's other keys nor their sessions have such a scope."""
    options = {"user": "boss", "scopes": ["admin", "inference", "prompt"]}
    admin = by(ok(stack.post("/v1/admin/keys", **PLATFORM, json=options))["key"])
    issued = ok(admin.post("/v1/admin/keys", json={"user": user, "scopes": ["inference", "prompt"]}))
    assert not issued["confirmed"]
    assert ok(settled.post(f"/v1/me/keys/{issued['id']}/confirm"))["confirmed"]
    assert "prompt" in ok(by(issued["key"]).get("/v1/me"))["scopes"]
    # Rotating would give them the scope, which nobody granted to who asks.
    assert code(settled.post(f"/v1/me/keys/{issued['id']}/rotate", json={})) == (403, "insufficient_scope")
    assert ok(settled.post(f"/v1/me/keys/{issued['id']}/revoke"))["revoked_at"]


def test_the_record_of_a_rotation_names_both_keys(boss: httpx.Client, user: str, by: By) -> None:
    """A replaced key is removed some day, and with it what says which one replaced it."""
    handed = made(boss, user)
    own = replaced(by(handed["key"]), handed["id"])
    successor = ok(boss.post(f"/v1/admin/keys/{own['id']}/rotate", json={}))
    events = ok(boss.get("/v1/admin/audit", params={"user": user, "action": "key.rotate"}))["data"]
    assert [(each["target"], each["detail"]) for each in events] == [
        (own["id"], {"rotated_to": successor["id"]}),
        (handed["id"], {"rotated_to": own["id"]}),
    ]


def test_the_record_names_whom_a_key_acts_as(up: Gateway, boss: httpx.Client, user: str, settled: httpx.Client) -> None:
    issued = made(boss, user)
    ok(settled.post(f"/v1/me/keys/{issued['id']}/confirm"))
    ok(boss.post(f"/v1/admin/keys/{issued['id']}/rotate", json={}))
    ok(boss.post(f"/v1/admin/keys/{issued['id']}/revoke"))
    asked = Principal("birds", user, "")
    name = up.loop.do(up.services.audit.pseudonym(asked.tenant, asked.user))
    events = ok(boss.get("/v1/admin/audit", params={"user": user}))["data"]
    found = [(each["action"], each["target"], each["subject"]) for each in events if each["target"] == issued["id"]]
    acts = ("key.revoke", "key.rotate", "key.confirm", "key.create")
    assert found == [(act, issued["id"], name) for act in acts]
