"""JSON and JSON Lines: each record is a block of lines `path: value`, each part of an object a section."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.types import Document


def parse_json(text: str, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("json", bounds)
    value = _loaded(text, "the JSON is damaged")
    if isinstance(value, dict):
        plain = {key: each for key, each in value.items() if not isinstance(each, dict | list)}
        _add(builder, plain)
        for key, each in value.items():
            if isinstance(each, dict | list):
                builder.heading(key, 1)
                _add_records(builder, each)
    else:
        _add_records(builder, value)
    return builder.build(name, PurePosixPath(name).stem)


def parse_jsonl(text: str, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("jsonl", bounds)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            _add(builder, _loaded(line, f"line {number} is not JSON"))
    return builder.build(name)


def _loaded(text: str, complaint: str) -> Any:
    # Numbers stay as they are written.
    try:
        return json.loads(text, parse_float=str, parse_int=str)
    except json.JSONDecodeError as e:
        raise UnreadableDocument("damaged", f"{complaint}: line {e.lineno}, column {e.colno}") from None


def _add_records(builder: DocumentBuilder, value: Any) -> None:
    for each in value if isinstance(value, list) else [value]:
        _add(builder, each)


def _add(builder: DocumentBuilder, record: Any) -> None:
    lines: list[str] = []
    characters = 0
    for line in _lines(record, "", builder.bounds.depth):
        characters += len(line) + 1
        builder.require_room(characters)  # each line repeats its path
        lines.append(line)
    builder.add("\n".join(lines))


def _lines(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth == 0:
        raise UnreadableDocument("too_complex", "the values are nested too deeply")
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _lines(each, f"{path}.{key}" if path else key, depth - 1)
    elif isinstance(value, list):
        if not any(isinstance(each, dict | list) for each in value):
            value = ", ".join(map(_scalar, value))
            yield f"{path}: {value}" if path else value
            return
        for number, each in enumerate(value):
            yield from _lines(each, f"{path}[{number}]", depth - 1)
    else:
        yield f"{path}: {_scalar(value)}" if path else _scalar(value)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
