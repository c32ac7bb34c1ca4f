"""JSON columns hold what JSON holds, whatever wrote them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.relational import encoding

TEXT = st.text(st.characters(codec=None, categories=None))  # surrogates too
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


@given(VALUES)
def test_values_round_trip(value: object) -> None:
    stored = encoding.dumps(value)
    stored.encode()  # a driver can send it
    assert json.loads(stored) == value
    if not _has_large_integers(value):
        assert encoding.loads(stored) == value


@given(VALUES)
def test_rows_of_before_are_read(value: object) -> None:
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        if not _has_large_integers(value):
            assert encoding.loads(written) == value


def _has_large_integers(value: object) -> bool:
    """Of more than 64 bits: they are read as the nearest double, as every other JSON value of a caller is."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_has_large_integers, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def test_non_standard_json_is_read() -> None:
    assert math.isnan(encoding.loads("NaN"))
    assert encoding.loads('"\\ud800"') == "\ud800"


@pytest.mark.parametrize("text", ["", "{", "'a'", b"\xff"])
def test_invalid_json_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        encoding.loads(text)


def test_unserialisable_values_are_rejected() -> None:
    with pytest.raises(TypeError):
        encoding.dumps({"a": {1, 2}})
