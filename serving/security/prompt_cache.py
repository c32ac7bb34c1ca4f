"""Ownership of engines' prompt caches, which reuse the beginning of earlier prompts.

Cache hits are faster, which can be measured, and are reported in the usage. Therefore one caller's cached prompts must
never be reused for another's.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from serving.config import PromptCache
from serving.core.principal import Principal

BYTES = 16
"""Length of a name: without the stack's key, nobody can find out whom it represents, or create one."""


@dataclass(frozen=True, slots=True)
class CacheOwner:
    """The owner of a cache: callers with the same `name`, which engines get, share it. `user` is one name per user,
    shared or not.
    """

    name: str
    user: str


class CacheOwners:
    """Names of owners, equal on all gateways. `secret` is the stack's key secret."""

    def __init__(self, shared_by: PromptCache, secret: str) -> None:
        self._shared_by = shared_by
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return "CacheOwners()"

    @property
    def counted(self) -> bool:
        """Whether cached prompts are always the caller's own, so that their number may be reported."""
        return self._shared_by != "tenant"

    def owner(self, caller: Principal) -> CacheOwner:
        """Returns the owner of the caller's prompts."""
        user = self._name("user", caller.tenant, caller.user)
        if self._shared_by == "off":  # nobody, not even the caller's next request
            return CacheOwner(secrets.token_hex(BYTES), user)
        return CacheOwner(user if self._shared_by == "user" else self._name("tenant", caller.tenant), user)

    def _name(self, *parts: str) -> str:
        said = "\0".join(("prompt cache", *parts)).encode()
        return hmac.digest(self._secret, said, "sha256")[:BYTES].hex()
