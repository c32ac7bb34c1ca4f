"""The embedders of a stack: the one configured for searches, and those that built existing indexes."""

from __future__ import annotations

import threading

from serving.config import DEFAULT_EMBEDDER, JUDGE, LOCAL_EMBEDDERS, AppModel, Catalog
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.retrieval.embedders.embedder import Embedder
from serving.retrieval.embedders.engine import EngineEmbedder
from serving.retrieval.embedders.local import LocalEmbedder
from serving.retrieval.embedders.onnx import OnnxEmbedder


class EmbedderRegistry:
    """Looks up embedders by name, and by the id recorded in indexes. Local models are loaded on first use.

    `judge` is the embedder for citations, quotes and topics, whichever one searches use.
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
        """Takes the new catalogue: its models, and the one configured for searches."""
        self._of_engines = {
            model.name: EngineEmbedder(self._engines, self._client, model, model.embedding)
            for model in catalog.models
            if not isinstance(model, AppModel) and model.embedding is not None
        }
        self._current = catalog.search.embedder

    @property
    def current(self) -> Embedder:
        """The embedder for new indexes; it may be loaded now."""
        found = self._of_engines.get(self._current)
        return found if found is not None else self._local_embedder(self._current)

    @property
    def default(self) -> LocalEmbedder:
        """The default embedder, whichever one searches use; it may be loaded now."""
        return self._local_embedder(DEFAULT_EMBEDDER)

    def local(self, name: str) -> OnnxEmbedder:
        """Returns a local model, loaded. Raises `FileNotFoundError` if its package is not installed."""
        return self._local_embedder(name).model

    def _local_embedder(self, name: str) -> LocalEmbedder:
        with self._loading:
            if name not in self._local:
                self._local[name] = LocalEmbedder(OnnxEmbedder(name))
            return self._local[name]

    def by_id(self, id: str) -> Embedder | None:
        """Returns the embedder that built an index, or None if the stack no longer has it. It may be loaded now."""
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
