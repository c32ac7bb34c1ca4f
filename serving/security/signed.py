"""Signed claims: base64url of HMAC-SHA256 and of the signed data. Nothing is stored for them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

_MAC = 32  # bytes of HMAC-SHA256


def keys(use: bytes, *secrets: str | None) -> tuple[bytes, ...]:
    """Returns a key for one `use`, derived from each secret: the first signs, and all of them verify."""
    return tuple(hmac.digest(secret.encode(), use, "sha256") for secret in secrets if secret is not None)


def text(data: bytes) -> str:
    """Returns base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seal(mac: Callable[[bytes], bytes], claims: bytes) -> str:
    """Returns `claims` after their signature."""
    return text(mac(claims) + claims)


def unseal(mac: Callable[[bytes], bytes], sealed: str) -> bytes | None:
    """Returns the claims, or None if the signature is invalid."""
    try:
        given = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return given[_MAC:] if hmac.compare_digest(given[:_MAC], mac(given[_MAC:])) else None
