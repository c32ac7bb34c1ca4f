"""Limits on callers' JSON Schemas, before an engine compiles them to a grammar.

An engine expands a schema into rules and walks them for each token, in the process that serves everybody. The limits
apply to the schema with its references expanded, since a short schema can refer to one part many times. Sources:
OpenAI's limits of structured outputs (1000 values of enums, 120,000 characters of names and values), and llama.cpp,
measured on one busy core: an answer of 4 tokens took 0.7 s with 200 properties, 7 s with 1000, and more than 40 s with
20,000 values of an enum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

MAX_PARTS = 1000
"""Maximum number of subschemas, with references expanded."""

MAX_PARTS_OF_TOOLS = 5000
"""Maximum number of subschemas of all tools."""

MAX_DEPTH = 24
"""Maximum nesting of schemas, with references expanded; recursive references are not expanded."""

MAX_ENUM = 1000
"""Maximum number of values of all `enum`s."""

MAX_TYPES = 7
"""Maximum number of values of one `type`: JSON Schema has no more."""

MAX_CHARACTERS = 120_000
"""Maximum number of characters of everything in a schema."""

MAX_PATTERN = 1000
"""Maximum number of characters of a regular expression."""

MAX_GROUPS = 16
"""Maximum nesting of groups in a regular expression."""

MAX_REPEATS = 2000
"""Maximum number of repetitions of a part of a regular expression; nested repetitions are multiplied."""

MAX_COUNT = 100_000
"""Maximum bound of characters, items or properties."""

MAX_REFERENCE = 1000
"""Maximum number of characters of a reference."""

_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose schemas apply to the value itself, not to a part of it."""


class _SchemaRefused(ValueError):
    """A schema is invalid or too large; the message says why, and never quotes it."""


