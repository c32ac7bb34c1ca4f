"""Reading of plain values of which some are not known yet, and some are secrets.

A rule never touches a mapping itself: it reads by `at`, asks of what must not be by `each`, and of what must be by
`holds` and `some`. Both give an unknown value the benefit of the doubt: the same rule runs again when it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class _Unknown(Enum):
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown.UNKNOWN
"""A value that only the update will tell."""


@dataclass(frozen=True)
class SecretValue:
    """A value that its source marks as a secret."""

    value: Any

    def __repr__(self) -> str:
        return "Hidden(...)"


def unwrap_secret(value: Any) -> Any:
    """The value itself, where it is marked as a secret."""
    while isinstance(value, SecretValue):
        value = value.value
    return value


def lookup(node: Any, *path: str | int) -> Any:
    """The value at a path; `None` where there is none, `UNKNOWN` where the way there is not known."""
    for step in path:
        node = unwrap_secret(node)
        if node is UNKNOWN:
            return UNKNOWN
        if isinstance(node, Mapping):
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int):
            node = node[step] if 0 <= step < len(node) else None
        else:
            return None
    return unwrap_secret(node)


def any_unknown(*values: Any) -> bool:
    """True when one of the values is not known."""
    return any(v is UNKNOWN for v in values)


def satisfies(value: Any, test: Callable[[Any], object]) -> bool:
    """True unless the value is known and fails the test."""
    return value is UNKNOWN or bool(test(value))


def known_members(value: Any) -> Iterator[Any]:
    """The known members of a list; none when it is no list."""
    yield from (m for m in members(value) if m is not UNKNOWN)


def members(value: Any) -> Iterator[Any]:
    """All members of a list, in their places; none when it is no list."""
    if isinstance(value, list):
        yield from map(unwrap_secret, value)


def any_member(value: Any, test: Callable[[Any], object]) -> bool:
    """True when a member passes, or when one that is not known might."""
    if value is UNKNOWN:
        return True
    return isinstance(value, list) and any(m is UNKNOWN or bool(test(m)) for m in map(unwrap_secret, value))


def known_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and known values of a mapping; none when it is no mapping."""
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, raw in value.items() if (v := unwrap_secret(raw)) is not UNKNOWN)


def count(value: Any, default: int) -> int:
    """A number as it is written, the default where there is none or it is not known."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default
