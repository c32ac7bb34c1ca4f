"""A link with a one-time code signs one browser in as the key that made it: once, for a quarter of an hour, here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.security.lockout import FREE
from serving.security.sign_in_codes import LIFETIME_S, SignInCodes
from serving.store.relational.tables import used_approvals
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway
from tools.stack.sign_in_link import sign_in_link

ANN = Principal("acme", "ann", "")
TOGETHER = 8


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as up:
        yield up


Browser = Callable[..., httpx.Client]


@pytest.fixture
def browser(up: Gateway) -> Iterator[Browser]:
    made: list[httpx.Client] = []

    def new(**headers: str) -> httpx.Client:
        given = {"origin": up.url, **headers}
        made.append(httpx.Client(base_url=up.url, trust_env=False, timeout=60, headers=given))
        return made[-1]

    yield new
    for each in made:
        each.close()


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["code"])


def issued(up: Gateway, **more: Any) -> str:
    return str(up.loop.do(key_of(up.services, ANN, **more)))


def code_of(up: Gateway, key: str, **headers: str) -> str:
    link = sign_in_link(up.url, key)
    assert link is not None
    address, _, code = link.partition("/#sign-in=")
    assert address == up.url
    return code


def use(browser: httpx.Client, code: str, **headers: str) -> httpx.Response:
    return browser.post("/auth/code", json={"code": code}, headers=headers)


def test_a_code_makes_the_session_of_its_key(up: Gateway, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = issued(up, scopes=("data", "prompt"))
    code = code_of(up, key)
    assert key not in code
    first = browser()
    by_code = use(first, code)
    by_key = browser().post("/auth/key", json={"key": key})
    fresh = {"id", "csrf_token", "expires_at"}
    plain = [{n: v for n, v in answer.json().items() if n not in fresh} for answer in (by_code, by_key)]
    assert plain[0] == plain[1]
    assert abs(by_code.json()["expires_at"] - by_key.json()["expires_at"]) <= 60
    assert (plain[0]["user"], plain[0]["scopes"]) == ("ann", ["data", "data:read", "prompt"])
    (cookie,) = by_code.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    told = by_code.text + str(by_code.headers)
    assert code not in told
    assert key not in told
    key_id = first.get("/v1/me").json()["key_id"]
    assert key_id == browser(authorization=f"Bearer {key}").get("/v1/me").json()["key_id"]
    up.loop.do(up.services.keys.revoke(ANN, key_id))
    assert error(first.get("/auth/session"), 401) == "invalid_api_key"
    assert code not in caplog.text
    assert key not in caplog.text


def test_it_is_on_record_and_at_rest_only_as_a_hash(up: Gateway, browser: Browser) -> None:
    code = code_of(up, issued(up))
    made = use(browser(), code).json()
    events = up.loop.do(up.services.audit.page("acme", user="ann", limit=2)).items
    assert [e["action"] for e in events] == ["session.create", "sign_in_code.create"]
    assert events[0]["target"] == made["id"]
    assert events[1]["target"].startswith("code_")

    @uninterrupted
    async def rows() -> list[tuple[str]]:
        async with up.services.database.read() as connection:
            return [tuple(row) for row in await connection.execute(used_approvals.select())]

    stored = up.loop.do(rows())
    assert stored
    assert code not in repr(stored)


def test_a_code_works_once_however_many_use_it_together(up: Gateway, browser: Browser) -> None:
    code = code_of(up, issued(up))
    browsers = [browser(**{"x-forwarded-for": f"127.0.9.{n}"}) for n in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(lambda each: use(each, code), browsers))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * (TOGETHER - 1)
    assert sum("headrace" in each.cookies for each in browsers) == 1
    assert error(use(browser(), code), 401) == "invalid_sign_in_code"


def test_a_failed_sign_in_leaves_the_code_unused(
    up: Gateway, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = code_of(up, issued(up))

    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the audit log is full")

    with monkeypatch.context() as patch:
        patch.setattr(up.services.audit, "record", broken)
        assert use(browser(), code).status_code == 500
    assert use(browser(), code).status_code == 200


def test_a_code_expires(up: Gateway, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [code_of(up, issued(up)) for _ in range(2)]
    made = time.time()
    monkeypatch.setattr(up.services.sign_in_codes, "_clock", lambda: made + LIFETIME_S - 30)
    assert use(browser(), codes[0]).status_code == 200
    monkeypatch.setattr(up.services.sign_in_codes, "_clock", lambda: made + LIFETIME_S + 1)
    assert error(use(browser(), codes[1]), 401) == "invalid_sign_in_code"


def test_a_code_ends_with_its_key(up: Gateway, browser: Browser) -> None:
    key = issued(up)
    code = code_of(up, key)
    id = browser(authorization=f"Bearer {key}").get("/v1/me").json()["key_id"]
    up.loop.do(up.services.keys.revoke(ANN, id))
    assert error(use(browser(), code), 401) == "invalid_sign_in_code"


def test_guesses_are_wrong_and_limited(up: Gateway, browser: Browser) -> None:
    elsewhere = browser(**{"x-forwarded-for": "127.0.8.1"})
    code, used = (code_of(up, issued(up)) for _ in range(2))
    use(browser(), used)
    for harmless in ("x", "é", "a" * 79, *[used] * FREE):
        assert error(use(elsewhere, harmless), 401) == "invalid_sign_in_code"
    other = {"A": "B"}
    forged = [code[:n] + other.get(code[n], "A") + code[n + 1 :] for n in range(0, 10 * (FREE - 2), 10)]
    for guess in (*forged, code[:-4], f"{code}AAAA"):
        assert error(use(elsewhere, guess), 401) == "invalid_sign_in_code"
    assert error(use(elsewhere, code), 429) == "too_many_invalid_keys"
    assert "headrace" not in elsewhere.cookies
    assert use(browser(), "a" * 1025).status_code == 400
    assert use(browser(), code).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_elsewhere_cannot_use_a_code(up: Gateway, browser: Browser, headers: dict[str, str]) -> None:
    code = code_of(up, issued(up))
    assert error(use(browser(), code, **headers), 403) == "cross_origin"
    assert use(browser(), code).status_code == 200


def test_codes_are_made_by_keys_alone(up: Gateway, browser: Browser) -> None:
    signed_in = browser()
    made = use(signed_in, code_of(up, issued(up))).json()
    headers = {"x-csrf-token": made["csrf_token"]}
    assert error(signed_in.post("/auth/codes", headers=headers), 403) == "api_key_required"
    assert error(browser().post("/auth/codes"), 401) == "invalid_api_key"


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "unknown", "::ffff:192.0.2.7"])
def test_links_are_for_this_host_by_default(up: Gateway, browser: Browser, address: str) -> None:
    key = issued(up)
    away = browser(authorization=f"Bearer {key}", **{"x-forwarded-for": address})
    assert error(away.post("/auth/codes"), 403) == "sign_in_links_not_here"
    code = code_of(up, key)
    assert error(use(browser(**{"x-forwarded-for": address}), code), 403) == "sign_in_links_not_here"
    assert use(browser(**{"x-forwarded-for": "::ffff:127.0.0.1"}), code).status_code == 200


def test_the_configuration_opens_and_closes_them(up: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(up.services.sign_in_codes, SignInCodes)
    key = issued(up)
    monkeypatch.setattr(up.services.sign_in_codes, "_links", "anywhere")
    headers = {"x-forwarded-for": "192.0.2.7", "authorization": f"Bearer {key}", "origin": up.url}
    with httpx.Client(base_url=up.url, trust_env=False, timeout=60, headers=headers) as away:
        code = away.post("/auth/codes").json()["code"]
        assert use(away, code).status_code == 200
    monkeypatch.setattr(up.services.sign_in_codes, "_links", "off")
    assert sign_in_link(up.url, key) is None
