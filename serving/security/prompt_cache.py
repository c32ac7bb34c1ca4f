"""Who shares the prompt cache of an engine, which reuses the beginning of a prompt that it has read before.

That is quicker, which can be measured, and counted, which is told. So what is kept of one caller's prompts must never
be found by another's.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from serving.config import PromptCache
from serving.core.principal import Principal

BYTES = 16
"""Of a name: nobody can find out whom it stands for, nor make one, without the stack's key."""


@dataclass(frozen=True, slots=True)
class CacheOwner:
    """Who shares a cache: those of one `name`, which engines are told. `user` is one name per user, shared or not."""

    name: str
    user: str


class CacheOwners:
    """Names of owners, the same in each gateway. `secret` is the stack's key secret."""

    def __init__(self, shared_by: PromptCache, secret: str) -> None:
        self._shared_by = shared_by
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return "CacheOwners()"

    @property
    def counted(self) -> bool:
        """Whether what was found in a cache is of the caller alone, who may be told how much."""
        return self._shared_by != "tenant"

    def owner(self, caller: Principal) -> CacheOwner:
        """Returns who shares what is kept of the caller's prompts."""
        user = self._name("user", caller.tenant, caller.user)
        if self._shared_by == "off":  # nobody, not even the caller's next request
            return CacheOwner(secrets.token_hex(BYTES), user)
        return CacheOwner(user if self._shared_by == "user" else self._name("tenant", caller.tenant), user)

    def _name(self, *parts: str) -> str:
        said = "\0".join(("prompt cache", *parts)).encode()
        return hmac.digest(self._secret, said, "sha256")[:BYTES].hex()
