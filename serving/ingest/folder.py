"""The documents in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from serving.ingest.api import IngestError
from serving.retrieval.parsers import folder_extensions


def is_document(file: Path) -> bool:
    """Returns whether a file is collected from a folder; a file that is named explicitly always is."""
    return file.suffix.lower() in folder_extensions()


def documents(folder: Path, *, every_kind: bool, say: Callable[[str], None]) -> dict[str, str]:
    """Returns path below `folder` -> SHA-256.

    Hidden files are skipped, and so are empty ones and, unless `every_kind`, those of unsupported kinds, which are
    reported. Links are followed: a mounted ConfigMap consists of them. Raises `IngestError` when nothing is found.
    """
    found: dict[str, str] = {}
    left_out: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(f for f in files if not f.startswith(".")):
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if not every_kind and not is_document(path):
                left_out.append(name)
                continue
            content = path.read_bytes()
            if content:
                found[name] = hashlib.sha256(content).hexdigest()
            else:
                left_out.append(name)
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        say(f"skipped, empty or of an unsupported kind: {', '.join(left_out[:5])}{more}")
    if not found:
        raise IngestError(f"{folder} contains no documents")
    return found
