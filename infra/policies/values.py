"""Access to plain values, some of which are unknown yet or secret.

Rules read values only by these functions: `lookup` for paths, `known_members` for what is forbidden, `satisfies` and
`any_member` for what is required. Unknown values pass: the rule runs again when they are known.
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
"""A value that is known only after the update."""


@dataclass(frozen=True)
class SecretValue:
    """A value that is marked as a secret."""

    value: Any

    def __repr__(self) -> str:
        return "Hidden(...)"


def unwrap_secret(value: Any) -> Any:
    """Returns the value without its mark as a secret."""
    while isinstance(value, SecretValue):
        value = value.value
    return value


def lookup(node: Any, *path: str | int) -> Any:
    """Returns the value at a path; None if there is none, `UNKNOWN` if a part of the path is unknown."""
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
    """Returns whether one of the values is unknown."""
    return any(v is UNKNOWN for v in values)


def satisfies(value: Any, test: Callable[[Any], object]) -> bool:
    """Returns whether the value is unknown or passes the test."""
    return value is UNKNOWN or bool(test(value))


def known_members(value: Any) -> Iterator[Any]:
    """Yields the known members of a list; none if it is not a list."""
    yield from (m for m in members(value) if m is not UNKNOWN)


def members(value: Any) -> Iterator[Any]:
    """Yields all members of a list, in order; none if it is not a list."""
    if isinstance(value, list):
        yield from map(unwrap_secret, value)


def any_member(value: Any, test: Callable[[Any], object]) -> bool:
    """Returns whether a member of the list passes the test, or is unknown."""
    if value is UNKNOWN:
        return True
    return isinstance(value, list) and any(m is UNKNOWN or bool(test(m)) for m in map(unwrap_secret, value))


def known_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the keys and known values of a mapping; none if it is not a mapping."""
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, raw in value.items() if (v := unwrap_secret(raw)) is not UNKNOWN)
