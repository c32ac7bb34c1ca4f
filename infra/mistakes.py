"""Mistakes in a configuration, with messages for the operator."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

MAX_VALUE_CHARACTERS = 60
"""Messages quote at most this many characters of a wrong value."""

_SECRETS = frozenset(("api_key", "token", "password", "client_secret", "headers"))
"""Settings whose values messages never quote."""

_QUANTITIES = frozenset(("memory", "storage", "temporary_storage"))
"""Settings in Kubernetes' notation, in which a number without a unit is in bytes."""

REMOVED = {
    "ports.status": "delete it: the dashboards are in the console, at /admin/dashboards of the API's address",
}
"""Settings of earlier versions, with what to do now."""

_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/\s]*@")
"""A password in a URL, which messages omit."""


@dataclass(frozen=True)
class Mistake:
    """A mistake in the setting `key` (without namespace): the `problem`, and the `fix`."""

    key: str
    problem: str
    fix: str

    @classmethod
    def unknown(cls, key: str, name: str, kind: str, known: Sequence[str]) -> Mistake:
        """Returns the mistake that no `kind` has the name `name`; `known` are the names that exist."""
        return cls(key, f"there is no {kind} '{name}'", _choice(name, known))

    @property
    def setting(self) -> str:
        """The top-level setting that contains `key`."""
        return re.split(r"[.\[]", self.key, maxsplit=1)[0]

    def __str__(self) -> str:
        return f"headrace:{self.key}: {self.problem}; {self.fix}"


def report(mistakes: Iterable[Mistake]) -> str:
    """Formats all mistakes, one per line, under a heading."""
    lines = [f"  {m}" for m in mistakes]
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return "\n".join([f"the configuration has {count}:", *lines])


def from_pydantic(
    error: ValidationError, model: type[BaseModel], values: Mapping[str, Any], hidden: Iterable[str]
) -> list[Mistake]:
    """Converts pydantic's errors; messages never quote values below the top-level keys `hidden`."""
    secret = frozenset(hidden)
    return [
        _mistake(details, model, values, details["loc"][0] in secret)
        for details in error.errors(include_url=False, include_context=True, include_input=True)
    ]


def _mistake(details: ErrorDetails, model: type[BaseModel], values: Mapping[str, Any], hidden: bool) -> Mistake:
    location = _location(details["loc"], values)
    key = _key(location)
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return Mistake(key, "is missing", "add it")
        case "extra_forbidden":
            name = str(location[-1])
            if key in REMOVED:
                return Mistake(key, "is no longer a setting", REMOVED[key])
            return Mistake(key, "is not a known setting", _choice(name, _siblings(model, location)))
        case "literal_error" | "enum":
            fix = _other_case(details["input"], context["expected"]) or f"use {context['expected']}"
            return Mistake(key, _rejected_value(details, hidden, "known"), fix)
        case "union_tag_invalid" | "union_tag_not_found":
            tags = context.get("expected_tags", "'llamacpp', 'remote'")
            tag = str(context.get("discriminator", "engine")).strip("'")
            fix = _other_case(context.get("tag"), tags) or f"use one of {tags}"
            return Mistake(f"{key}.{tag}", f"is not a known {tag}", fix)
        case "string_type" if isinstance(details["input"], int | float) and not isinstance(details["input"], bool):
            shown = "" if _secret(details, hidden) else f"{details['input']} "
            with_unit = location[-1] in _QUANTITIES
            fix = "write it with a unit, for example 4Gi" if with_unit else "write it in quotes"
            return Mistake(key, f"{shown}is a number, not text", fix)
        case "tuple_type" if isinstance(details["input"], str):
            fix = "write a list" if _secret(details, hidden) else f"write [{_shorten(details['input'])}]"
            return Mistake(key, "is one value, not a list", fix)
        case "int_parsing" | "float_parsing":
            return Mistake(
                key, _rejected_value(details, hidden, "a number"), "write digits, without unit and separator"
            )
        case "ip_v4_network" | "ip_any_network" if network := _network(details["input"]):
            return Mistake(key, _rejected_value(details, hidden, "a network"), f"did you mean '{network}'?")
        case "string_pattern_mismatch":
            meant = "" if _secret(details, hidden) else _matching(details["input"], context["pattern"])
            fix = f"did you mean '{meant}'?" if meant else f"it must match {context['pattern']}"
            return Mistake(key, _rejected_value(details, hidden, "well formed"), fix)
    text = re.sub(r"^(Value error,|Input|Tuple|List|String) ", "", details["msg"])
    return Mistake(key, _rejected_value(details, hidden, "allowed"), f"it {text}")


