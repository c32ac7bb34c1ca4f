"""An identity provider: its metadata, its keys, and the exchange of codes for tokens.

Sources: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 6749 section 4.1.3 (codes), RFC 7636 (PKCE).
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import orjson
from pydantic import BaseModel, Field, ValidationError, field_validator

from serving.config import Issuer, require_secure

log = logging.getLogger("headrace.security")

ANSWER_BYTES = 512 * 1024
ANSWER_S = 5.0
FRESH_S = 600.0
"""Age after which keys are refreshed, in the background."""
KEPT_S = 86_400.0
"""Maximum age of keys of a provider that does not answer."""
AGAIN_S = 10.0
"""Minimum interval between refreshes, whatever tokens arrive."""
MAX_KEYS = 64
MAX_EXCHANGES = 16
"""Maximum number of concurrent code exchanges, since anybody can send codes."""

_KTY = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_PUBLIC = frozenset(("kty", "crv", "x", "y", "n", "e"))
_RSA_BITS = 2048


class ProviderUnavailable(Exception):
    """The provider does not answer, or its answer is invalid. This says nothing about the caller."""


class CodeRefused(Exception):
    """The provider rejects a code."""


class Metadata(BaseModel):
    """The used part of a provider's metadata."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = Field(default=["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False

    @field_validator("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
    @classmethod
    def _secure(cls, value: str | None) -> str | None:
        if value is not None:
            require_secure(value)
        return value


Keys = Mapping[str, tuple[tuple[object, jwt.PyJWK], ...]]
"""Keys by algorithm and name."""


@dataclass(frozen=True, slots=True)
class _Known:
    metadata: Metadata
    keys: Keys
    at: float


class Provider:
    """One provider and its cached metadata. `clock` is monotonic, in seconds."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._clock = clock
        self._secret = issuer.client_secret.read() if issuer.client_secret is not None else None
        self._known: _Known | None = None
        self._asked: float | None = None
        self._failed = False
        self._away = False
        self._refusal = ""
        self._exchanging = 0
        self._asking: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Provider({self.issuer.name!r})"

    async def metadata(self) -> Metadata:
        """Returns the provider's metadata. Raises `ProviderUnavailable`."""
        return (await self._current()).metadata

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Returns the provider's signing key for `algorithm`, None when it has no such key.

        Without `kid` it must have exactly one. Raises `ProviderUnavailable` when the keys are unknown.
        """
        found = _pick((await self._current()).keys, kid, algorithm)
        if found is None:
            await self._ask()
            found = _pick((await self._current()).keys, kid, algorithm)
            if found is None and self._failed:
                raise ProviderUnavailable(f"identity provider {self.issuer.name} does not answer")
        return found

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Returns the ID token for a code. Raises `CodeRefused` and `ProviderUnavailable`."""
        if self._exchanging >= MAX_EXCHANGES:
            raise ProviderUnavailable(f"identity provider {self.issuer.name}: too many sign-ins at once")
        self._exchanging += 1
        try:
            return await self._exchange(code, verifier, redirect_uri)
        except ProviderUnavailable as e:
            self._note_away(e)
            raise
        finally:
            self._exchanging -= 1

    async def _exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        if self._secret is None:
            form["client_id"] = self.issuer.client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            login = (quote(self.issuer.client_id, safe=""), quote(self._secret, safe=""))
            headers["Authorization"] = aiohttp.encode_basic_auth(*login)
        else:
            form |= {"client_id": self.issuer.client_id, "client_secret": self._secret}
        status, answer = await self._fetch("POST", metadata.token_endpoint, data=form, headers=headers)
        if status in (400, 401, 403):
            self._note_refusal(_reason(answer))
            raise CodeRefused
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise self._unavailable(f"status {status} and no ID token")
        return token

    async def close(self) -> None:
        """Cancels requests in progress and closes connections."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _current(self) -> _Known:
        if self._age() >= KEPT_S:
            await self._ask()
        elif self._age() >= FRESH_S:
            self._begin()
        if self._known is None or self._age() >= KEPT_S:
            raise ProviderUnavailable(f"identity provider {self.issuer.name} does not answer")
        return self._known

    def _age(self) -> float:
        """Returns the age of the keys in seconds."""
        return self._clock() - self._known.at if self._known is not None else math.inf

    async def _ask(self) -> None:
        """Waits for a refresh in progress, or starts one if it is due."""
        # A caller that disconnects meanwhile only ends its own wait.
        if (asking := self._begin()) is not None:
            await asyncio.shield(asking)

    def _begin(self) -> asyncio.Task[None] | None:
        if self._asking is not None and not self._asking.done():
            return self._asking
        if self._asked is not None and self._clock() - self._asked < AGAIN_S:
            return None
        self._asked = self._clock()
        self._asking = asyncio.create_task(self._learn())
        return self._asking

    async def _learn(self) -> None:
        try:
            self._known = await self._look()
            self._failed = self._away = False
        except ProviderUnavailable as e:
            self._failed = True
            self._note_away(e)

    def _note_away(self, problem: ProviderUnavailable) -> None:
        """Logs an outage once, however many requests arrive meanwhile."""
        if not self._away:
            self._away = True
            log.error("%s", problem)

    def _note_refusal(self, reason: str) -> None:
        """Logs the first error that an invalid code does not explain, such as an unknown client."""
        known = reason in ("invalid_grant", self._refusal)
        log.log(
            logging.DEBUG if known else logging.WARNING,
            "identity provider %s refused a code: %s",
            self.issuer.name,
            reason,
        )
        if not known:
            self._refusal = reason

    async def _look(self) -> _Known:
        place = f"{self.issuer.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            metadata = Metadata.model_validate(await self._get(place))
        except ValidationError as e:
            fields = ", ".join(str(error["loc"][0]) for error in e.errors(include_input=False, include_url=False))
            raise self._unavailable(f"its configuration has wrong values: {fields}") from None
        if metadata.issuer != self.issuer.issuer:
            raise self._unavailable("its metadata names another issuer")
        keys = (await self._get(metadata.jwks_uri)).get("keys")
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            raise self._unavailable(f"it does not have a list of at most {MAX_KEYS} keys")
        return _Known(metadata, usable(keys, self.issuer.algorithms), self._clock())

    async def _get(self, url: str) -> dict[str, Any]:
        status, answer = await self._fetch("GET", url)
        if status != 200:
            raise self._unavailable(f"status {status}")
        return answer

    async def _fetch(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client().request(method, url, allow_redirects=False, **options) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        raise self._unavailable(f"more than {ANSWER_BYTES} bytes")
                answer = orjson.loads(body)
        except (aiohttp.ClientError, OSError, ValueError) as e:  # a timeout is an OSError
            raise self._unavailable(type(e).__name__) from None
        if not isinstance(answer, dict):
            raise self._unavailable("not a JSON object")
        return response.status, answer

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=self.issuer.tls_ca)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, limit=16),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _unavailable(self, problem: str) -> ProviderUnavailable:
        return ProviderUnavailable(f"identity provider {self.issuer.name}: {problem}")


def usable(keys: Iterable[object], algorithms: Iterable[str]) -> Keys:
    """Returns keys of a list by algorithm: each is used only for its own algorithm, whatever a token says."""
    found: dict[str, tuple[tuple[object, jwt.PyJWK], ...]] = {}
    for algorithm in algorithms:
        fitting = [
            key
            for key in keys
            if isinstance(key, dict)
            and key.get("kty") == _KTY[algorithm[:2]]
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
        ]
        loaded = ((key.get("kid"), _load(key, algorithm)) for key in fitting)
        found[algorithm] = tuple((kid, key) for kid, key in loaded if key is not None)
    return found


def _pick(keys: Keys, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    """Returns the key for `algorithm`, with that name if there is one."""
    found = [key for name, key in keys.get(algorithm, ()) if kid is None or name == kid]
    return found[0] if len(found) == 1 else None


def _load(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """Returns the public part of a key, None when it is unusable or too weak."""
    try:
        loaded = jwt.PyJWK({name: value for name, value in key.items() if name in _PUBLIC}, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return loaded if getattr(loaded.key, "key_size", _RSA_BITS) >= _RSA_BITS or algorithm[0] == "E" else None


def _reason(answer: Mapping[str, Any]) -> str:
    """Returns the error code in an answer, if it is valid."""
    error = answer.get("error")
    return error if isinstance(error, str) and error.isidentifier() and len(error) < 64 else "unknown"
