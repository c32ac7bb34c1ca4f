"""Security headers of every answer.

Sources: OWASP's HTTP Headers Cheat Sheet and, for HSTS, RFC 6797.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
"""One year. Subdomains are not included, since they may belong to others."""


DROPPED = "headrace-dropped-params"
"""The header that names the fields of a request that were left out."""

MAX_DROPPED = 32
"""Maximum number of fields that it names."""


def dropped_params(paths: Sequence[str]) -> list[Header]:
    """Returns the header with the paths of dropped fields, if there are any; `...` stands for further ones."""
    named = [*paths[:MAX_DROPPED], *(["..."] if len(paths) > MAX_DROPPED else [])]
    return [(DROPPED.encode(), ", ".join(named).encode())] if named else []


def over_tls(scope: Scope) -> bool:
    """Returns whether the caller used TLS, as reported by the edge: RFC 6797 forbids HSTS on plain-text answers.

    A caller who reaches the gateway without an edge can forge this, but affects only itself.
    """
    return (b"x-forwarded-proto", b"https") in scope["headers"] or scope.get("scheme") == "https"


def completed(headers: Iterable[Header], *, tls: bool) -> list[Header]:
    """Returns an answer's headers with the missing security headers added."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return given + [header for header in (*ALWAYS, *([HSTS] if tls else ())) if header[0] not in names]
