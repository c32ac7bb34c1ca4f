"""Parts of the JSON Schemas of answers."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
YES: Schema = {"const": True}
METADATA: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {}


def object_of(kind: str | None, /, **fields: Schema) -> Schema:
    """Returns the schema of an object whose `fields` are always present; `kind` is OpenAI's name for it."""
    named = {"object": {"const": kind}, **fields} if kind is not None else fields
    return {"type": "object", "required": list(named), "properties": named}


def list_of(of: Schema) -> Schema:
    """Returns the schema of a list."""
    return {"type": "array", "items": of}


def page_of(of: Schema) -> Schema:
    """Returns the schema of a page of a list."""
    return object_of("list", data=list_of(of), first_id=MAYBE, last_id=MAYBE, has_more={"type": "boolean"})


def deleted(kind: str) -> Schema:
    """Returns the schema of the answer to a deletion."""
    return object_of(kind, id=TEXT, deleted=YES)
