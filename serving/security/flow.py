"""Sign-ins that are under way: a signed cookie binds each to its browser, and nothing is stored for them.

Sources: RFC 6749 section 10.12 (state), RFC 7636 (PKCE), OpenID Connect Core 1.0 section 15.5.2 (nonce).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from serving.core.ids import now
from serving.security import signed

LIFETIME_S = 600
MAX_COOKIE = 2048
MAX_NEXT = 512
"""Characters of the path where a browser goes on."""

# What browsers read as another host ("//", "/\") or drop (control characters) is no path of ours.
_NEXT = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)


class FlowError(Exception):
    """A browser came back with what it was not sent with. The message says which kind."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in. `verifier` stays here; `state`, `nonce` and `challenge` travel."""

    state: str
    issuer: str
    next: str
    nonce: str
    verifier: str

    @property
    def challenge(self) -> str:
        """PKCE's `S256` of the verifier."""
        return signed.text(hashlib.sha256(self.verifier.encode()).digest())


def own_path(path: str) -> bool:
    """Whether a browser may be sent to `path`: one of this origin, whoever reads it."""
    return len(path) <= MAX_NEXT and _NEXT.fullmatch(path) is not None


class Flows:
    """Begins sign-ins and knows them again on any gateway, also those that began under the secret `previous`.

    `clock` tells seconds since 1970.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = now, *, previous: str | None = None) -> None:
        self._keys = signed.keys(b"headrace sign-in 1", secret, previous)
        self._clock = clock

    def __repr__(self) -> str:
        return "Flows()"

    def begin(self, issuer: str, next: str) -> tuple[Flow, str]:
        """Returns a new flow and the cookie that binds it to its browser. `next` is an `own_path`."""
        state = secrets.token_urlsafe(32)
        claims = json.dumps([state, issuer, next, int(self._clock()) + LIFETIME_S]).encode()
        key = self._keys[0]
        return _flow(key, state, issuer, next), signed.seal(partial(_mac, key, b"cookie"), claims)

    def read(self, cookie: str | None, state: str | None) -> Flow:
        """Returns the flow of a cookie, which must be that of `state`. Raises `FlowError`."""
        key, claims = self._unseal_cookie(cookie) if cookie and len(cookie) <= MAX_COOKIE else (b"", None)
        if claims is None:
            raise FlowError("This browser did not begin to sign in here.")
        its_state, issuer, next, expires_at = json.loads(claims)
        if not hmac.compare_digest(its_state.encode(), (state or "").encode(errors="replace")):
            raise FlowError("This browser began to sign in another time.")
        if self._clock() >= expires_at:
            raise FlowError("Signing in took too long: begin again.")
        return _flow(key, its_state, issuer, next)

    def _unseal_cookie(self, cookie: str) -> tuple[bytes, bytes | None]:
        """Returns the claims of a cookie and the key that signed them, None for those of nobody's."""
        for key in self._keys:
            if (claims := signed.unseal(partial(_mac, key, b"cookie"), cookie)) is not None:
                return key, claims
        return b"", None


def _flow(key: bytes, state: str, issuer: str, next: str) -> Flow:
    # Made from the state by a key that is here alone, they need not be kept anywhere.
    nonce, verifier = (signed.text(_mac(key, use, state.encode())) for use in (b"nonce", b"verifier"))
    return Flow(state, issuer, next, nonce, verifier)


def _mac(key: bytes, use: bytes, data: bytes) -> bytes:
    return hmac.digest(key, use + b"\0" + data, "sha256")
