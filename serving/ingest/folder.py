"""The documents in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.ingest.api import IngestError
from serving.ingest.collection import IngestRefused
from serving.ingest.source import Inventory, is_document, report_skipped


class FolderSource:
    """Files below a folder; their versions are their SHA-256."""

    def __init__(self, root: Path, wanted: Mapping[str, str]) -> None:
        """`wanted` maps paths below `root` to their SHA-256."""
        self._root = root
        self._wanted = wanted

    def listing(self, known: Mapping[str, str]) -> Inventory:
        return Inventory(self._wanted)

    def read(self, path: str, version: str) -> bytes:
        try:
            content = (self._root / path).read_bytes()
        except OSError as e:
            raise IngestRefused(f"cannot be read: {e.strerror}") from None
        if hashlib.sha256(content).hexdigest() != version:
            raise IngestRefused("changed while it was read; try again")
        return content


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
            if not every_kind and not is_document(name):
                left_out.append(name)
                continue
            content = path.read_bytes()
            if content:
                found[name] = hashlib.sha256(content).hexdigest()
            else:
                left_out.append(name)
    report_skipped(left_out, say)
    if not found:
        raise IngestError(f"{folder} contains no documents")
    return found
