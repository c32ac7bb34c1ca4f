"""Approvals of calls that a model wants to make: signed, so that any replica honours them and no offer is stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from serving.core.ids import now
from serving.core.principal import Principal
from serving.security.signed import keys, seal, unseal

PREFIX = "apr_"
LIFETIME_S = 600
MAX_ID = 2048
"""Characters of an approval's id."""


class ApprovalError(Exception):
    """An approval that is not valid. The message says which kind of invalid, without what it holds."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Approval:
    """What the caller approved of: one call of a tool, by the digest of its arguments, until `expires_at`.

    `id` tells it from all others, however the caller spells what it was offered.
    """

    id: str
    tool: str
    digest: str
    expires_at: int


class Approvals:
    """Offers approvals to callers, and reads those that they give; `clock` tells seconds since 1970.

    An approval holds for a caller's tenant and user, an assistant, a tool and its arguments' digest, until it expires.
    Those that were offered under the secret `previous` are good too.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = now, *, previous: str | None = None) -> None:
        # Keys of their own: what is signed here is never taken for the hash of an API key.
        self._keys = keys(b"headrace approvals 1", secret, previous)
        self._clock = clock

    def __repr__(self) -> str:
        return "Approvals()"

    def offer(self, caller: Principal, assistant: str, tool: str, digest: str) -> tuple[str, int]:
        """Returns the id to approve of a call with, and when it expires, in seconds since 1970."""
        expires_at = int(self._clock()) + LIFETIME_S
        # The last claim tells two offers of the same call apart, each of which allows one.
        claims = [caller.tenant, caller.user, assistant, tool, digest, expires_at, secrets.token_hex(8)]
        signed = json.dumps(claims).encode()
        return PREFIX + seal(partial(_mac, self._keys[0]), signed), expires_at

    def read(self, id: str, caller: Principal, assistant: str) -> Approval:
        """Returns what `id` approves of. Raises `ApprovalError`."""
        no_id = ApprovalError("invalid_approval", "is no id of an approval")
        sealed = id.removeprefix(PREFIX) if id.startswith(PREFIX) and len(id) <= MAX_ID else ""
        read = (unseal(partial(_mac, key), sealed) for key in self._keys)
        claims = next((claims for claims in read if claims is not None), None)
        if claims is None:
            raise no_id
        tenant, user, its_assistant, tool, digest, expires_at, *_ = json.loads(claims)
        if (tenant, user) != (caller.tenant, caller.user):
            raise no_id
        if its_assistant != assistant:
            raise ApprovalError("foreign_approval", "was offered by another assistant")
        if self._clock() >= expires_at:
            raise ApprovalError("expired_approval", "has expired: ask again")
        return Approval(hashlib.sha256(claims).hexdigest(), tool, digest, expires_at)


def _mac(key: bytes, claims: bytes) -> bytes:
    return hmac.digest(key, claims, "sha256")
