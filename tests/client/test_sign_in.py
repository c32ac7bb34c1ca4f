"""People and programs of a company's own identity provider use the stack; tests/contract tries what must be refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.servers.identity_provider import sign_in
from tests.stacks.sign_on import TENANT, SignOn
from tests.stacks.stack import Stack

pytestmark = pytest.mark.skipif(
    "HEADRACE_TEST_STACK" in os.environ, reason="a stack that stands has an identity provider of its own"
)
CHAT = {"model": "plain", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 8}


@pytest.fixture(scope="module", autouse=True)
def tenant(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.post("/v1/admin/tenants", json={"id": TENANT})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def alice(stack: Stack, sign_on: SignOn) -> Iterator[httpx.Client]:
    """A browser in which somebody has signed in."""
    with sign_on.browser() as browser:
        back = sign_in(browser, f"{sign_on.home}/auth/login?provider=main&next=/", "alice", f"{sign_on.home}/auth/")
        answer = browser.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{sign_on.home}/"), answer.text
        yield browser


def test_a_person_signs_in_is_answered_and_signs_out(alice: httpx.Client, sign_on: SignOn) -> None:
    session = alice.get(f"{sign_on.home}/auth/session").json()
    assert (session["tenant"], session["user"], session["groups"]) == (TENANT, "alice", ["staff"])
    headers = {"origin": sign_on.home, "x-csrf-token": session["csrf_token"]}
    answer = alice.post(f"{sign_on.home}/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0
    # A cross-site request has the cookie, but not the CSRF token.
    assert alice.post(f"{sign_on.home}/v1/chat/completions", json=CHAT).status_code == 403
    assert alice.post(f"{sign_on.home}/auth/logout", headers=headers).json()["deleted"] is True
    assert alice.get(f"{sign_on.home}/v1/models").status_code == 401


def test_a_program_is_answered_with_the_providers_token(stack: Stack, sign_on: SignOn) -> None:
    headers = {"Authorization": f"Bearer {sign_on.provider.token()}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as client:
        me = client.get("/v1/me")
        assert (me.status_code, me.json()["tenant"], me.json()["id"]) == (200, TENANT, "alice"), me.text
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert client.get("/v1/admin/users").status_code == 403
