"""The Serve configuration document that a RayService carries as text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml


def read(document: Any) -> Any:
    """Returns what the document says, which nobody changes; None if it is unknown or cannot be read."""
    return _parsed(document) if isinstance(document, str) else None


@lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    # Each rule about it reads it, and Python's own parser takes a tenth of a second for the document of a stack.
    try:
        return yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
