"""The documents of knowledge collections: their files and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.config import Knowledge
from infra.mistakes import Mistake
from serving.ingest.source import is_document


def documents(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Maps the path of each document (relative to `root` if it is below it) to its SHA-256.

    Raises `LookupError` with the entry of `paths` that matches no document.
    """
    found = {}
    for path in paths:
        files = list(_files(root, path))
        if not files:
            raise LookupError(path)
        for file in files:
            name = file.relative_to(root) if file.is_relative_to(root) else file
            found[name.as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def _files(root: Path, path: str) -> Iterator[Path]:
    target = (root / path).resolve()
    if target.is_file():
        yield target
    elif target.is_dir():
        yield from (f for f in sorted(target.rglob("*")) if _is_document(f, target))
    elif not Path(path).is_absolute():
        yield from (f for f in sorted(root.glob(path)) if f.is_file())


def _is_document(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and is_document(file.name) and not hidden


def mistakes(root: Path, knowledge: Sequence[Knowledge]) -> list[Mistake]:
    """Reports paths of collections that match no document."""
    found = []
    for i, collection in enumerate(knowledge):
        for j, path in enumerate(collection.paths):
            if next(_files(root, path), None) is None:
                fix = f"name a file, a folder or a glob pattern below {root}"
                found.append(Mistake(f"knowledge[{i}].paths[{j}]", f"'{path}' matches no document", fix))
    return found
