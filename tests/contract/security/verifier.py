"""A verifier of tokens for tests, and how tokens and keys are made."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from serving.config import Issuer
from serving.security.person import TokenError
from serving.security.provider import (
    Provider,
)
from serving.security.tokens import TokenVerifier
from tests.callers.identity import Anybody
from tests.servers.identity_provider import AUDIENCE


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


KEY = rsa.generate_private_key(65537, 2048)


def signed(url: str, key: Any = KEY, algorithm: str = "RS256", **headers: Any) -> str:
    at = int(time.time())
    claims = {"iss": url, "sub": "alice", "aud": AUDIENCE, "iat": at, "exp": at + 60}
    return jwt.encode(claims, key, algorithm, headers=headers)


def published(key: Any = KEY, **more: Any) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "k1", **more}
