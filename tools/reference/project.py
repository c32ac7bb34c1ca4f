"""The settings that Pulumi.yaml declares, with their types, defaults and descriptions, as `StackConfig` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.config import NAMESPACE, StackConfig

HEADING = "\nconfig:\n"
"""What the settings stand below in Pulumi.yaml; nothing comes after them."""


def project(text: str) -> str:
    """Returns Pulumi.yaml with the settings of `StackConfig`: those that `text` has in its order, then new ones."""
    before, _, _ = text.partition(HEADING)
    declared = [key.removeprefix(f"{NAMESPACE}:") for key in yaml.safe_load(text)["config"]]
    fields = StackConfig.model_fields
    names = [name for name in declared if name in fields]
    settings = {f"{NAMESPACE}:{name}": _setting(fields[name]) for name in dict.fromkeys([*names, *fields])}
    block = yaml.dump(settings, Dumper=_Indented, sort_keys=False, width=1_000, allow_unicode=True)
    return before + HEADING + "".join(f"  {line}" for line in block.splitlines(keepends=True))


class _Indented(yaml.SafeDumper):
    """Indents the items of lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _setting(field: FieldInfo) -> Mapping[str, Any]:
    default = _plain(field.default)
    match default:
        case dict():
            kind: dict[str, Any] = {"type": "object"}
        case list():
            kind = {"type": "array", "items": {"type": "object"}}
        case bool():  # an integer to Python, not to Pulumi
            kind = {"type": "boolean"}
        case int():
            kind = {"type": "integer"}
        case _:
            kind = {"type": "string"}
    return {**kind, "default": default, "description": field.description}


def _plain(value: Any) -> Any:
    """Returns a default as YAML has it, of an object only what is set, and what says of which kind it is."""
    if isinstance(value, BaseModel):
        of_kind = {name for name, field in type(value).model_fields.items() if _is_constant(field.annotation)}
        names = [name for name in type(value).model_fields if name in value.model_fields_set | of_kind]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float) else str(value)


def _is_constant(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1
