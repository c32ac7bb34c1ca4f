"""Values of JSON, as `json` reads them."""

from __future__ import annotations

from typing import Any


def equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, however deep they nest: in JSON 1.0 is 1, and true is not."""
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
        elif a != b or isinstance(a, bool) is not isinstance(b, bool):  # Python takes true for 1
            return False
    return True
