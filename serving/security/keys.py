"""API keys: `hr_` and 256 random bits. The store has only HMAC-SHA256(key secret, key)."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.security.lockout import Lockout, Try
from serving.store.keys import ApiKey, Confirmed, Keys, KeyWithUser, effective_scopes

log = logging.getLogger("headrace.security")

PREFIX = "hr_"
GOOD_S = 3600
"""Time after a key's successful use in which it is exempt from lockouts."""
COUNTED_S = 900
"""Time in which a repeated wrong key counts once: an attacker would try different ones."""
_KEY = re.compile(r"hr_[A-Za-z0-9_-]{43}", re.ASCII)


class AuthenticationError(Exception):
    """The key is missing or invalid; the message never repeats what the caller sent."""


def new_key() -> str:
    """Returns a new key: `hr_` and 43 base64url characters."""
    return PREFIX + secrets.token_urlsafe(32)


class Authenticator:
    """Creates and verifies keys. Not thread-safe.

    Verified keys are cached for `ttl_s` seconds, rejected ones for `refused_ttl_s`, at most `size` of each: a revoked
    key works that much longer, and changes of a user's role or groups take that long. Only digests are kept in memory.
    Look-ups of unknown keys are limited per address, see `Lockout`; keys that were valid recently are exempt, so that
    nobody is locked out by others behind the same address. Keys that were hashed with the secret `previous` are valid
    too, and are hashed again when they are used.
    """

    def __init__(
        self,
        keys: Keys,
        secret: str,
        *,
        previous: str | None = None,
        ttl_s: float = 10,
        refused_ttl_s: float = 1,
        size: int = 4096,
    ) -> None:
        for each in (secret, previous):
            if each is not None and len(each) < 32:
                raise ValueError("the key secret must have at least 32 characters")
        self._keys = keys
        # Copied for each key: `hmac.digest` lets other threads run, for which a request would wait.
        self._mac = hmac.new(secret.encode(), digestmod="sha256")
        self._previous = previous.encode() if previous is not None else None
        self._verified: TtlCache[Principal] = TtlCache(ttl_s, size)
        self._refused: TtlCache[bool] = TtlCache(refused_ttl_s, size)
        self._good: TtlCache[bool] = TtlCache(GOOD_S, size)
        self._counted: TtlCache[bool] = TtlCache(COUNTED_S, size)
        self._lockout = Lockout()
        self._used: set[str] = set()

    def __repr__(self) -> str:
        return "Authenticator()"

    async def authenticate(self, authorization: str | None, address: str | None = None) -> Principal:
        """Returns the principal for the value of an `Authorization` header from `address`, which is None for internal
        requests.

        Raises `AuthenticationError`, and `LockedOut`.
        """
        if not authorization:
            raise AuthenticationError("an API key is required: send 'Authorization: Bearer hr_…'")
        scheme, _, key = authorization.partition(" ")
        principal = await self.verify(key.strip(), address) if scheme.lower() == "bearer" else None
        if principal is None:
            raise AuthenticationError("the API key is not valid")
        return principal

    async def verify(self, key: str, address: str | None = None) -> Principal | None:
        """Returns the key's principal, or None when the key is malformed, unknown, revoked, expired or disabled.

        Raises `LockedOut` for an `address` with too many attempts.
        """
        if not _KEY.fullmatch(key):
            return None
        digest = self._digest(key)
        if (known := self._verified.get(digest)) is not None:
            self._used.add(known.key_id)
            return known
        if self._refused.get(digest):
            return None
        if address is None or self._good.get(digest) or self._counted.get(digest):
            return await self._look_up(key, digest)
        async with self._lockout.look_up(address) as attempt:
            principal = await self._look_up(key, digest)
            if principal is None:
                attempt.wrong()
                self._counted.put(digest, True)
        return principal

    def attempt(self, address: str) -> AbstractAsyncContextManager[Try]:
        """Returns the context of one more credential of `address` that may be wrong; it raises `LockedOut`."""
        return self._lockout.look_up(address)

    async def _look_up(self, key: str, digest: bytes) -> Principal | None:
        found = await self._find(key, digest)
        at = now()
        if found is None or not hmac.compare_digest(found.key.hash, digest.hex()) or not is_good(found, at):
            self._refused.put(digest, True)
            return None
        principal, end = principal_of(found), found.key.expires_at
        self._verified.put(digest, principal, end - at if end is not None else None)
        self._good.put(digest, True)
        self._used.add(principal.key_id)
        return principal

    async def note_used(self) -> None:
        """Stores which keys were used since the last call; called once a minute, so that no request waits for it."""
        used, self._used = self._used, set()
        if used:
            await self._keys.used(used, now())

    async def issue(
        self,
        principal: Principal,
        *,
        name: str = "",
        user: str | None = None,
        scopes: Iterable[str] = (),
        expires_at: float | None = None,
        confirmed: bool = True,
    ) -> tuple[ApiKey, str]:
        """Creates a key for a user of the principal's tenant. The key itself is only returned here.

        It has the `scopes`, as far as its user's current role allows and once it is `confirmed`. Raises `NotFound`
        if there is no such user.
        """
        key = new_key()
        row = await self._keys.add(
            principal,
            self._digest(key).hex(),
            name=name,
            user=user,
            scopes=scopes,
            expires_at=expires_at,
            confirmed=confirmed,
        )
        return row, key

    async def rotate(
        self, principal: Principal, id: str, *, overlap_s: float, confirmed: Confirmed = True, renewed: bool = True
    ) -> tuple[ApiKey, str]:
        """Creates the key that replaces another one, which works for `overlap_s` more seconds; as `Keys.rotate`."""
        key = new_key()
        row = await self._keys.rotate(
            principal, id, self._digest(key).hex(), overlap_s=overlap_s, confirmed=confirmed, renewed=renewed
        )
        return row, key

    async def ensure_bootstrap(self, key: str) -> None:
        """Stores the bootstrap key once; a different key revokes the previous one.

        A key that was revoked this way stays revoked, which is logged: nobody could administer the stack with it.
        """
        if not _KEY.fullmatch(key):
            raise ValueError("the bootstrap key must be 'hr_' and 43 base64url characters")
        digest = self._digest(key)
        await self._find(key, digest)
        await self._keys.add_bootstrap(digest.hex())
        stored = await self._keys.by_hash(digest.hex())
        if stored is not None and stored.key.revoked_at is not None:
            log.error(
                "the stack's own key is revoked: a gateway with another key, or another key_secret that did not know "
                "this one as key_secret_previous, was started since. Give the stack a new API key"
            )

    async def _find(self, key: str, digest: bytes) -> KeyWithUser | None:
        """Returns the stored key, valid or not, after updating its hash to the current secret."""
        found = await self._keys.by_hash(digest.hex())
        if found is None and self._previous is not None:
            before = hmac.digest(self._previous, key.encode(), "sha256")
            found = await self._keys.rehash(before.hex(), digest.hex())
        return found

    def _digest(self, key: str) -> bytes:
        mac = self._mac.copy()
        mac.update(key.encode())
        return mac.digest()


def is_good(found: KeyWithUser, at: float) -> bool:
    """Returns whether a key may be used at unix time `at`."""
    return found.key.valid(at) and not found.disabled


def principal_of(found: KeyWithUser) -> Principal:
    """Returns the principal of a key."""
    key = found.key
    scopes = effective_scopes(key.scopes, found.role, bootstrap=key.bootstrap, confirmed=key.confirmed)
    groups, account = frozenset(found.groups), key.first_id or key.id
    return Principal(key.tenant, key.user, key.id, scopes, found.role, groups, account, key.confirmed)
