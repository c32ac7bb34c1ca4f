from __future__ import annotations

import math

import pytest

from serving.store import values
from serving.store.errors import InvalidValue


@pytest.mark.parametrize("good", ["", "a", "é" * 256, "日本", "line\nbreak", "\U0001f600"])
def test_valid_text_is_accepted(good: str) -> None:
    assert values.text("name", good) == good


@pytest.mark.parametrize("bad", ["a" * 257, "nul\0", "\ud800", "x\udfff", 5, None, b"x"])
def test_invalid_text_is_rejected(bad: object) -> None:
    with pytest.raises(InvalidValue) as e:
        values.text("name", bad)
    assert e.value.param == "name"


def test_valid_attributes_are_accepted() -> None:
    good = {"a": "x" * 512, "b": 1, "c": 2.5, "d": True, "k" * 64: ""}
    assert values.attributes("attributes", good) == good
    assert values.attributes("attributes", None) == {}
    assert len(values.attributes("attributes", {str(i): i for i in range(16)})) == 16


@pytest.mark.parametrize(
    "bad",
    [
        {str(i): i for i in range(17)},
        {"k" * 65: 1},
        {"": 1},
        {"a": "x" * 513},
        {"a": None},
        {"a": [1]},
        {"a": math.nan},
        {"a": math.inf},
        {"a": 2**53 + 1},
        {1: "a"},
        ["a"],
    ],
)
def test_invalid_attributes_are_rejected(bad) -> None:
    with pytest.raises(InvalidValue) as e:
        values.attributes("attributes", bad)
    assert e.value.param == "attributes"


def test_metadata_holds_strings_only() -> None:
    assert values.metadata("metadata", {"a": "b"}) == {"a": "b"}
    with pytest.raises(InvalidValue):
        values.metadata("metadata", {"a": 1})
