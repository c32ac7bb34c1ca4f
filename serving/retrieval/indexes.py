"""The indexes of vector stores: the one that searches use, and beside it one being built for another embedder."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.embedders.embedder import Embedder
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.retrieval.errors import CollectionNotFound
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.parse import PARSER_VERSION
from serving.store.upkeep.indexes import Indexes, StoreIndexes

KNOWN_S = 2.0
"""How long searches use a known index after it was replaced."""

KNOWN = 64
"""Number of indexes that are kept open."""


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index and the embedder of its vectors; None if the stack no longer has that."""

    name: str
    index: CollectionIndex
    embedder: Embedder | None


class VectorStoreIndexes:
    """Opens indexes by the names in the stores' rows. Safe to share between threads."""

    def __init__(self, where: tuple[str, Mapping[str, str]], names: Indexes, embedders: EmbedderRegistry) -> None:
        self._uri, self._options = where
        self.names = names
        self._embedders = embedders
        self._known: OrderedDict[str, tuple[float, OpenIndex]] = OrderedDict()

    async def searched(self, store_id: str) -> OpenIndex:
        """Returns the index that searches use. Raises `CollectionNotFound` or `IncompatibleCollection`."""
        known = self._known.get(store_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        live = (await self.names.get(store_id)).live
        found = known[1] if known is not None and known[1].name == live else None
        if found is None or found.embedder is None:
            found = await asyncio.to_thread(self.open, live)
        self._known[store_id] = time.monotonic() + KNOWN_S, found
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return found

    def open(self, name: str, *, create: bool = False) -> OpenIndex:
        """Opens an index by name, or creates it for the configured embedder. Blocks."""
        current = self._embedders.current
        index = CollectionIndex.open(
            self._uri,
            name,
            manifest(current),
            create=create,
            options=self._options,
            any_embedder=True,
        )
        built_by = index.manifest.embedder
        embedder = current if built_by == current.id else self._embedders.by_id(built_by)
        index.unrelated = embedder.unrelated if embedder is not None else 0.0
        return OpenIndex(name, index, embedder)

    def written(self, names: StoreIndexes) -> list[OpenIndex]:
        """Opens the indexes that documents are written to, creating the searched one if it is missing. Blocks."""
        found = [self.open(names.live, create=True)]
        if names.next is not None:
            with suppress(CollectionNotFound):  # its job creates it
                found.append(self.open(names.next))
        return found


def manifest(embedder: Embedder) -> CollectionManifest:
    """Returns the manifest of an index built by this embedder."""
    settings = ChunkSettings()
    return CollectionManifest(
        embedder.id, embedder.dimensions, settings.max_tokens, settings.overlap_tokens, PARSER_VERSION
    )


def index_name(store_id: str, *parts: str) -> str:
    """Returns a name for another index of a store."""
    return f"{store_id}-{hashlib.sha256(':'.join(parts).encode()).hexdigest()[:16]}"
