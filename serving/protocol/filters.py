"""Filters on the attributes of files in a search, as in OpenAI's vector stores."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from serving.protocol.parts import Body
from serving.store.values import MAX_KEY, MAX_VALUE, Attribute

MAX_DEPTH = 8
"""Maximum nesting of `and` and `or`."""

MAX_FILTERS = 100
"""Maximum number of comparisons, `and` and `or` of one filter: each is evaluated for every file of a vector store."""

MAX_VALUES = 200
"""Maximum number of values of one `in` or `nin`."""

MAX_ALL_VALUES = 500
"""Maximum number of values of all `in` and `nin` of one filter: they are sent, stored and hashed with each search."""

Value = Annotated[str, StringConstraints(max_length=MAX_VALUE)] | float | bool | int


class ComparisonFilter(Body):
    """A comparison of one attribute with a value. A missing attribute equals nothing and is in no list."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(min_length=1, max_length=MAX_KEY)
    value: Value | Annotated[list[Value], Field(max_length=MAX_VALUES)]

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if (self.type in ("in", "nin")) != isinstance(self.value, list):
            raise ValueError("in and nin take a list of values, and the other comparisons take one value")
        if self.type in ("gt", "gte", "lt", "lte") and isinstance(self.value, bool):
            raise ValueError("only numbers and strings can be compared by order")
        return self


class CompoundFilter(Body):
    """Filters of which all (`and`) or any (`or`) must match."""

    type: Literal["and", "or"]
    filters: list[AnyFilter] = Field(min_length=1, max_length=MAX_FILTERS)


AnyFilter = Annotated[ComparisonFilter | CompoundFilter, Field(discriminator="type")]


def _bounded(value: Any) -> Any:
    """Checks limits before validation, and without recursion, since the caller controls the nesting."""
    seen, values, level = 0, 0, [value]
    for _ in range(MAX_DEPTH + 1):
        seen += len(level)
        if seen > MAX_FILTERS:
            raise ValueError(f"must have at most {MAX_FILTERS} comparisons, counting each 'and' and 'or'")
        values += sum(len(found["value"]) for found in level if _has_list(found))
        if values > MAX_ALL_VALUES:
            raise ValueError(f"must have at most {MAX_ALL_VALUES} values in all its lists together")
        lists = [found.get("filters") for found in level if isinstance(found, dict)]
        level = [member for members in lists if isinstance(members, list) for member in members]
    if level:
        raise ValueError(f"must be nested at most {MAX_DEPTH} levels deep")
    return value


def _has_list(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("value"), list)


Filter = Annotated[AnyFilter, BeforeValidator(_bounded)]

CompoundFilter.model_rebuild()


Attributes = Mapping[str, Attribute]


def predicate(wanted: ComparisonFilter | CompoundFilter) -> Callable[[Attributes], bool]:
    """Returns a function that tells whether a file with these attributes matches the filter, for use on many files.

    Values of different types (strings, numbers, booleans) are never equal or ordered. Strings are compared by code
    points. `ne` and `nin` are the negations of `eq` and `in`, so that they also match files without the attribute.
    """
    if isinstance(wanted, CompoundFilter):
        among, members = all if wanted.type == "and" else any, [predicate(each) for each in wanted.filters]
        return lambda attributes: among(member(attributes) for member in members)
    key, type = wanted.key, wanted.type
    if isinstance(wanted.value, list):
        values = frozenset(map(_ordered, wanted.value))
        return lambda attributes: (_ordered(attributes.get(key)) in values) == (type == "in")
    value = _ordered(wanted.value)
    if type in ("eq", "ne"):
        return lambda attributes: (_ordered(attributes.get(key)) == value) == (type == "eq")
    compare = _ORDERS[type]

    def in_order(attributes: Attributes) -> bool:
        found = _ordered(attributes.get(key))
        if found[0] != value[0]:
            return False
        return bool(compare(found[1], value[1]))

    return in_order


_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _ordered(value: Attribute | None) -> tuple[str, Any]:
    """Returns a value with its type in front: true is not 1."""
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    return kind, value
