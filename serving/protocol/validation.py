"""Validates callers' documents as request models, with errors that name the first invalid field."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serving.protocol.errors import invalid

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], document: Any) -> M:
    """Returns `document` as `model`; raises `ApiError`."""
    try:
        return model.model_validate(document)
    except ValidationError as e:
        errors = e.errors(include_url=False, include_context=False, include_input=False)
        # Of a union's errors, the deepest is about the intended member.
        same = [error for error in errors if error["loc"][:2] == errors[0]["loc"][:2]]
        deepest = max(same, key=lambda error: len(error["loc"]))
        raise invalid(deepest["msg"].removeprefix("Value error, "), field_path(model, deepest["loc"])) from None


def field_path(model: type[BaseModel], location: tuple[int | str, ...]) -> str | None:
    """Returns a path such as `messages[0].content` for a validation error's location.

    Tags of unions and names that the caller chose (keys of free objects) are omitted: only declared field names and
    indexes are shown.
    """
    known = _field_names(model)
    path, last = "", None
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in known and part != last:  # a union's tag can be the same as its member's field name
            path += f".{part}" if path else part
        last = part
    return path or None


_names: dict[type[BaseModel], frozenset[str]] = {}


def _field_names(model: type[BaseModel]) -> frozenset[str]:
    if model not in _names:
        schema = model.model_json_schema()
        objects = [schema, *schema.get("$defs", {}).values()]
        _names[model] = frozenset(name for o in objects for name in o.get("properties", {}))
    return _names[model]
