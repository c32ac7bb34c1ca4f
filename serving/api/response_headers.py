"""Headers that every answer has, for what a browser must not do with it.

Sources: OWASP's HTTP Headers Cheat Sheet and, for HSTS, RFC 6797.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

Header = tuple[bytes, bytes]

ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

HSTS: Header = (b"strict-transport-security", b"max-age=31536000")
"""A year of TLS alone. Subdomains are somebody else's to promise for."""


def over_tls(scope: Scope) -> bool:
    """Whether the caller came over TLS, as the edge says: RFC 6797 wants no HSTS on an answer in plain text.

    Whoever reaches the gateway without an edge can say so too, and fools nobody else.
    """
    return (b"x-forwarded-proto", b"https") in scope["headers"] or scope.get("scheme") == "https"


def completed(headers: Iterable[Header], *, tls: bool) -> list[Header]:
    """Returns an answer's headers with those that it did not set itself."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return given + [header for header in (*ALWAYS, *([HSTS] if tls else ())) if header[0] not in names]
