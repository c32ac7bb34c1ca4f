"""Approvals of tool calls: signed, so that any replica accepts them and offers need not be stored."""

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
"""Maximum number of characters of an approval's id."""


class ApprovalError(Exception):
    """An invalid approval. The message has the reason, without its content."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval of one tool call, identified by the digest of its arguments, until `expires_at`.

    `id` is unique, in whatever encoding the caller returns the offer.
    """

    id: str
    tool: str
    digest: str
    expires_at: int


class Approvals:
    """Offers approvals to callers, and verifies those in requests; `clock` returns seconds since 1970.

    An approval is valid for a caller's tenant and user, an assistant, a tool and its arguments' digest, until it
    expires. Offers signed with the secret `previous` are valid too.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = now, *, previous: str | None = None) -> None:
        # Derived keys: these signatures can never be taken for the hash of an API key.
        self._keys = keys(b"headrace approvals 1", secret, previous)
        self._clock = clock

    def __repr__(self) -> str:
        return "Approvals()"

    def offer(self, caller: Principal, assistant: str, tool: str, digest: str) -> tuple[str, int]:
        """Returns the id with which to approve a call, and its expiry, in seconds since 1970."""
        expires_at = int(self._clock()) + LIFETIME_S
        # The last claim distinguishes two offers of the same call, each of which allows one.
        claims = [caller.tenant, caller.user, assistant, tool, digest, expires_at, secrets.token_hex(8)]
        signed = json.dumps(claims).encode()
        return PREFIX + seal(partial(_mac, self._keys[0]), signed), expires_at

    def read(self, id: str, caller: Principal, assistant: str) -> Approval:
        """Returns the approval with this id. Raises `ApprovalError`."""
        no_id = ApprovalError("invalid_approval", "is not the id of an approval")
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
