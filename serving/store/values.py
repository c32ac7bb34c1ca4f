"""Limits of values from callers. Violations are an `InvalidValue`, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping

from serving.store.errors import InvalidValue

Attribute = str | float | bool
"""A value that searches can filter by (OpenAI's `attributes`)."""

MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512
MAX_NAME = 256
MAX_NUMBER = 2**53  # larger integers differ between JSON parsers


def text(param: str, value: object, *, max_length: int = MAX_NAME, min_length: int = 0) -> str:
    """Returns `value` if it is a string of allowed length that every database can store."""
    if not isinstance(value, str):
        raise InvalidValue(param, "must be a string")
    if not min_length <= len(value) <= max_length:
        raise InvalidValue(param, f"must have {min_length} to {max_length} characters")
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise InvalidValue(param, "must not contain NUL or unpaired surrogates")
    return value


def storable(value: str, max_length: int) -> str:
    """Returns at most `max_length` characters of Headrace's own message, which may quote anything."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:max_length]


def attributes(param: str, value: Mapping[str, object] | None) -> dict[str, Attribute]:
    """Returns validated attributes: 16 pairs, keys of 64 characters, values strings of 512, numbers, booleans."""
    checked: dict[str, Attribute] = {}
    for key, item in _pairs(param, value).items():
        if isinstance(item, bool):
            checked[key] = item
        elif isinstance(item, int | float):
            if not math.isfinite(item) or abs(item) > MAX_NUMBER:
                raise InvalidValue(param, "numbers must be finite and at most 2^53")
            checked[key] = item
        else:
            checked[key] = text(param, item, max_length=MAX_VALUE)
    return checked


def metadata(param: str, value: Mapping[str, object] | None) -> dict[str, str]:
    """Returns validated metadata: 16 pairs, keys of 64 characters, values strings of 512."""
    return {k: text(param, v, max_length=MAX_VALUE) for k, v in _pairs(param, value).items()}


def _pairs(param: str, value: Mapping[str, object] | None) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidValue(param, "must be an object")
    if len(value) > MAX_PAIRS:
        raise InvalidValue(param, f"must have at most {MAX_PAIRS} pairs")
    for key in value:
        text(param, key, max_length=MAX_KEY, min_length=1)
    return value
