"""Browsers sign in with an API key, on a stack without single sign-on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from serving.security.keys import new_key
from serving.store.sessions import PLATFORM_S
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway

ANN = Principal("acme", "ann", "")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as up:
        yield up


@pytest.fixture
def browser(up: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, trust_env=False, timeout=60, headers={"origin": up.url}) as browser:
        yield browser


def sign_in(browser: httpx.Client, key: str, **headers: str) -> httpx.Response:
    return browser.post("/auth/key", json={"key": key}, headers=headers)


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["code"])


def issued(up: Gateway, **more: Any) -> str:
    return str(up.loop.do(key_of(up.services, ANN, **more)))


def test_a_session_acts_as_its_key(up: Gateway, browser: httpx.Client) -> None:
    assert browser.get("/auth/providers").json() == {"object": "list", "data": [], "key": True}
    assert error(browser.get("/auth/session"), 401) == "invalid_api_key"
    key = issued(up, scopes=("data", "prompt"))
    answer = sign_in(browser, key)
    made = answer.json()
    assert (made["tenant"], made["user"], made["scopes"]) == ("acme", "ann", ["data", "data:read", "prompt"])
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert key not in answer.text
    assert browser.cookies["headrace"] not in answer.text
    assert browser.get("/auth/session").json() == made
    assert browser.get("/v1/me").json()["key_id"].startswith("key_")
    assert error(browser.get("/v1/admin/users"), 403) == "insufficient_scope"
    assert error(browser.post("/v1/conversations", json={}), 403) == "invalid_csrf_token"
    headers = {"x-csrf-token": made["csrf_token"]}
    assert browser.post("/v1/conversations", json={}, headers=headers).status_code == 200
    ended = browser.post("/auth/logout", headers=headers).json()
    assert (ended["deleted"], ended["provider_url"]) == (True, None)
    assert error(browser.get("/auth/session"), 401) == "invalid_api_key"
    events = up.loop.do(up.services.audit.page("acme", user="ann", limit=3)).items
    recorded = [(e["action"], e["target"]) for e in events if e["action"].startswith("session.")]
    assert recorded == [("session.end", made["id"]), ("session.create", made["id"])]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "ftp://{host}"}, 403),
        ({"origin": "http://{host}.evil.example"}, 403),
        ({"origin": "", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost:1", "host": "localhost:1"}, 200),  # this host by another of its names
    ],
)
def test_pages_elsewhere_cannot_sign_a_browser_in(
    up: Gateway, browser: httpx.Client, headers: dict[str, str], status: int
) -> None:
    host = up.url.removeprefix("http://")
    answer = sign_in(browser, up.key, **{name: value.format(host=host) for name, value in headers.items()})
    assert answer.status_code == status, answer.text
    assert ("headrace" in browser.cookies) is (status == 200)


def test_a_request_without_origin_must_be_of_the_same_one(up: Gateway) -> None:
    with httpx.Client(base_url=up.url, trust_env=False, timeout=60) as program:
        assert error(sign_in(program, up.key), 403) == "cross_origin"
        assert sign_in(program, up.key, **{"sec-fetch-site": "same-origin"}).status_code == 200


def test_guessed_keys_are_limited(up: Gateway, browser: httpx.Client) -> None:
    elsewhere = {"x-forwarded-for": "192.0.2.7"}
    wrong = [new_key() for _ in range(10)]
    for key in (*wrong, "hr_short", "é"):
        answer = sign_in(browser, key, **(elsewhere if key in wrong else {}))
        assert error(answer, 401) == "invalid_api_key"
        assert key not in answer.text
    assert error(sign_in(browser, new_key(), **elsewhere), 429) == "too_many_invalid_keys"
    assert "headrace" not in browser.cookies
    assert sign_in(browser, up.key).status_code == 200  # from another address


def test_a_session_ends_with_its_key(up: Gateway, browser: httpx.Client) -> None:
    assert sign_in(browser, issued(up)).status_code == 200
    id = browser.get("/v1/me").json()["key_id"]
    up.loop.do(up.services.keys.revoke(ANN, id))
    assert error(browser.get("/auth/session"), 401) == "invalid_api_key"
    assert error(browser.get("/v1/models"), 401) == "invalid_api_key"


def test_sessions_of_the_platform_are_short(up: Gateway, browser: httpx.Client) -> None:
    assert "platform" in sign_in(browser, up.key).json()["scopes"]
    found = up.loop.do(up.services.browser.session(dict(browser.cookies)))
    assert found.expires_at - found.created_at == PLATFORM_S


def test_own_sessions_are_listed_and_ended(up: Gateway, browser: httpx.Client) -> None:
    key, other = issued(up), issued(up)
    first, second = sign_in(browser, key), httpx.Client(base_url=up.url, trust_env=False, headers={"origin": up.url})
    with second:
        mine = sign_in(second, key).json()
        foreign = sign_in(httpx.Client(base_url=up.url, trust_env=False, headers={"origin": up.url}), other).json()
        listed = second.get("/auth/sessions").json()["data"]
        assert [(each["id"], each["current"], each["provider"]) for each in listed] == [
            (mine["id"], True, None),
            (first.json()["id"], False, None),
        ]
        headers = {"x-csrf-token": mine["csrf_token"]}
        path = f"/auth/sessions/{first.json()['id']}"
        assert error(second.delete(path), 403) == "invalid_csrf_token"
        assert second.delete(path, headers=headers).json()["deleted"] is True
        assert error(browser.get("/auth/session"), 401) == "invalid_api_key"
        # Another key's is as unknown as none, though it is of the same user.
        for id in (first.json()["id"], foreign["id"], "ses_none"):
            assert error(second.delete(f"/auth/sessions/{id}", headers=headers), 404) == "not_found"
        second.delete(f"/auth/sessions/{mine['id']}", headers=headers)
        assert "headrace" not in second.cookies
        assert error(second.get("/auth/session"), 401) == "invalid_api_key"


def test_a_caller_is_told_the_limits(up: Gateway) -> None:
    with up.client() as http:
        told = http.get("/v1/me").json()["headrace"]
    assert told["limits"]["upload_bytes"] == up.services.limits.upload_bytes
    assert {".pdf", ".md"} <= set(told["limits"]["file_kinds"])
    assert (told["capture"], told["retention"]["captures"]) == ("all", 90)
