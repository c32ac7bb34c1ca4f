"""JSON values, as parsed by `json`."""

from __future__ import annotations

from typing import Any


def equal(one: Any, other: Any) -> bool:
    """Returns whether two values are equal, at any depth of nesting: in JSON 1.0 equals 1, but not true."""
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            pairs.extend((v, b[k]) for k, v in a.items())
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif a != b or isinstance(a, bool) is not isinstance(b, bool):  # Python considers true equal to 1
            return False
    return True
