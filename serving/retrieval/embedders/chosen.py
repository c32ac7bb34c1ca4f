"""The embedders of a stack: the one that it is configured to search with, and those that its indexes were built by."""

from __future__ import annotations

import threading

from serving.config import DEFAULT_EMBEDDER, JUDGE, LOCAL_EMBEDDERS, AppModel, Catalog
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.retrieval.embedders.embedder import Embedder
from serving.retrieval.embedders.engine import EngineEmbedder
from serving.retrieval.embedders.local import LocalEmbedder
from serving.retrieval.embedders.onnx import OnnxEmbedder


class Embedders:
    """Embedders by their names and by the ids that indexes record. Local models are loaded when they are needed.

    `judge` is the one that citations, quotes and topics are measured with, whatever is searched with.
    """

    def __init__(self, engines: Engines, client: EngineClient) -> None:
        self._engines = engines
        self._client = client
        self._loading = threading.Lock()
        self._local: dict[str, LocalEmbedder] = {}
        self._of_engines: dict[str, EngineEmbedder] = {}
        self.judge = self.local(JUDGE)
        self._current = DEFAULT_EMBEDDER

    def configure(self, catalog: Catalog) -> None:
        """Takes in which models there are, and which one is searched with."""
        self._of_engines = {
            model.name: EngineEmbedder(self._engines, self._client, model, model.embedding)
            for model in catalog.models
            if not isinstance(model, AppModel) and model.embedding is not None
        }
        self._current = catalog.search.embedder

    @property
    def current(self) -> Embedder:
        """The one that new indexes are built by. May load it."""
        found = self._of_engines.get(self._current)
        return found if found is not None else self._local_embedder(self._current)

    def local(self, name: str) -> OnnxEmbedder:
        """Returns a local model, loaded. Raises `FileNotFoundError` where its package is not installed."""
        return self._local_embedder(name).model

    def _local_embedder(self, name: str) -> LocalEmbedder:
        with self._loading:
            if name not in self._local:
                self._local[name] = LocalEmbedder(OnnxEmbedder(name))
            return self._local[name]

    def by_id(self, id: str) -> Embedder | None:
        """Returns the embedder that an index was built by, None where the stack has it no more. May load it."""
        for embedder in self._of_engines.values():
            if embedder.id == id:
                return embedder
        for name in LOCAL_EMBEDDERS:
            if id.startswith(f"{name}-"):
                try:
                    found = self._local_embedder(name)
                except FileNotFoundError:
                    continue
                if found.id == id:
                    return found
        return None
