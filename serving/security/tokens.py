"""Tokens of identity providers: JWTs, verified with the keys that the provider publishes.

Sources: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (access tokens), OpenID Connect Core 1.0, section
3.1.3.7 (ID tokens).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any

import jwt
import orjson

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.security.person import People, Person, TokenError, person
from serving.security.provider import Provider

MAX_TOKEN = 16_384
"""Maximum number of characters of a token."""

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_ACCESS = ("jwt", "at+jwt", "application/at+jwt")
_ID = ("jwt",)
_NOBODYS = "the token's issuer is not accepted"
# Numbers beyond the range of floats are not times: they would overflow.
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError)


def is_token(credential: str) -> bool:
    """Returns whether a credential has the form of a JWT, which no API key has."""
    return len(credential) > MAX_TOKEN or _JWT.fullmatch(credential) is not None


class TokenVerifier:
    """Verifies tokens of the configured providers.

    Caches the person of each verified token for `ttl_s` seconds, but not beyond its expiry; at most `size` of them.
    """

    def __init__(self, providers: Iterable[Provider], people: People, *, ttl_s: float = 10, size: int = 4096) -> None:
        self._providers = {p.issuer.issuer: p for p in providers if p.issuer.audience is not None}
        self._people = people
        self._verified: TtlCache[Person] = TtlCache(ttl_s, size)

    async def principal(self, token: str) -> Principal:
        """Returns the principal of an access token. Raises `AuthenticationError` and `ProviderUnavailable`."""
        if not self._providers:
            raise TokenError(_NOBODYS)
        _bounded(token)
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found = self._verified.get(digest)
        if found is None:
            issuer = _issuer(token)
            provider = self._providers.get(issuer) if isinstance(issuer, str) else None
            if provider is None or provider.issuer.audience is None:
                raise TokenError(_NOBODYS)
            claims = await verified(provider, token, provider.issuer.audience, _ACCESS)
            found = person(provider.issuer, claims)
            self._verified.put(digest, found, int(claims["exp"]) - now())
        return await self._people.admit(found)


async def signed_in(provider: Provider, token: str, nonce: str) -> Person:
    """Returns the person of an ID token, which must have `nonce`. Raises `TokenError` and `ProviderUnavailable`."""
    claims = await verified(provider, token, provider.issuer.client_id, _ID)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise TokenError("the token was made for another sign-in")
    if claims.get("azp", provider.issuer.client_id) != provider.issuer.client_id:
        raise TokenError("the token was made for another client")
    return person(provider.issuer, claims)


async def verified(provider: Provider, token: str, audience: str, types: tuple[str, ...]) -> dict[str, Any]:
    """Returns the claims of a token of `provider` for `audience`. Raises `TokenError` and `ProviderUnavailable`."""
    issuer = provider.issuer
    header = _header(token)
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in issuer.algorithms:
        raise TokenError("the token's algorithm is not allowed")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise TokenError("the token is of another type")
    if "crit" in header or "b64" in header or not isinstance(kid, str | None):
        raise TokenError("the token's header has an unsupported critical extension")
    key = await provider.key(kid, algorithm)
    if key is None:
        raise TokenError("the token's key is not one of its issuer's")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer.issuer,
            leeway=issuer.clock_skew_s,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.ExpiredSignatureError:
        raise TokenError("the token has expired") from None
    except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
        raise TokenError("the token is for another audience") from None
    except _BROKEN:
        raise TokenError("the token is not valid") from None
    return claims


def _bounded(token: str) -> None:
    if len(token) > MAX_TOKEN:
        raise TokenError(f"the token has more than {MAX_TOKEN} characters")


def _header(token: str) -> dict[str, Any]:
    _bounded(token)
    try:
        return jwt.get_unverified_header(token)
    except _BROKEN:
        raise TokenError("the token is not valid") from None


def _issuer(token: str) -> object:
    """Returns the issuer in a token, unverified: it only selects the keys for verifying the token."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError):
        raise TokenError("the token is not valid") from None
    return claims.get("iss") if isinstance(claims, dict) else None
