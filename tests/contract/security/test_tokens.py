"""Tokens of a real identity provider, and what forgers make of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from serving.config import Issuer
from serving.core.principal import Principal
from serving.security import provider as module
from serving.security.person import MAX_GROUPS, Person, TokenError, person
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
from serving.security.tokens import MAX_TOKEN, TokenVerifier, is_token, signed_in
from tests.callers.identity import Anybody
from tests.servers.certificate import certificate
from tests.servers.identity_provider import AUDIENCE, IdentityProvider


class Clock:
    """Seconds that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def issuer(url: str, **given: Any) -> Issuer:
    settings = {"name": "main", "issuer": url, "client_id": "public", "audience": AUDIENCE, "tenant": "acme"}
    return Issuer.model_validate({**settings, **given})


@asynccontextmanager
async def tokens(url: str, clock: Callable[[], float] = time.monotonic, **given: Any) -> AsyncIterator[TokenVerifier]:
    known = Provider(issuer(url, **given), clock)
    try:
        yield TokenVerifier([known], Anybody(), ttl_s=0)
    finally:
        await known.close()


async def refused(tokens: TokenVerifier, token: str) -> str:
    with pytest.raises(TokenError) as error:
        await tokens.principal(token)
    assert token not in str(error.value)
    return str(error.value)


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


async def test_a_program_comes_in_by_its_token(identity_provider: IdentityProvider) -> None:
    token = identity_provider.machine_token()
    roles = {"roles": {"robots": "operator"}, "tenant": None, "tenant_claim": "company", "tenants": {"acme": "a1"}}
    async with tokens(identity_provider.url, **roles) as verifier:
        caller = await verifier.principal(token)
        assert (caller.tenant, caller.user, caller.role, caller.groups) == ("a1", "machine", "operator", {"robots"})
        assert caller.scopes == {"inference", "data:read", "data", "feedback", "operate"}
        assert await verifier.principal(token) == caller
        assert await refused(verifier, identity_provider.machine_token("urn:other")) == "the token is another's"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_what_the_provider_signs_is_believed(identity_provider: IdentityProvider, algorithm: str) -> None:
    async with tokens(identity_provider.url) as verifier:
        caller = await verifier.principal(identity_provider.token(algorithm))
        assert caller == Principal(
            "acme", "alice", caller.key_id, frozenset(("inference", "data:read", "data", "feedback")), "user"
        )
        assert (await verifier.principal(identity_provider.token(sub="bob"))).key_id != caller.key_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": -40}, "the token has expired"),
        ({"nbf": 40}, "the token is not valid"),
        ({"iat": 40}, "the token is not valid"),
        ({"exp": -20}, None),
        ({"nbf": 20}, None),
        ({"iat": 20}, None),
    ],
)
async def test_clocks_may_differ_by_the_skew(
    identity_provider: IdentityProvider, changes: dict[str, int], said: str | None
) -> None:
    async with tokens(identity_provider.url) as verifier:
        await verifier.principal(identity_provider.token())  # its keys are here
        at = int(time.time())
        token = identity_provider.token(**{name: at + seconds for name, seconds in changes.items()})
        if said is None:
            assert (await verifier.principal(token)).user == "alice"
        else:
            assert await refused(verifier, token) == said


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "public"},
        {"aud": ["urn:a", "urn:b"]},
        {"aud": None},
        {"aud": AUDIENCE + "/"},
        {"aud": {AUDIENCE: 1}},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"sub": None},
        {"sub": 5},
        {"sub": ""},
        {"sub": "a" * 257},
        {"sub": "a\0"},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e400},
        {"iat": None},
        {"groups": "x" * 257},
        {"groups": {"admins": True}},
        {"groups": [5]},
        {"groups": [str(n) for n in range(MAX_GROUPS + 1)]},
    ],
)
async def test_claims_that_are_wrong(identity_provider: IdentityProvider, claims: dict[str, Any]) -> None:
    async with tokens(identity_provider.url) as verifier:
        await refused(verifier, identity_provider.token(**claims))


@pytest.mark.parametrize(
    "headers",
    [
        {"kid": "unknown"},
        {"kid": "ES-1"},  # another key of the same provider
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"crit": ["exp"]},
    ],
)
async def test_headers_that_are_wrong(identity_provider: IdentityProvider, headers: dict[str, Any]) -> None:
    async with tokens(identity_provider.url) as verifier:
        await refused(verifier, identity_provider.token(headers=headers))


