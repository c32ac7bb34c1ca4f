"""Determines the address of a request's caller."""

from __future__ import annotations

from starlette.types import Scope

_FORWARDED = b"x-forwarded-for"


def address_of(scope: Scope, proxies: int) -> str:
    """Returns the caller's address: as reported by HAProxy, or by the outermost of `proxies` in front of it.

    Each proxy appends the address of its client to `X-Forwarded-For`; entries before these may be forged by the caller.
    If there are fewer entries, it is the connection's address.
    """
    said = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
    addresses = [part.strip() for part in said.decode("latin-1").split(",") if part.strip()]
    if len(addresses) > proxies:
        return addresses[-1 - proxies]
    client = scope.get("client")
    return str(client[0]) if client else ""
