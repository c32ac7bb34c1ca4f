"""Limits of what describes versions and data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serving.protocol.tuning import MAX_VERSION_NAME, VERSION_NAME
from serving.store import values
from serving.store.errors import Conflict, InvalidValue

MAX_JSON = 1 << 20
"""Maximum size of a recipe, provenance, manifest or card as JSON."""

MAX_REASON = 2000

_NAME = re.compile(VERSION_NAME)

DIGEST = re.compile(r"[0-9a-f]{64}")


def require_building(status: str, kind: str) -> None:
    """Raises `Conflict` unless a version or data set is building."""
    if status != "building":
        raise Conflict(f"the {kind} is {status}, not building")


def checked_name(name: str) -> str:
    """Returns the name of versions, or raises `InvalidValue`."""
    return matching(
        "name", name, _NAME, f"must have 1 to {MAX_VERSION_NAME} lower-case letters, digits and inner hyphens"
    )


def matching(param: str, value: str, pattern: re.Pattern[str], message: str) -> str:
    if not pattern.fullmatch(values.text(param, value)):
        raise InvalidValue(param, message)
    return value


def one_of(param: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise InvalidValue(param, f"must be one of {', '.join(allowed)}")
    return value


def document(param: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object that every database can store as JSON."""
    try:
        size = len(packed := orjson.dumps(value))
    except (TypeError, ValueError) as e:
        raise InvalidValue(param, f"must be JSON: {e}") from None
    if size > MAX_JSON:
        raise InvalidValue(param, f"must have at most {MAX_JSON} bytes as JSON")
    if b"\\u0000" in packed:
        raise InvalidValue(param, "must not contain NUL")
    checked: dict[str, Any] = orjson.loads(packed)
    return checked
