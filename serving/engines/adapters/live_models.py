"""The adapters that a gateway's callers can name now."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from serving.config import AdapterBounds, Catalog, LlamaCppModel, VllmModel
from serving.store.errors import StoreUnavailable
from serving.store.objects.live_adapters import LiveAdapter, LiveSet, LiveSets

INTERVAL_S: Final = 1.0
"""Time in seconds between two looks at the live sets."""

log = logging.getLogger("headrace.engines")


class LiveModels:
    """The live sets of those models of a catalogue that take adapters while they serve; `bounds` are their bounds."""

    def __init__(self, sets: LiveSets) -> None:
        self._sets = sets
        self.bounds: dict[str, AdapterBounds] = {}
        self._live: dict[str, LiveSet] = {}
        self._unread = False

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue. A model that was there keeps its adapters; those of others are read next."""
        models = [model for model in catalog.models if isinstance(model, LlamaCppModel | VllmModel)]
        self.bounds = {model.name: model.adapters for model in models if model.adapters is not None}
        self._live = {base: self._live.get(base, LiveSet()) for base in self.bounds}

    @property
    def adapters(self) -> list[tuple[str, LiveAdapter]]:
        """Returns each live adapter with the name of its model."""
        return [(base, adapter) for base, live in self._live.items() for adapter in live.adapters]

    async def refresh(self) -> bool:
        """Reads the live sets, and returns whether one has changed. While they cannot be read, the last ones count."""
        bases = list(self._live)
        if not bases:
            return False
        try:
            found = await asyncio.to_thread(lambda: {base: self._sets.read(base) for base in bases})
        except StoreUnavailable as e:
            if not self._unread:
                log.warning("the adapters of models cannot be read: %s", e)
            self._unread = True
            return False
        self._unread = False
        # The catalogue may have changed meanwhile.
        found = {base: live for base, live in found.items() if base in self._live}
        changed = any(self._live[base] != live for base, live in found.items())
        self._live.update(found)
        return changed
