"""The key secret changes while people are signed in: nobody signs in again, and the old one is soon worthless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.config import Catalog
from tests.contract.api.sign_in.test_sign_in import World, oidc, ours
from tests.contract.running import Gateway, Loop, gateway
from tests.servers.identity_provider import IdentityProvider

OLD, NEW = "o" * 40, "n" * 40


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


def test_sessions_survive_a_rotation_of_the_key_secret(
    loop: Loop, identity_provider: IdentityProvider, tmp_path: Path
) -> None:
    """Gateways of two steps run side by side, and each request may come to either of them."""
    configured, port = oidc(identity_provider), int(identity_provider.home.rpartition(":")[2])

    def asked(at: Gateway, method: str, path: str, cookies: dict[str, str], token: str = "") -> httpx.Response:
        headers = {"origin": identity_provider.home, "x-csrf-token": token}
        url = f"{at.url}{path}"
        return httpx.request(method, url, cookies=cookies, headers=headers, json={}, trust_env=False, timeout=60)

    def token(at: Gateway, cookies: dict[str, str]) -> str:
        return str(asked(at, "GET", "/auth/session", cookies).json()["csrf_token"])

    with gateway(loop, tmp_path, Catalog(), oidc=configured, port=port, key_secret=OLD, previous=NEW) as first:
        loop.do(first.services.tenants.create("acme"))
        world = World(first, identity_provider)
        with world.signed_in() as browser:
            early = ours(browser)
        with world.browser() as browser:
            back = world.coming_back(browser)
            flow = ours(browser)
            with gateway(loop, tmp_path, Catalog(), oidc=configured, key_secret=NEW, previous=OLD) as second:
                for sender, taker in ((first, second), (second, first), (first, first), (second, second)):
                    made = asked(taker, "POST", "/v1/conversations", early, token(sender, early))
                    assert made.status_code == 200, made.text
                # Who began to sign in before comes back to another gateway.
                query = httpx.URL(back).query.decode()
                answer = asked(second, "GET", f"/auth/callback?{query}", flow)
                assert answer.status_code == 303, answer.text
                late = {"headrace": answer.cookies["headrace"]}
                assert asked(first, "GET", "/auth/session", late).status_code == 200
                assert asked(second, "GET", "/auth/session", early).status_code == 200
                assert asked(second, "GET", "/auth/session", late).status_code == 200
    with gateway(loop, tmp_path, Catalog(), oidc=configured, port=port, key_secret=NEW) as third:
        for cookies in (early, late):
            assert asked(third, "GET", "/auth/session", cookies).status_code == 200
        ended = asked(third, "POST", "/auth/logout", early, token(third, early))
        assert ended.status_code == 200, ended.text
        assert asked(third, "GET", "/auth/session", early).status_code == 401
    with gateway(loop, tmp_path, Catalog(), oidc=configured, port=port, key_secret=OLD) as stolen:
        assert asked(stolen, "GET", "/auth/session", late).status_code == 401


def test_signing_out_applies_to_all_gateways(loop: Loop, identity_provider: IdentityProvider, tmp_path: Path) -> None:
    configured, port = oidc(identity_provider), int(identity_provider.home.rpartition(":")[2])
    with (
        gateway(loop, tmp_path, Catalog(), oidc=configured, port=port, key_secret=OLD, previous=NEW) as first,
        gateway(loop, tmp_path, Catalog(), oidc=configured, key_secret=NEW, previous=OLD) as second,
    ):
        loop.do(first.services.tenants.create("acme"))
        world = World(first, identity_provider)
        with world.signed_in() as browser:
            cookies, headers = ours(browser), world.headers(browser)
        out = httpx.post(f"{second.url}/auth/logout", cookies=cookies, headers=headers, trust_env=False, timeout=60)
        assert out.status_code == 200, out.text
        for at in (first, second):
            answer = httpx.get(f"{at.url}/auth/session", cookies=cookies, trust_env=False, timeout=60)
            assert answer.status_code == 401
