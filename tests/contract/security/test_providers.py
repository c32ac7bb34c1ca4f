"""Identity providers that misbehave, are away or renew their keys: a scripted one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from serving.core import ttl_cache
from serving.security import provider as module
from serving.security.person import TokenError
from serving.security.provider import (
    AGAIN_S,
    FRESH_S,
    KEPT_S,
    MAX_EXCHANGES,
    MAX_KEYS,
    CodeRefused,
    Provider,
    ProviderUnavailable,
)
from serving.security.tokens import TokenVerifier
from tests.callers.identity import Anybody
from tests.contract.security.verifier import Clock, issuer, published, refused, signed, tokens
from tests.replace import replace


class Playing:
    """A server that plays a provider and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.keys: Callable[[web.Request], Any] = lambda request: web.json_response({"keys": []})
        self.says: dict[str, Any] = {}
        self.refusal = "invalid_grant"

    async def configuration(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks"}
        says = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()}, **self.says}
        return web.json_response(says)

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response({"error": self.refusal}, status=400)

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = self.keys(request)
        return await answer if not isinstance(answer, web.StreamResponse) else answer


@pytest.fixture
async def playing() -> AsyncIterator[Playing]:
    server = Playing()
    app = web.Application()
    app.add_routes([web.get("/.well-known/openid-configuration", server.configuration)])
    app.add_routes([web.post("/token", server.token)])
    app.add_routes([web.get("/jwks", server.jwks), web.get("/elsewhere", server.jwks)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # ty: ignore[missing-attribute]
    yield server
    await runner.cleanup()


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with_more = b" " * 65_536
    while True:
        await response.write(with_more)


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    "keys",
    [
        flood,
        hang,
        lambda request: web.Response(status=302, headers={"location": "/elsewhere"}),
        lambda request: web.Response(text="<html>"),
        lambda request: web.Response(body=b"[" * 10_000),
        lambda request: web.json_response([]),
        lambda request: web.json_response({"keys": {}}),
        lambda request: web.json_response({"keys": [published()] * 65}),
        lambda request: web.json_response({"keys": [published()]}, status=500),
    ],
    ids=["flood", "hang", "redirect", "html", "deep", "list", "object", "many", "status"],
)
async def test_a_misbehaving_provider_is_asked_once(
    playing: Playing, monkeypatch: pytest.MonkeyPatch, keys: Any
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 3 if keys is hang else 60)
    playing.keys = keys
    async with tokens(playing.url) as verifier:
        with pytest.raises(ProviderUnavailable):
            await verifier.principal(signed(playing.url, kid="k1"))
        with pytest.raises(ProviderUnavailable):
            await verifier.principal(signed(playing.url, kid="k1"))
    assert playing.asked == ["/.well-known/openid-configuration", "/jwks"]  # once, and nowhere else


@pytest.mark.parametrize(
    "says",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"jwks_uri": "http://example.com/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
async def test_invalid_provider_metadata_is_rejected(playing: Playing, says: dict[str, Any]) -> None:
    playing.says = says
    async with tokens(playing.url) as verifier:
        with pytest.raises(ProviderUnavailable):
            await verifier.principal(signed(playing.url, kid="k1"))
    assert playing.asked == ["/.well-known/openid-configuration"]


SMALL = rsa.generate_private_key(65537, 1024)


@pytest.mark.parametrize(
    ("keys", "token", "taken"),
    [
        ([published()], {"kid": "k1"}, True),
        ([published(alg="RS256", use="sig")], {"kid": "k1"}, True),
        ([published()], {}, True),  # there is one alone
        ([published(), published(kid="k2")], {}, False),
        ([published(), published()], {"kid": "k1"}, False),
        ([published(use="enc")], {"kid": "k1"}, False),
        ([published(alg="RS512")], {"kid": "k1"}, False),
        ([published(kty="EC")], {"kid": "k1"}, False),
        ([published(kty="oct", k="c2VjcmV0")], {"kid": "k1"}, False),
        ([published(n="AQAB")], {"kid": "k1"}, False),
        ([published(n=5), published(kid="k2")], {"kid": "k2"}, True),
        ([5, published()], {"kid": "k1"}, True),
        ([published(SMALL)], {"kid": "k1", "key": SMALL}, False),
    ],
)
async def test_signing_keys_are_used_for_signatures_only(
    playing: Playing, keys: list[Any], token: dict[str, Any], taken: bool
) -> None:
    playing.keys = lambda request: web.json_response({"keys": keys})
    async with tokens(playing.url) as verifier:
        if taken:
            assert (await verifier.principal(signed(playing.url, **token))).user == "alice"
        else:
            await refused(verifier, signed(playing.url, **token))


async def test_stale_keys_are_renewed_in_the_background(playing: Playing) -> None:
    clock = Clock()
    playing.keys = lambda request: web.json_response({"keys": [published()]})
    known = Provider(issuer(playing.url), clock)
    try:
        assert await known.key("k1", "RS256")
        asked = len(playing.asked)
        clock.now += FRESH_S
        playing.keys = hang
        assert await known.key("k1", "RS256")  # though the provider hangs
        assert len(playing.asked) == asked
    finally:
        await known.close()


async def test_a_disconnect_does_not_cancel_others_waiting(playing: Playing) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        reached.set()
        await go_on.wait()
        return web.json_response({"keys": [published()]})

    playing.keys = slow
    async with tokens(playing.url) as verifier:
        first = asyncio.create_task(verifier.principal(signed(playing.url, kid="k1")))
        await reached.wait()
        second = asyncio.create_task(verifier.principal(signed(playing.url, kid="k1")))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        go_on.set()
        assert (await second).user == "alice"
    assert playing.asked.count("/jwks") == 1


async def test_codes_of_strangers_are_bounded_and_fill_no_log(
    playing: Playing, caplog: pytest.LogCaptureFixture
) -> None:
    known = Provider(issuer(playing.url))

    async def exchange() -> BaseException | str:
        try:
            return await known.exchange("c", "v" * 43, "http://127.0.0.1/auth/callback")
        except (CodeRefused, ProviderUnavailable) as e:
            return e

    try:
        await known.metadata()
        found = await asyncio.gather(*(exchange() for _ in range(MAX_EXCHANGES + 5)))
        assert sum(isinstance(each, CodeRefused) for each in found) == MAX_EXCHANGES
        assert sum("too many" in str(each) for each in found) == 5
        assert playing.asked.count("/token") == MAX_EXCHANGES
        assert isinstance(await exchange(), CodeRefused)  # those that are over count no more
        assert not caplog.records
        playing.refusal = "invalid_client"
        for _ in range(3):
            await exchange()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    finally:
        await known.close()


async def test_an_outage_is_logged_once(playing: Playing, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()

    def good(request: web.Request) -> web.Response:
        return web.json_response({"keys": [published()]})

    async with tokens(playing.url, clock) as verifier:
        for outages in (1, 2):
            playing.keys = lambda request: web.json_response({}, status=500)
            for _ in range(3):
                clock.now += KEPT_S
                with pytest.raises(ProviderUnavailable):
                    await verifier.principal(signed(playing.url, kid="k1"))
            assert [record.levelname for record in caplog.records] == ["ERROR"] * outages
            playing.keys = good
            clock.now += AGAIN_S
            assert await verifier.principal(signed(playing.url, kid="k1"))


async def test_a_verified_token_is_remembered_until_it_expires(
    playing: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(playing.url, kid="k1")
    time_now = [float(jwt.decode(token, options={"verify_signature": False})["iat"])]
    clock = Clock()
    replace(monkeypatch, ttl_cache, time, monotonic=clock)
    monkeypatch.setattr("serving.security.tokens.now", lambda: time_now[0])
    playing.keys = lambda request: web.json_response({"keys": [published()]})
    known = Provider(issuer(playing.url))
    verifier = TokenVerifier([known], Anybody())
    verified = 0

    async def counted(*given: Any) -> Any:
        nonlocal verified
        verified += 1
        return await original(*given)

    original = known.key
    monkeypatch.setattr(known, "key", counted)
    try:
        for _ in range(3):
            assert (await verifier.principal(token)).user == "alice"
        assert verified == 1
        with pytest.raises(TokenError):
            await verifier.principal(token[:-8] + "AAAAAAAA")  # another signature is another token
        assert verified == 2
        clock.now += 10
        time_now[0] += 55  # of 60
        await verifier.principal(token)
        clock.now += 4
        await verifier.principal(token)
        assert verified == 3
        clock.now += 2
        await verifier.principal(token)
        assert verified == 4
        assert len(verifier._verified) == 1
    finally:
        await known.close()


async def test_a_token_without_a_name_loads_no_key(playing: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    playing.keys = lambda request: web.json_response({"keys": [published(kid=f"k{n}") for n in range(MAX_KEYS)]})
    async with tokens(playing.url) as verifier:
        assert await verifier.principal(signed(playing.url, kid="k1"))
        monkeypatch.setattr(jwt, "PyJWK", None)
        await refused(verifier, signed(playing.url))
        assert await verifier.principal(signed(playing.url, kid="k2"))
