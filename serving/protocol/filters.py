"""Filters of a search by the attributes of files, as OpenAI's vector stores have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from serving.protocol.parts import Body
from serving.store.values import MAX_KEY, MAX_VALUE, Attribute

MAX_DEPTH = 8
"""Levels of `and` and `or` within each other."""

MAX_FILTERS = 100
"""Comparisons, `and` and `or` of one filter together: each is asked of every file of a vector store."""

MAX_VALUES = 200
"""Values of one `in` or `nin`."""

Value = Annotated[str, StringConstraints(max_length=MAX_VALUE)] | float | bool | int


class ComparisonFilter(Body):
    """One attribute compared with a value. An attribute that is not there equals nothing and is in no list."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(min_length=1, max_length=MAX_KEY)
    value: Value | Annotated[list[Value], Field(max_length=MAX_VALUES)]

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if (self.type in ("in", "nin")) != isinstance(self.value, list):
            raise ValueError("in and nin take a list of values, and the other comparisons take one value")
        if self.type in ("gt", "gte", "lt", "lte") and isinstance(self.value, bool):
            raise ValueError("only numbers and strings are greater or less than others")
        return self


class CompoundFilter(Body):
    """Filters of which all (`and`) or any (`or`) must match."""

    type: Literal["and", "or"]
    filters: list[AnyFilter] = Field(min_length=1, max_length=MAX_FILTERS)


AnyFilter = Annotated[ComparisonFilter | CompoundFilter, Field(discriminator="type")]


def _bounded(value: Any) -> Any:
    """Counts before anything is validated, and without recursion: the nesting is the caller's."""
    seen, level = 0, [value]
    for _ in range(MAX_DEPTH + 1):
        seen += len(level)
        if seen > MAX_FILTERS:
            raise ValueError(f"must have at most {MAX_FILTERS} comparisons, and and or")
        lists = [found.get("filters") for found in level if isinstance(found, dict)]
        level = [member for members in lists if isinstance(members, list) for member in members]
    if level:
        raise ValueError(f"must be nested at most {MAX_DEPTH} levels deep")
    return value


Filter = Annotated[AnyFilter, BeforeValidator(_bounded)]

CompoundFilter.model_rebuild()


def matches(wanted: ComparisonFilter | CompoundFilter, attributes: Mapping[str, Attribute]) -> bool:
    """Whether a file with these attributes passes the filter.

    Values of different kinds (strings, numbers, booleans) are never equal, and neither is less than the other.
    Strings are compared by their code points. `ne` and `nin` are the opposites of `eq` and `in`, so that they match
    files without the attribute too.
    """
    if isinstance(wanted, CompoundFilter):
        among = all if wanted.type == "and" else any
        return among(matches(each, attributes) for each in wanted.filters)
    found = _ordered(attributes.get(wanted.key))
    if isinstance(wanted.value, list):
        return (found in map(_ordered, wanted.value)) == (wanted.type == "in")
    value = _ordered(wanted.value)
    if wanted.type in ("eq", "ne"):
        return (found == value) == (wanted.type == "eq")
    if found[0] != value[0]:
        return False
    if wanted.type in ("gte", "lte") and found == value:
        return True
    return bool(found > value if wanted.type in ("gt", "gte") else found < value)


def _ordered(value: Attribute | None) -> tuple[str, Any]:
    """Returns a value with its kind before it: true is no 1."""
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    return kind, value
