"""What a browser must bring. Whole sign-ins are in tests/contract/api/sign_in/test_sign_in.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.config import Cors, Issuer, Oidc
from serving.security.browser import CSRF_HEADER, Browser, Forged
from serving.security.provider import Provider
from serving.store.relational.database import Database
from serving.store.sessions import Sessions
from tests.callers.identity import Anybody

SECRET, COOKIE = "s" * 40, "c" * 43
HOME, FRIEND = "https://chat.example.com", "https://tools.example.com"


def browser(folder: Path | None = None, url: str = HOME, secret: str = SECRET, **cors: Any) -> Browser:
    issuer = Issuer(name="main", issuer="https://id.example.com", client_id="c", tenant="acme")
    database = Database(f"sqlite:///{folder or '/nowhere'}/h.db")
    sessions = Sessions(database, lifetime_s=60, idle_s=60)
    oidc = Oidc(url=url, issuers=(issuer,))
    return Browser(oidc, Cors.model_validate(cors), [Provider(issuer)], sessions, Anybody(), secret)


def forged(browser: Browser, **headers: str) -> str | None:
    cookies = {browser.session_cookie: COOKIE}
    token = {CSRF_HEADER: browser.csrf_token(COOKIE)}
    try:
        browser.require_own({**token, **{name.replace("_", "-"): value for name, value in headers.items()}}, cookies)
    except Forged as e:
        return e.code
    return None


def test_over_https_no_other_host_plants_a_cookie() -> None:
    secure, local = browser(), browser(url="http://127.0.0.1:8080")
    assert secure.secure
    assert not local.secure
    assert (secure.session_cookie, local.session_cookie) == ("__Host-headrace", "headrace")
    assert (secure.flow_cookie, local.flow_cookie) == ("__Host-headrace-sign-in", "headrace-sign-in")


@pytest.mark.parametrize(
    ("cors", "code"),
    [
        ({}, "cross_origin"),
        ({"origins": [FRIEND]}, "cross_origin"),
        ({"origins": [FRIEND], "credentials": True}, None),
    ],
)
def test_another_origin_uses_sessions_when_it_may(cors: dict[str, Any], code: str | None) -> None:
    asked = browser(**cors)
    assert forged(asked, origin=FRIEND) == code
    assert forged(asked, origin=HOME) is None
    assert forged(asked, origin="https://evil.example") == "cross_origin"
    assert forged(asked, origin="") == "cross_origin"
    assert forged(asked, origin=HOME + ".evil.example") == "cross_origin"
    assert forged(asked, origin="http://chat.example.com") == "cross_origin"


@pytest.mark.parametrize("url", ["", HOME])
async def test_sign_in_at_a_provider_requires_a_public_url(url: str, tmp_path: Path) -> None:
    asked = browser(tmp_path, url=url)
    assert bool(asked.providers) is bool(url)
    assert await asked.caller("POST", {}, {}) is None


@pytest.mark.parametrize(
    ("url", "origin", "host", "code"),
    [
        ("", "http://chat.example.com", "chat.example.com", None),
        ("", "http://evil.example", "chat.example.com", "cross_origin"),
        ("", "", "", "cross_origin"),
        ("", "null", "null", "cross_origin"),
        ("http://127.0.0.1:8080", "http://localhost:8080", "localhost:8080", None),
        (HOME, "http://chat.example.com", "chat.example.com", "cross_origin"),  # https is not left
    ],
)
def test_without_https_the_host_that_was_asked_is_the_origin(
    url: str, origin: str, host: str, code: str | None
) -> None:
    assert forged(browser(url=url), origin=origin, host=host) == code


def test_a_token_is_of_one_session_and_one_stack() -> None:
    asked = browser()
    tokens = {asked.csrf_token(cookie) for cookie in (COOKIE, "d" * 43)}
    tokens.add(browser(secret="t" * 40).csrf_token(COOKIE))
    assert len(tokens) == 3
    assert all(COOKIE not in token for token in tokens)


ASKED = browser()


@given(st.text("abcdef0123456789\0é\ud800", max_size=70))
def test_no_guessed_token_is_taken(token: str) -> None:
    with pytest.raises(Forged) as error:
        ASKED.require_own({"origin": HOME, CSRF_HEADER: token}, {ASKED.session_cookie: COOKIE})
    assert error.value.code == "invalid_csrf_token"
