"""Filters by attributes: what a comparison means, and which filters are refused."""

from __future__ import annotations

from typing import Any

import pytest

from serving.protocol.errors import ApiError
from serving.protocol.filters import MAX_ALL_VALUES, MAX_DEPTH, MAX_FILTERS, MAX_VALUES, predicate
from serving.protocol.validation import validate
from serving.protocol.vector_stores import SearchRequest

FILE = {"team": "legal", "year": 2024, "share": 0.5, "draft": True, "one": 1, "empty": ""}


def asked(filters: Any) -> Any:
    return validate(SearchRequest, {"query": "q", "filters": filters}).filters


def one(key: str, type: str, value: Any) -> dict[str, Any]:
    return {"type": type, "key": key, "value": value}


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (("team", "eq", "legal"), True),
        (("team", "eq", "Legal"), False),
        (("team", "ne", "sales"), True),
        (("team", "in", ["sales", "legal"]), True),
        (("team", "nin", ["sales", "legal"]), False),
        (("team", "in", []), False),
        (("team", "gt", "lega"), True),
        (("team", "lt", "z"), True),
        (("year", "eq", 2024.0), True),
        (("year", "gte", 2024), True),
        (("year", "gt", 2024), False),
        (("year", "lte", 2023.9), False),
        (("share", "lt", 1), True),
        # Values of different kinds are neither equal nor in an order.
        (("year", "eq", "2024"), False),
        (("year", "gte", "0"), False),
        (("team", "lt", 5), False),
        (("one", "eq", True), False),
        (("draft", "eq", 1), False),
        (("draft", "in", [1, 0]), False),
        (("draft", "eq", True), True),
        (("one", "lte", 1), True),
        # An attribute that is not there.
        (("none", "eq", ""), False),
        (("none", "ne", "x"), True),
        (("none", "nin", ["x"]), True),
        (("none", "lt", 5), False),
        (("empty", "eq", ""), True),
    ],
)
def test_comparisons_select_files_by_attribute(comparison: tuple[str, str, Any], expected: bool) -> None:
    assert predicate(asked(one(*comparison)))(FILE) is expected


def test_filters_can_be_nested() -> None:
    legal, old = one("team", "eq", "legal"), one("year", "lt", 2000)
    assert not predicate(asked({"type": "and", "filters": [legal, old]}))(FILE)
    assert predicate(asked({"type": "or", "filters": [old, {"type": "and", "filters": [legal]}]}))(FILE)


def nested(levels: int) -> dict[str, Any]:
    made = one("a", "eq", 1)
    for _ in range(levels):
        made = {"type": "and", "filters": [made]}
    return made


def listed(values: int) -> dict[str, Any]:
    """Lists on two levels, each of which may be as long as it is."""
    lists = [one("a", "in", [1] * min(MAX_VALUES, values - done)) for done in range(0, values, MAX_VALUES)]
    return {"type": "or", "filters": [lists[0], {"type": "and", "filters": lists[1:]}]}


@pytest.mark.parametrize(
    ("filters", "param", "words"),
    [
        (one("a", "like", "x"), "filters", "expected tags"),
        (one("a", "in", "x"), "filters", "list of values"),
        (one("a", "eq", ["x"]), "filters", "list of values"),
        (one("a", "gt", True), "filters", "compared by order"),
        (one("a", "eq", None), "filters.value", "valid"),
        (one("", "eq", 1), "filters.key", "character"),
        (one("k" * 65, "eq", 1), "filters.key", "character"),
        (one("a", "eq", "x" * 513), "filters.value", "character"),
        (one("a", "in", ["x"] * (MAX_VALUES + 1)), "filters.value", "valid"),
        ({"type": "and", "filters": []}, "filters.filters", "at least"),
        ({"type": "or", "filters": [one("a", "eq", 1), one("a", "gt", [1])]}, "filters.filters[1]", "list of values"),
        ({"type": "or", "filters": [one("a", "eq", 1)] * MAX_FILTERS}, "filters", "at most"),
        (listed(MAX_ALL_VALUES + 1), "filters", "values in all"),
        (nested(MAX_DEPTH + 1), "filters", "levels deep"),
        (nested(50_000), "filters", "levels deep"),
    ],
)
def test_invalid_filters_are_rejected_by_field(filters: Any, param: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        asked(filters)
    assert refused.value.param == param


def test_the_deepest_filter_is_taken() -> None:
    assert predicate(asked(nested(MAX_DEPTH)))({"a": 1})


def test_the_longest_lists_are_taken() -> None:
    assert predicate(asked(listed(MAX_ALL_VALUES)))({"a": 1})