def misspelled(error: ValidationError, model: type[BaseModel]) -> set[str]:
    """Returns the top-level settings that unknown ones are probably meant to be."""
    unknown = [str(d["loc"][0]) for d in error.errors() if d["type"] == "extra_forbidden" and len(d["loc"]) == 1]
    return {close for name in unknown for close in _close(name, list(model.model_fields))}


def _secret(details: ErrorDetails, hidden: bool) -> bool:
    return hidden or bool(_SECRETS & set(details["loc"]))


def _rejected_value(details: ErrorDetails, hidden: bool, what: str) -> str:
    value = details["input"]
    if _secret(details, hidden) or not isinstance(value, str | int | float):
        return f"is not {what}"
    return f"'{_shorten(value)}' is not {what}"


def _shorten(value: object) -> str:
    text = _PASSWORD.sub(r"\1…@", str(value))
    return f"{text[:MAX_VALUE_CHARACTERS]}{'…' if len(text) > MAX_VALUE_CHARACTERS else ''}"


def _other_case(value: object, expected: str) -> str:
    """Returns the fix for a value that is one of the `expected` (in quotes) but for its case; empty if it is none."""
    same = [option for option in re.findall(r"'([^']*)'", expected) if option.lower() == str(value).lower()]
    return f"did you mean '{same[0]}'?" if same else ""


def _matching(value: Any, pattern: str) -> str:
    """Returns what a value that does not match `pattern` was probably meant to be; empty if nothing is likely."""
    text = str(value).strip()
    if not 0 < len(text) <= MAX_VALUE_CHARACTERS or _PASSWORD.search(text):
        return ""
    candidates = [
        text.lower(),
        re.sub(r"\s+", "-", text.lower()),
        re.sub(r"[\s-]+", "", text.lower()),
        text.removeprefix("v"),
        text.partition("://")[2].rstrip("/"),
        # The zone of a region, and bytes.
        text[:-1] if re.search(r"\d[A-Za-z]?[A-Za-z]$", text) else "",
        f"hf://{text}",
    ]
    return next((c for c in candidates if c and re.search(pattern, c)), "")


def _network(value: Any) -> IPv4Network | None:
    """Returns the network of an address with a prefix, such as 203.0.113.7/24; None if it is none."""
    try:
        return IPv4Network(value, strict=False)
    except (ValueError, TypeError):
        return None


def _location(loc: tuple[int | str, ...], values: Mapping[str, Any]) -> list[int | str]:
    """Returns `loc` without the tags of union members, which pydantic adds."""
    location: list[int | str] = []
    here: Any = values
    for i, part in enumerate(loc):
        exists = (isinstance(part, int) and isinstance(here, list | tuple)) or (
            isinstance(here, Mapping) and (part in here or i == len(loc) - 1)
        )
        if not exists and i < len(loc) - 1:
            continue
        location.append(part)
        here = here[part] if exists and (isinstance(part, int) or part in here) else None
    return location


def _key(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _siblings(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Returns the names of all settings of the object that contains `location`."""
    if len(location) == 1:
        return list(model.model_fields)
    inner = _models(model.model_fields[str(location[0])].annotation)
    for part in location[1:-1]:
        if isinstance(part, str):
            inner = [m for i in inner if part in i.model_fields for m in _models(i.model_fields[part].annotation)]
    return [name for i in inner for name in i.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]


def _choice(name: str, known: Sequence[str]) -> str:
    close = _close(name, known)
    if len(close) == 1:
        return f"did you mean '{close[0]}'?"
    return f"use one of {', '.join(sorted(set(close or known)))}" if known else "define it first"


def _close(name: str, known: Sequence[str]) -> list[str]:
    """Returns the known names that `name` was probably meant to be."""
    typed = name.lower()
    if same := [other for other in known if other.lower() == typed]:
        return same[:1]
    # A part of a name, such as a100 for a100-80gb, or a name with more before it, such as nvidia-l4.
    if part := [other for other in known if other.startswith(f"{typed}-") or typed.endswith(f"-{other}")]:
        return part
    # No number is a misspelling of another: '1.40' was not meant to be '1.34'.
    return [] if re.fullmatch(r"v?[\d.]+", name) else difflib.get_close_matches(name, known, 1)
