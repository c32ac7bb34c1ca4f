"""Which routes of the API a client has asked."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import compile_path

from serving.api.operations import OPERATIONS

# A path without parameters is no case of another route of its method.
_PATTERNS = [(op, compile_path(op.path)[0]) for op in sorted(OPERATIONS, key=lambda op: op.path.count("{"))]


def not_asked(requests: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the routes that no request (method and path) was for, as `METHOD /path`."""
    asked = [
        next((op for op, pattern in _PATTERNS if op.method == method and pattern.match(path)), None)
        for method, path in set(requests)
    ]
    return [f"{op.method} {op.path}" for op in OPERATIONS if op not in asked]
