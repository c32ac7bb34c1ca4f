"""From which address a request comes, as far as that can be known."""

from __future__ import annotations

from starlette.types import Scope

_FORWARDED = b"x-forwarded-for"


def address_of(scope: Scope, proxies: int) -> str:
    """Returns the caller's address: what HAProxy says, or the last of `proxies` that stand before it.

    Each appends the address that it was asked from to `X-Forwarded-For`; whatever stands before those the caller may
    have written. Without that many, it is the connection's.
    """
    said = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
    addresses = [part.strip() for part in said.decode("latin-1").split(",") if part.strip()]
    if len(addresses) > proxies:
        return addresses[-1 - proxies]
    client = scope.get("client")
    return str(client[0]) if client else ""
