"""The base models that adapters are registered for: those of the catalogue whose engines load adapters."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serving.config import LlamaCppModel, VllmModel
from serving.engines.source import in_package, resolve
from serving.hub.base_facts import DEFAULT_RANK, BaseFacts, base_facts

Base = LlamaCppModel | VllmModel


class BaseUnreadable(Exception):
    """The weights of a base model are not on this host, or are damaged; the message says which."""


class Bases:
    """Facts of base models, which are read once for each file, as long as it stays the same."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, int], BaseFacts]] = {}
        self._reading = asyncio.Lock()  # weights are gigabytes

    async def facts(self, model: Base) -> BaseFacts:
        """Returns the facts of a model; its `digest` is empty if its weights are not in a file or a folder.

        Raises `BaseUnreadable`.
        """
        async with self._reading:
            try:
                return await asyncio.to_thread(self._facts, model)
            except (OSError, ValueError) as e:
                raise BaseUnreadable(f"{model.source} cannot be read by this gateway ({type(e).__name__})") from None

    def _facts(self, model: Base) -> BaseFacts:
        rank = model.adapters.rank if model.adapters is not None else DEFAULT_RANK
        if isinstance(model, LlamaCppModel):
            return replace(self._read(resolve(model.source), base_facts), max_rank=rank)
        return BaseFacts(self._digest(model), max_rank=rank)

    def _digest(self, model: VllmModel) -> str:
        """Returns the SHA-256 of the lines "SHA-256 name" of the weights' files; empty if they are elsewhere."""
        scheme, _, rest = model.source.partition("://")
        if scheme not in ("file", "package"):
            return ""
        folder = in_package(model.source) if scheme == "package" else Path("/" + rest.lstrip("/"))
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            return ""
        lines = [f"{self._read(file, _hashed).digest}  {file.name}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _read(self, file: Path, read: Callable[[Path], BaseFacts]) -> BaseFacts:
        status = file.stat()
        state = (status.st_size, status.st_mtime_ns)
        seen = self._seen.get(file)
        if seen is None or seen[0] != state:
            self._seen[file] = seen = (state, read(file))
        return seen[1]


def _hashed(file: Path) -> BaseFacts:
    with file.open("rb") as content:
        return BaseFacts(hashlib.file_digest(content, "sha256").hexdigest())