async def test_no_forger_signs(identity_provider: IdentityProvider) -> None:
    honest = identity_provider.token()
    header, claims, _ = honest.split(".")
    kid = identity_provider.kid("RS256")
    public = identity_provider.rsa.public_key()
    forged = [f"{part({'alg': alg, 'kid': kid, 'typ': 'JWT'})}.{claims}." for alg in ("none", "None", "nOnE", "", None)]
    # The public key as an HMAC's secret, in the forms in which libraries take keys.
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ):
        signed = f"{part({'alg': 'HS256', 'kid': kid})}.{claims}"
        mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
        forged.append(f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")
    # A key of the forger's own, which the header brings along.
    own = rsa.generate_private_key(65537, 2048)
    brought = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key()))
    body = jwt.decode(honest, options={"verify_signature": False})
    for extra in ({}, {"jwk": brought}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/keys"}):
        forged.append(jwt.encode(body, own, "RS256", headers={"kid": kid, **extra}))
    # Signed by the right key, but what was signed is exchanged.
    other = identity_provider.token(sub="root").split(".")
    forged += [f"{header}.{other[1]}.{honest.split('.')[2]}", f"{header}.{claims}.", f"{header}.{claims}.AAAA"]
    async with tokens(identity_provider.url) as verifier:
        for token in forged:
            await refused(verifier, token)
        assert await verifier.principal(honest)


async def test_an_algorithm_must_be_on_the_list(identity_provider: IdentityProvider) -> None:
    async with tokens(identity_provider.url, algorithms=("ES256",)) as verifier:
        assert await refused(verifier, identity_provider.token("RS256")) == "the token's algorithm is not allowed"
        assert await verifier.principal(identity_provider.token("ES256"))


async def test_without_an_audience_no_token_is_taken(identity_provider: IdentityProvider) -> None:
    async with tokens(identity_provider.url, audience=None) as verifier:
        assert "none of which tokens are taken" in await refused(verifier, identity_provider.token())


async def test_an_id_token_is_for_its_sign_in(identity_provider: IdentityProvider) -> None:
    known = Provider(issuer(identity_provider.url))
    made = {"headers": {"typ": "JWT"}, "aud": "public", "nonce": "n1"}
    try:
        assert (await signed_in(known, identity_provider.token(**made), "n1")).user == "alice"
        for wrong in (
            {"nonce": "n2"},
            {"nonce": None},
            {"nonce": 5},
            {"azp": "other"},
            {"aud": AUDIENCE},
            {"headers": {"typ": "at+jwt"}},
        ):
            with pytest.raises(TokenError):
                await signed_in(known, identity_provider.token(**{**made, **wrong}), "n1")
    finally:
        await known.close()


async def test_new_keys_are_found_but_not_asked_for_by_everyone(identity_provider: IdentityProvider) -> None:
    clock = Clock()
    async with tokens(identity_provider.url, clock) as verifier:
        old = identity_provider.token()
        assert await verifier.principal(old)
        identity_provider.rotate()
        new = identity_provider.token()
        # The provider was asked just now: a stranger's token must not make the gateway ask again.
        assert await refused(verifier, new) == "the token's key is none of its issuer's"
        clock.now += AGAIN_S
        assert await verifier.principal(new)
        await refused(verifier, old)


async def test_a_provider_that_is_down_is_not_the_callers_fault(identity_provider: IdentityProvider) -> None:
    clock = Clock()
    async with tokens(identity_provider.url, clock) as verifier:
        token, unknown = identity_provider.token(), identity_provider.token(headers={"kid": "unknown"})
        assert await verifier.principal(token)
        identity_provider.kill()
        try:
            clock.now += KEPT_S - 1
            assert await verifier.principal(token)  # by keys that were there before
            with pytest.raises(ProviderUnavailable):
                await verifier.principal(unknown)  # nobody can tell
            clock.now += 1
            with pytest.raises(ProviderUnavailable):
                await verifier.principal(token)
        finally:
            identity_provider.restart()
        clock.now += AGAIN_S
        assert await verifier.principal(token)
        await refused(verifier, unknown)


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
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    yield server
    await runner.cleanup()


KEY = rsa.generate_private_key(65537, 2048)


def signed(url: str, key: Any = KEY, algorithm: str = "RS256", **headers: Any) -> str:
    at = int(time.time())
    claims = {"iss": url, "sub": "alice", "aud": AUDIENCE, "iat": at, "exp": at + 60}
    return jwt.encode(claims, key, algorithm, headers=headers)


def published(key: Any = KEY, **more: Any) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "k1", **more}


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
async def test_a_provider_that_misbehaves(playing: Playing, monkeypatch: pytest.MonkeyPatch, keys: Any) -> None:
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
async def test_a_provider_that_says_what_cannot_be(playing: Playing, says: dict[str, Any]) -> None:
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
async def test_keys_are_used_for_what_they_are(
    playing: Playing, keys: list[Any], token: dict[str, Any], taken: bool
) -> None:
    playing.keys = lambda request: web.json_response({"keys": keys})
    async with tokens(playing.url) as verifier:
        if taken:
            assert (await verifier.principal(signed(playing.url, **token))).user == "alice"
        else:
            await refused(verifier, signed(playing.url, **token))


async def test_stale_keys_are_renewed_beside_the_requests(playing: Playing) -> None:
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