def checked(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns `schema` unchanged; raises `ValueError` when it is invalid or exceeds the limits of this module."""
    _check_text(schema)
    _Walk(schema).visit(schema, frozenset(), frozenset(), 0)
    return schema


BoundedSchema = Annotated[dict[str, Any], AfterValidator(checked)]
"""A JSON Schema that every engine can process."""


class _Budget:
    """The number of subschemas that the schemas of a request's tools may still have."""

    def __init__(self) -> None:
        self.left = MAX_PARTS_OF_TOOLS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _SchemaRefused(f"The schemas of the tools have more than {MAX_PARTS_OF_TOOLS} parts in total.")


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


def _validate_within_budget(tools: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    budget = _Budget()
    before = _BUDGET.set(budget)
    try:
        return validate(tools)
    except ValidationError:
        if budget.left < 0:  # about all tools, not only about the one at which the budget ran out
            budget.take()
        raise
    finally:
        _BUDGET.reset(before)


WithinPartsBudget = WrapValidator(_validate_within_budget)
"""A list of tools, whose schemas have at most `MAX_PARTS_OF_TOOLS` parts in total. Further ones are not walked."""


class _Walk:
    """Walks one schema with its references expanded, and counts its steps."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._targets: dict[str, object] = {}
        self._budget = _BUDGET.get()
        self._enum = 0
        self.parts = 0

    def visit(self, schema: object, within: frozenset[str], same: frozenset[str], depth: int) -> None:
        """Counts `schema`, which is inside of the references `within`, of which those in `same` apply to the same
        value.
        """
        self.parts += 1
        if self._budget is not None:
            self._budget.take()
        if self.parts > MAX_PARTS:
            raise _SchemaRefused(f"The schema has more than {MAX_PARTS} parts, with references expanded.")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise _SchemaRefused("The schema is not a JSON Schema.")
        if depth > MAX_DEPTH:
            raise _SchemaRefused(f"The schema is nested deeper than {MAX_DEPTH}, with references expanded.")
        self._values(schema)
        for word in _ONE:
            if word in schema and not (word == "items" and isinstance(schema[word], list)):
                self.visit(schema[word], within, same if word in _SAME else frozenset(), depth + 1)
        for word in _LISTS:
            if isinstance(found := schema.get(word), list):
                for part in found:
                    self.visit(part, within, same if word in _SAME else frozenset(), depth + 1)
            elif found is not None and word != "items":
                raise _SchemaRefused(f"The schema's {word} must be a list.")
        for word in _MAPS:
            found = schema.get(word, {})
            if not isinstance(found, Mapping):
                raise _SchemaRefused(f"The schema's {word} must be an object.")
            for name, part in found.items():
                if word == "patternProperties":
                    _check_pattern(name)
                self.visit(part, within, same if word in _SAME else frozenset(), depth + 1)
        if "$ref" in schema:
            self._follow(schema["$ref"], within, same, depth)

    def _values(self, schema: Mapping[str, Any]) -> None:
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise _SchemaRefused("The schema has dynamic references.")
        values = schema.get("enum", [])
        if not isinstance(values, list):
            raise _SchemaRefused("The schema's enum must be a list.")
        self._enum += len(values)
        if self._enum > MAX_ENUM:
            raise _SchemaRefused(f"The schema's enums have more than {MAX_ENUM} values.")
        if isinstance(types := schema.get("type"), list) and len(types) > MAX_TYPES:
            raise _SchemaRefused(f"The schema's type has more than {MAX_TYPES} values.")
        for word in _COUNTS:
            count = schema.get(word, 0)
            if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= MAX_COUNT:
                raise _SchemaRefused(f"The schema's {word} must be from 0 to {MAX_COUNT}.")
        if "pattern" in schema:
            _check_pattern(schema["pattern"])

    def _follow(self, reference: object, within: frozenset[str], same: frozenset[str], depth: int) -> None:
        if not isinstance(reference, str) or len(reference) > MAX_REFERENCE:
            raise _SchemaRefused(f"A reference of the schema must be a string of at most {MAX_REFERENCE} characters.")
        if reference in same:
            raise _SchemaRefused("A reference of the schema leads to itself.")
        if reference in within:  # recursive: its grammar has the rule already
            return
        if reference not in self._targets:
            self._targets[reference] = _target(self._root, reference)
        self.visit(self._targets[reference], within | {reference}, same | {reference}, depth + 1)


def _target(root: Mapping[str, Any], reference: str) -> object:
    if reference != "#" and not reference.startswith("#/"):
        raise _SchemaRefused("The schema refers to something outside of it.")
    found: object = root
    for step in reference.split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and re.fullmatch("[0-9]{1,4}", key) and int(key) < len(found):
            found = found[int(key)]
        else:
            raise _SchemaRefused("A reference of the schema leads nowhere.")
    return found


def _check_text(schema: object) -> None:
    """Raises for more than `MAX_CHARACTERS` in keys and strings."""
    room = MAX_CHARACTERS
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, str):
            room -= len(value)
        elif isinstance(value, Mapping):
            room -= sum(map(len, value))
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        room -= 1  # numbers and brackets count too
        if room < 0:
            raise _SchemaRefused(f"The schema has more than {MAX_CHARACTERS} characters.")


_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{([0-9]*)(,?)([0-9]*)\}|[()]|.", re.DOTALL)


def _check_pattern(pattern: object) -> None:
    """Raises for a regular expression that is long, deeply nested, or repeats too much, in one pass.

    The stack has the largest repetition in each open group. `*` and `+` become a single rule of a grammar.
    """
    if not isinstance(pattern, str):
        raise _SchemaRefused("The schema's pattern must be a string.")
    if len(pattern) > MAX_PATTERN:
        raise _SchemaRefused(f"A regular expression of the schema has more than {MAX_PATTERN} characters.")
    groups = [1]
    last = 1  # number of repetitions of the previous part
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text == "(":
            groups.append(1)
        elif text == ")":
            if len(groups) == 1:
                raise _SchemaRefused("The brackets of a regular expression of the schema do not match.")
            last = groups.pop()
            groups[-1] = max(groups[-1], last)
        elif len(text) > 1 and text[0] == "{":
            times = max((int(number[:5]) for number in (token[1], token[3]) if number), default=1)
            last *= max(times, 1)
            groups[-1] = max(groups[-1], last)
        else:
            last = 1
        if len(groups) - 1 > MAX_GROUPS:
            raise _SchemaRefused(f"A regular expression of the schema has groups nested deeper than {MAX_GROUPS}.")
        if last > MAX_REPEATS:
            raise _SchemaRefused(f"A regular expression of the schema repeats a part more than {MAX_REPEATS} times.")
    if len(groups) > 1:
        raise _SchemaRefused("The brackets of a regular expression of the schema do not match.")
