"""Sentences that describe the fields of a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

NAME = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
"""The pattern of `serving.config.Name`, which the pages describe in words."""


def value(given: object) -> str:
    """Returns a JSON value as Markdown."""
    if given is None:
        return "not set"
    return "empty" if given in ("", [], {}) else f"`{json.dumps(given) if not isinstance(given, str) else given}`"


def sentence(text: str) -> str:
    """Returns `text` as one line that ends with a full stop."""
    line = " ".join(text.split())
    return line if not line or line.endswith(".") else f"{line}."


def resolve(node: Node, root: Node) -> Node:
    """Follows a reference; keys beside the reference override those of the referenced schema."""
    if "$ref" not in node:
        return node
    name = str(node["$ref"]).rpartition("/")[2]
    found = root.get("$defs", {}).get(name, {})
    return {**{k: v for k, v in found.items() if k != "description"}, **node, "name": name}


def is_list(node: Node) -> bool:
    return node.get("type") == "array"


def objects(node: Node, root: Node) -> Iterator[tuple[str, Node]]:
    """Yields the name and schema of each kind of object that `node` accepts, itself or as list items."""
    if is_list(node):
        yield from objects(node["items"], root)
        return
    for choice in (node, *node.get("oneOf", ()), *node.get("anyOf", ())):
        name = str(choice.get("$ref", "")).rpartition("/")[2]
        found = root.get("$defs", {}).get(name)
        if found and found.get("properties"):
            yield name, found


def bullets(prefix: str, node: Node, root: Node, lead: str = "") -> str:
    """Returns one Markdown list item for each field of an object."""
    required = node.get("required", ())
    items = []
    for name, field in node.get("properties", {}).items():
        note = f" ({field['description']})" if field.get("description") else ""
        need = "; it is required" if name in required else ""
        items.append(f"- {lead}`{prefix}{name}`{note} is {field_description(field, root)}{need}.")
    return "\n".join(items)


def field_description(field: Node, root: Node) -> str:
    """Returns kind and default of a field, such as `an integer from 1 to 5, by default 2`."""
    text = kind(field, root)
    if "default" not in field or "const" in field:
        return text
    if isinstance(field["default"], dict) and field["default"]:
        return f"{text} with its own defaults"
    return f"{text}, by default {value(field['default'])}"


def kind(field: Node, root: Node) -> str:
    """Returns which values a field accepts, such as `an integer from 1 to 5`."""
    field = resolve(field, root)
    if "const" in field:
        return f"always {value(field['const'])}"
    if "enum" in field:
        return "one of " + ", ".join(value(v) for v in field["enum"])
    choices = [c for c in (*field.get("anyOf", ()), *field.get("oneOf", ())) if c.get("type") != "null"]
    if choices:
        return " or ".join(dict.fromkeys(kind(c, root) for c in choices))
    if field.get("pattern") == NAME:
        return "a name (1 to 63 lower-case letters, digits and `.`, `_`, `-`)"
    match field.get("type"):
        case "integer":
            return f"an integer{_range(field)}"
        case "number":
            return f"a number{_range(field)}"
        case "string":
            return f"a string{_string(field)}"
        case "boolean":
            return "`true` or `false`"
        case "array":
            return f"a list{_count(field, 'Items', 'items')}, each {kind(field.get('items', {}), root)}"
        case "null":
            return "null"
    if field.get("name"):
        return f"a `{field['name']}` object"
    if "type" not in field:
        return "anything"
    return f"an object{_count(field, 'Properties', 'fields')}"


def _range(field: Node) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    parts = []
    if low is not None and high is not None:
        return f" from {low:g} to {high}" if isinstance(low, float) else f" from {low} to {high}"
    for bound, words in ((low, "of at least"), (above, "above"), (high, "of at most"), (below, "below")):
        if bound is not None:
            parts.append(f"{words} {bound}")
    return f" {' and '.join(parts)}" if parts else ""


def _string(field: Node) -> str:
    if "pattern" in field:
        return f" that matches `{field['pattern']}`"
    if field.get("format"):
        return f" ({field['format']})"
    return _count(field, "Length", "characters")


def _count(field: Node, ending: str, unit: str) -> str:
    low, high = field.get(f"min{ending}"), field.get(f"max{ending}")
    if low is not None and high is not None:
        return f" of {low} to {high} {unit}"
    if high is not None:
        return f" of at most {high} {unit}"
    return f" of at least {low} {unit}" if low is not None else ""