async def test_whoever_hangs_up_ends_no_others_wait(playing: Playing) -> None:
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
    monkeypatch.setattr("serving.core.ttl_cache.time.monotonic", clock)
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


class TestPerson:
    SETTINGS = issuer("https://idp.example.com", roles={"staff": "operator", "admins": "admin"})

    def of(self, claims: dict[str, Any], **changes: Any) -> Person:
        return person(self.SETTINGS.model_copy(update=changes), {"sub": "s1", **claims})

    @pytest.mark.parametrize(
        ("groups", "role"),
        [
            ([], "user"),
            (["staff"], "operator"),
            (["staff", "admins"], "admin"),
            ("admins", "admin"),
            (["ADMINS"], "user"),
        ],
    )
    def test_the_highest_role_of_the_groups(self, groups: Any, role: str) -> None:
        assert self.of({"groups": groups}).role == role

    def test_those_without_a_role_may_be_kept_out(self) -> None:
        with pytest.raises(TokenError):
            self.of({"groups": ["guests"]}, role=None)
        assert self.of({"groups": ["staff"]}, role=None).role == "operator"

    @pytest.mark.parametrize("verified", [False, None, "true", 1])
    def test_an_email_is_a_name_when_it_is_verified(self, verified: Any) -> None:
        claims = {"email": "alice@example.com"}
        with pytest.raises(TokenError):
            self.of({**claims, "email_verified": verified}, user_claim="email")
        assert self.of({**claims, "email_verified": True}, user_claim="email").user == "alice@example.com"

    @pytest.mark.parametrize("company", ["other", "ACME", "", None, 5, ["acme"]])
    def test_a_tenant_is_one_of_the_list(self, company: Any) -> None:
        mapped = {"tenant": None, "tenant_claim": "company", "tenants": {"acme": "t1"}}
        with pytest.raises(TokenError):
            self.of({"company": company}, **mapped)
        assert self.of({"company": "acme"}, **mapped).tenant == "t1"

    def test_one_subject_of_two_issuers_is_two_people(self) -> None:
        other = self.SETTINGS.model_copy(update={"issuer": "https://other.example.com"})
        assert person(other, {"sub": "s1"}).id != self.of({}).id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aZ9 é\0", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aZ9 é\0", max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "groups", "nonce"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON))
def test_whatever_a_token_holds_it_is_only_refused(claims: dict[str, Any], headers: dict[str, Any]) -> None:
    known = Provider(issuer("http://127.0.0.1:1"))
    known._known = module._Known(PLAYED, module.usable([published()], ["RS256"]), time.monotonic())
    at = int(time.time())
    honest = {"iss": "http://127.0.0.1:1", "sub": "alice", "aud": AUDIENCE, "iat": at, "exp": at + 60}
    head = part({"alg": "RS256", "kid": "k1", "typ": "JWT", **headers})
    message = f"{head}.{part({**honest, **claims})}"
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(message.encode(), KEY)
    token = f"{message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    async def ask() -> None:
        try:
            caller = await TokenVerifier([known], Anybody()).principal(token)
        except TokenError:
            return
        except ProviderUnavailable:  # of a key that it may have by now
            assert headers.get("kid") != "k1"
            return
        finally:
            await known.close()
        assert (caller.tenant, caller.role) == ("acme", "user")

    asyncio.run(ask())


PLAYED = module.Metadata(
    issuer="http://127.0.0.1:1",
    authorization_endpoint="http://127.0.0.1:1/a",
    token_endpoint="http://127.0.0.1:1/t",
    jwks_uri="http://127.0.0.1:1/j",
)


@given(st.text(alphabet="ey.-_AJz09+/= \0é", max_size=60))
def test_what_is_no_token(text: str) -> None:
    async def ask() -> None:
        with pytest.raises(TokenError):
            await TokenVerifier([], Anybody()).principal(text)

    asyncio.run(ask())


async def test_tokens_are_bounded(identity_provider: IdentityProvider) -> None:
    token = identity_provider.token(padding="x" * MAX_TOKEN)
    assert is_token(token)
    async with tokens(identity_provider.url) as verifier:
        assert str(MAX_TOKEN) in await refused(verifier, token)
        deep = f"{part({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.AAAA"
        await refused(verifier, deep)
        await refused(verifier, f"{part({'alg': 'RS256'})}.{part({'exp': 1})}.AAAA")


async def test_a_provider_whose_authority_is_the_companys_own(tmp_path: Path) -> None:
    made = certificate(tmp_path, "127.0.0.1")
    provider = IdentityProvider("http://127.0.0.1:1", certificate=made)
    try:
        async with tokens(provider.url, tls_ca=str(made.authority)) as verifier:
            assert (await verifier.principal(provider.token())).user == "alice"
        async with tokens(provider.url) as verifier:
            with pytest.raises(ProviderUnavailable, match="does not answer"):
                await verifier.principal(provider.token())
    finally:
        provider.close()
