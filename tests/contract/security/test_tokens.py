"""Tokens of a real identity provider, and what forgers make of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from serving.core.principal import Principal
from serving.security import provider as module
from serving.security.person import MAX_GROUPS, TokenError
from serving.security.provider import (
    AGAIN_S,
    KEPT_S,
    Provider,
    ProviderUnavailable,
)
from serving.security.tokens import MAX_TOKEN, TokenVerifier, is_token, signed_in
from tests.callers.identity import Anybody
from tests.contract.security.verifier import KEY, Clock, issuer, published, refused, tokens
from tests.servers.certificate import certificate
from tests.servers.identity_provider import AUDIENCE, IdentityProvider


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


async def test_programs_authenticate_with_tokens(identity_provider: IdentityProvider) -> None:
    token = identity_provider.machine_token()
    roles = {"roles": {"robots": "operator"}, "tenant": None, "tenant_claim": "company", "tenants": {"acme": "a1"}}
    async with tokens(identity_provider.url, **roles) as verifier:
        caller = await verifier.principal(token)
        assert (caller.tenant, caller.user, caller.role, caller.groups) == ("a1", "machine", "operator", {"robots"})
        assert caller.scopes == {"inference", "data:read", "data", "feedback", "hub:read", "operate"}
        assert await verifier.principal(token) == caller
        refusal = await refused(verifier, identity_provider.machine_token("urn:other"))
        assert refusal == "the token is for another audience"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_validly_signed_tokens_are_accepted(identity_provider: IdentityProvider, algorithm: str) -> None:
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
async def test_tokens_with_wrong_claims_are_rejected(
    identity_provider: IdentityProvider, claims: dict[str, Any]
) -> None:
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
async def test_tokens_with_wrong_headers_are_rejected(
    identity_provider: IdentityProvider, headers: dict[str, Any]
) -> None:
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
        assert "is not accepted" in await refused(verifier, identity_provider.token())


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


async def test_new_signing_keys_are_fetched_with_a_rate_limit(identity_provider: IdentityProvider) -> None:
    clock = Clock()
    async with tokens(identity_provider.url, clock) as verifier:
        old = identity_provider.token()
        assert await verifier.principal(old)
        identity_provider.rotate()
        new = identity_provider.token()
        # The provider was asked just now: a stranger's token must not make the gateway ask again.
        assert await refused(verifier, new) == "the token's key is not one of its issuer's"
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aZ9 é\0", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aZ9 é\0", max_size=5), inner, max_size=3),
    max_leaves=8,
)


NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "groups", "nonce"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON))
def test_malformed_tokens_never_cause_errors(claims: dict[str, Any], headers: dict[str, Any]) -> None:
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
def test_invalid_tokens_are_rejected(text: str) -> None:
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


async def test_private_certificate_authorities_are_supported(tmp_path: Path) -> None:
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
