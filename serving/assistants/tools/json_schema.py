"""Makes JSON Schemas from others safe to pass to a model and to validate arguments with."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

MAX_NODES = 500
"""Maximum number of subschemas, with references resolved."""

MAX_DEPTH = 16
MAX_CHARACTERS = 8000
"""Maximum number of characters of a schema as JSON."""

MAX_TEXT = 1000
"""Maximum number of characters of a description."""

T = TypeVar("T")

_SCHEMAS = ("items", "additionalProperties")
_LISTS = ("allOf", "anyOf", "prefixItems")
_NUMBERS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_TEXTS = ("title", "description")
_VALUES = ("type", "enum", "const", "required", "format", "default")
_TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")
_LARGE = 2**63
"""Larger numbers differ between JSON parsers."""


class UnusableSchema(ValueError):
    """A schema is invalid, has external references or is too large. The message says which."""


def restrict(schema: object) -> dict[str, Any]:
    """Returns an object's schema in a subset of JSON Schema 2020-12 that is cheap to validate with.

    References are resolved; a recursive one allows anything. Regular expressions, and keywords in which a weaker part
    would make the whole stricter (`not`, `if`, `contains`), are removed, and `oneOf` becomes `anyOf`: everything that
    the schema allows stays allowed. Numbers that JSON parsers treat differently, and values with invisible characters,
    are removed too. The schema's author validates the rest. Raises `UnusableSchema`.
    """
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise UnusableSchema("it is not the schema of an object")
    try:
        made = _SchemaWriter(schema).write(schema, frozenset(), 0)
        if not isinstance(made, dict):
            raise UnusableSchema("it is not the schema of an object")
        made["type"] = "object"
        if len(json.dumps(made)) > MAX_CHARACTERS:
            raise _too_long()
        Draft202012Validator.check_schema(made)
        orjson.dumps(made)  # the format that models get
    except UnusableSchema:
        raise
    except (SchemaError, TypeError, ValueError, RecursionError, OverflowError):
        raise UnusableSchema("it is not a JSON Schema") from None
    return made


def _too_long() -> UnusableSchema:
    return UnusableSchema(f"it has more than {MAX_CHARACTERS} characters")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Returns at most `limit` characters of `text`, without characters that are invisible to people but not to models.

    These are Unicode's control, format, private and unassigned characters; white space becomes a space.
    """
    seen = "".join(
        " " if c.isspace() else c for c in text[: 4 * limit] if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    return " ".join(seen.split())[:limit].rstrip()


class _SchemaWriter:
    """Writes one schema, and stops when it gets too long: references can repeat one long part many times."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_NODES
        self._room = MAX_CHARACTERS
        self._clean = functools.cache(clean)

    def write(self, schema: object, within: frozenset[str], depth: int) -> dict[str, Any] | bool:
        """Returns `schema` with references resolved; `within` are the references around it."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise UnusableSchema("it is not a JSON Schema")
        self._left -= 1
        if self._left < 0:
            raise UnusableSchema(f"it has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise UnusableSchema(f"it is nested deeper than {MAX_DEPTH}")
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise UnusableSchema("it has dynamic references")
        made = self._keywords(schema, within, depth)
        if "$ref" in schema:
            target = self._follow(schema["$ref"], within, depth)
            made = {"allOf": [target, *made.pop("allOf", [])], **made}
        return made

    def _keywords(self, schema: Mapping[str, Any], within: frozenset[str], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for word in _TEXTS:
            if isinstance(schema.get(word), str):
                made[word] = self._counted(self._clean(schema[word]))
        # Checked before validation with the metaschema, which compares all pairs.
        if not _has_types(schema.get("type", [])) or not _has_texts(schema.get("required", [])):
            raise UnusableSchema("it is not a JSON Schema")
        for word in _VALUES:
            if word in schema and not _hides(self._counted(schema[word])):
                made[word] = schema[word]
        for word in _NUMBERS:
            value = schema.get(word)
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGE:
                made[word] = value
        given = {word: schema[word] for word in (*_SCHEMAS, *_LISTS, "oneOf", "properties") if word in schema}
        if isinstance(given.get("items"), list):  # before draft 2020-12
            given["prefixItems"] = given.pop("items")
        if "patternProperties" in schema:
            given.pop("additionalProperties", None)
        for word in _SCHEMAS:
            if word in given:
                made[word] = self.write(given[word], within, depth + 1)
        for word in (*_LISTS, "oneOf"):
            if word in given:
                if not isinstance(given[word], list):
                    raise UnusableSchema("it is not a JSON Schema")
                parts = [self.write(part, within, depth + 1) for part in given[word]]
                if word == "oneOf" and "anyOf" in made:
                    made.setdefault("allOf", []).append({"anyOf": parts})
                else:
                    made["anyOf" if word == "oneOf" else word] = parts
        if "properties" in given:
            properties = given["properties"]
            if not isinstance(properties, Mapping):
                raise UnusableSchema("it is not a JSON Schema")
            made["properties"] = {
                self._name(name): self.write(part, within, depth + 1) for name, part in properties.items()
            }
        return made

    def _name(self, name: str) -> str:
        if clean(name) != name:
            raise UnusableSchema("a property's name is long or cannot be seen")
        return self._counted(name)

    def _counted(self, value: T) -> T:
        self._room -= len(json.dumps(value))
        if self._room < 0:
            raise _too_long()
        return value

    def _follow(self, ref: object, within: frozenset[str], depth: int) -> dict[str, Any] | bool:
        if not isinstance(ref, str) or (ref != "#" and not ref.startswith("#/")):
            raise UnusableSchema("it refers to something outside of it")
        if len(ref) > MAX_TEXT:
            raise UnusableSchema("a reference is too long")
        if ref in within:
            return {}
        found: Any = self._root
        for step in ref.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key[:6]) < len(found):
                found = found[int(key[:6])]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                raise UnusableSchema("a reference leads nowhere")
        return self.write(found, within | {ref}, depth + 1)


def _has_types(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return len(types) <= len(_TYPES) and all(each in _TYPES for each in types)


def _has_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _hides(value: object) -> bool:
    """Returns whether a text in `value` has a character that is invisible to people but not to models; see `clean`."""
    if isinstance(value, str):
        return any(unicodedata.category(c)[0] == "C" and not c.isspace() for c in value)
    if isinstance(value, Mapping):
        return any(_hides(each) for pair in value.items() for each in pair)
    return isinstance(value, list) and any(map(_hides, value))
