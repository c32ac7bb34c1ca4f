"""Validates callers' documents as request models, with errors that name the first invalid field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from serving.protocol.errors import ApiError, invalid, quoted
from serving.protocol.parts import RefusedValueError

M = TypeVar("M", bound=BaseModel)

Location = tuple[int | str, ...]

_UNKNOWN = "extra_forbidden"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NEAR = 0.75
"""How similar a name must be to that of a known field, from 0 to 1, to be taken for a misspelt one."""

MAX_ROUNDS = 20
"""How often a document is validated again without fields that were dropped; lists report one wrong member at a time."""


def validate(model: type[M], document: Any) -> M:
    """Returns `document` as `model`; raises `ApiError`."""
    try:
        return model.model_validate(document)
    except ValidationError as e:
        raise _error(model, document, _details(e)) from None


def validate_supported(model: type[M], document: dict[str, Any]) -> tuple[M, tuple[str, ...]]:
    """Returns `document` as `model` without the fields that are unknown or refused, and their paths.

    They are removed from `document`. Raises `ApiError` for any other mistake.
    """
    dropped: dict[str, None] = {}
    for _ in range(MAX_ROUNDS):
        try:
            return model.model_validate(document), tuple(dropped)
        except ValidationError as e:
            errors = _details(e)
            found = [_find(document, each.location) for each in errors if each.drops]
            if not (present := [each for each in found if each is not None]):
                raise _error(model, document, errors) from None
            for inside, path, name in present:
                if name in inside:  # two members of a union may refuse the same field
                    del inside[name]
                    dropped[_named(path, name) or "?"] = None
    return validate(model, document), tuple(dropped)


class _Mistake(NamedTuple):
    """A validation error; `drops` tells whether the field itself is unknown or not supported."""

    kind: str
    location: Location
    message: str
    drops: bool


def _details(e: ValidationError) -> list[_Mistake]:
    found = e.errors(include_url=False, include_input=False)
    return [
        _Mistake(each["type"], each["loc"], each["msg"].removeprefix("Value error, "), _drops(each)) for each in found
    ]


def _drops(error: Mapping[str, Any]) -> bool:
    return error["type"] == _UNKNOWN or isinstance(error.get("ctx", {}).get("error"), RefusedValueError)


def _error(model: type[BaseModel], document: Any, errors: Sequence[_Mistake]) -> ApiError:
    for each in errors:
        location = each.location
        if each.kind != _UNKNOWN or not _is_all(location[:-1], errors):
            continue
        if (found := _find(document, location)) is not None:
            _, path, name = found
            near = get_close_matches(name[:64], _names_at(model, location[:-1]), 1, _NEAR)
            hint = f"; did you mean `{near[0]}`?" if near else "."
            return invalid(f"There is no field {quoted(name)} here{hint}", _named(path, name), "unknown_parameter")
    # Of a union's errors, the deepest is about the intended member.
    same = [error for error in errors if error.location[:2] == errors[0].location[:2]]
    deepest = max(same, key=lambda error: len(error.location))
    return invalid(deepest.message, field_path(model, deepest.location))


def _is_all(parent: Location, errors: Iterable[_Mistake]) -> bool:
    """Returns whether fields that are unknown or missing are all that is wrong in the object at `parent`.

    If more is wrong, the object may not be what the model takes it for, such as another member of a union.
    """
    inside = (each.kind for each in errors if each.location[: len(parent)] == parent)
    return all(kind in (_UNKNOWN, "missing") for kind in inside)


def _find(inside: Any, location: Location, path: str = "") -> tuple[dict[str, Any], str, str] | None:
    """Returns the object with the field at a location, its path, and the field's name; None if there is no such field.

    A part of a location that is not in the document is the tag of a union's member. One that is may also be a tag, and
    if the field is not found by it, it was one.
    """
    part, *rest = location
    if not rest:
        return (inside, path, str(part)) if isinstance(inside, dict) and part in inside else None
    if isinstance(part, int):
        return _find(inside[part], tuple(rest), f"{path}[{part}]") if isinstance(inside, list) else None
    found = None
    if isinstance(inside, dict) and part in inside:
        found = _find(inside[part], tuple(rest), f"{path}.{part}" if path else part)
    return found or _find(inside, tuple(rest), path)


def _named(path: str, name: str) -> str | None:
    """Returns the path of a field in the object at `path`, or that of the object if its name has no form of one."""
    if not _PLAIN.fullmatch(name):
        return path or None
    return f"{path}.{name}" if path else name


def field_path(model: type[BaseModel], location: Location) -> str | None:
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


def _names_at(model: type[BaseModel], location: Location) -> list[str]:
    """Returns the names of the fields of the object at a location."""
    objects = [model]
    for part in location:
        if isinstance(part, int):
            continue
        if len(objects) > 1 and (tagged := [each for each in objects if part == each.__name__ or part in _tags(each)]):
            objects = tagged
            continue
        fields = [info for each in objects for name, info in each.model_fields.items() if part == _name(name, each)]
        if fields:
            objects = [found for info in fields for found in _objects(info.annotation)]
    return [_name(name, each) for each in objects for name in each.model_fields]


def _name(field: str, model: type[BaseModel]) -> str:
    return model.model_fields[field].alias or field


def _objects(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _objects(inner)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["type"].annotation) if "type" in model.model_fields else ()
