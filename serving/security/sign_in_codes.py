"""One-time codes in sign-in links: each signs one browser in as the API key that made it, without showing the key.

A code is signed, so no code is stored; that it was used is stored, as the SHA-256 of its claims.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from serving.config import SignInLinks
from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.security.keys import is_good, principal_of
from serving.security.signed import keys, seal, unseal
from serving.store.keys import Keys
from serving.store.used_approvals import UsedApprovals

LIFETIME_S = 900
_CODE = re.compile(r"[A-Za-z0-9_-]{80,1024}", re.ASCII)


class CodeError(Exception):
    """The code is invalid, used or expired; the message never repeats it. `guessed`: nobody here has signed it."""

    def __init__(self, *, guessed: bool = False) -> None:
        super().__init__("the sign-in link is not valid, was used before, or has expired: make a new one")
        self.guessed = guessed


class NotHere(Exception):
    """The configuration does not let this address use sign-in links."""


@dataclass(frozen=True, slots=True)
class SignInCode:
    """A new code, which is not in `repr`; `expires_at` is in seconds since 1970."""

    id: str
    expires_at: int
    code: str = field(repr=False)


class SignInCodes:
    """Makes codes and exchanges each once, on any gateway. Codes signed with the secret `previous` are valid too."""

    def __init__(
        self,
        links: SignInLinks,
        stored: Keys,
        used: UsedApprovals,
        secret: str,
        clock: Callable[[], float] = now,
        *,
        previous: str | None = None,
    ) -> None:
        self._links = links
        self._stored = stored
        self._used = used
        self._clock = clock
        # Derived keys: these signatures can never be taken for those of approvals or sessions.
        self._keys = keys(b"headrace sign-in codes 1", secret, previous)

    def __repr__(self) -> str:
        return "SignInCodes()"

    def require_address(self, address: str) -> None:
        """Raises `NotHere` unless a caller from this address may make and use codes."""
        if self._links == "off" or (self._links == "loopback" and not _loopback(address)):
            raise NotHere

    async def make(self, caller: Principal) -> SignInCode | None:
        """Returns a code with which one browser can sign in as the caller's API key; None if the caller has none."""
        found = await self._stored.by_id(caller.tenant, caller.key_id)
        if found is None or not is_good(found, self._clock()):
            return None
        id, expires_at = new_id("code"), int(self._clock()) + LIFETIME_S
        claims = json.dumps([id, caller.tenant, caller.key_id, expires_at]).encode()
        return SignInCode(id, expires_at, seal(partial(_mac, self._keys[0]), claims))

    async def owner(self, code: str) -> tuple[Principal, str, int]:
        """Returns the key's principal, and the name and expiry under which the code's use is stored.

        Raises `CodeError`. The code may have been used: `use` finds that out.
        """
        if not _CODE.fullmatch(code):
            raise CodeError
        read = (unseal(partial(_mac, key), code) for key in self._keys)
        claims = next((claims for claims in read if claims is not None), None)
        if claims is None:
            raise CodeError(guessed=True)
        _, tenant, key_id, expires_at = json.loads(claims)
        at = self._clock()
        found = await self._stored.by_id(tenant, key_id) if at < expires_at else None
        if found is None or not is_good(found, at):
            raise CodeError
        return principal_of(found), hashlib.sha256(claims).hexdigest(), expires_at

    async def use(self, caller: Principal, name: str, expires_at: int) -> None:
        """Marks a code as used; raises `CodeError` if it was. To be called in the transaction of the new session."""
        if not await self._used.use(caller, name, expires_at):
            raise CodeError


def _loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _mac(key: bytes, claims: bytes) -> bytes:
    return hmac.digest(key, claims, "sha256")
