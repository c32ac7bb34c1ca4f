"""Sign-ins in progress: a signed cookie binds each to its browser, and nothing is stored.

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
"""Maximum number of characters of the path to continue at."""

# Paths that browsers interpret as another host ("//", "/\") or truncate (control characters) are rejected.
_NEXT = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)


class FlowError(Exception):
    """A browser returned with unexpected values. The message says which."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in. `verifier` is never sent to the browser; `state`, `nonce` and `challenge` are."""

    state: str
    issuer: str
    next: str
    nonce: str
    verifier: str

    @property
    def challenge(self) -> str:
        """PKCE's `S256` challenge of the verifier."""
        return signed.text(hashlib.sha256(self.verifier.encode()).digest())


def own_path(path: str) -> bool:
    """Returns whether a browser may be redirected to `path`: a path of this origin in every interpretation."""
    return len(path) <= MAX_NEXT and _NEXT.fullmatch(path) is not None


class Flows:
    """Starts sign-ins and recognises them on any gateway, also those that began with the secret `previous`.

    `clock` returns seconds since 1970.
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
        """Returns the flow of a cookie, whose state must be `state`. Raises `FlowError`."""
        key, claims = self._unseal_cookie(cookie) if cookie and len(cookie) <= MAX_COOKIE else (b"", None)
        if claims is None:
            raise FlowError("This browser did not start this sign-in.")
        its_state, issuer, next, expires_at = json.loads(claims)
        if not hmac.compare_digest(its_state.encode(), (state or "").encode(errors="replace")):
            raise FlowError("This browser has started another sign-in since.")
        if self._clock() >= expires_at:
            raise FlowError("Signing in took too long: begin again.")
        return _flow(key, its_state, issuer, next)

    def _unseal_cookie(self, cookie: str) -> tuple[bytes, bytes | None]:
        """Returns the claims of a cookie and the key that signed them, None for an invalid cookie."""
        for key in self._keys:
            if (claims := signed.unseal(partial(_mac, key, b"cookie"), cookie)) is not None:
                return key, claims
        return b"", None


def _flow(key: bytes, state: str, issuer: str, next: str) -> Flow:
    # They are derived from the state with a secret key, so that they need not be stored.
    nonce, verifier = (signed.text(_mac(key, use, state.encode())) for use in (b"nonce", b"verifier"))
    return Flow(state, issuer, next, nonce, verifier)


def _mac(key: bytes, use: bytes, data: bytes) -> bytes:
    return hmac.digest(key, use + b"\0" + data, "sha256")
