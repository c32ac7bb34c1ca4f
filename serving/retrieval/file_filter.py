"""Evaluates filters on files of a vector store: attributes are in the store's rows, and the index gets file ids."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from serving.core.principal import Principal
from serving.protocol.filters import Filter, predicate
from serving.store.vector_stores import VectorStores

STORES = 16
"""Number of vector stores whose attributes are cached."""

FILES = 200_000
"""Largest number of files of a cached store: about 20 MB with Headrace's ids."""

ANSWERS = 32
"""Number of filters per store whose results are cached."""


@dataclass(slots=True)
class _Attributes:
    """The attributes of a store's files at `version`: the file ids by attributes."""

    version: float
    groups: list[tuple[str, list[str]]]
    answers: OrderedDict[str, list[str]] = field(default_factory=OrderedDict)

    def matching_ids(self, filters: Filter) -> list[str]:
        asked = filters.model_dump_json()
        found = self.answers.pop(asked, None)
        if found is None:
            matches = predicate(filters)
            found = [id for text, ids in self.groups if matches(json.loads(text)) for id in ids]
        self.answers[asked] = found
        if len(self.answers) > ANSWERS:
            self.answers.popitem(last=False)
        return found


class FileFilter:
    """Finds the files that match a filter, by reading one row as long as the store does not change."""

    def __init__(self, stores: VectorStores) -> None:
        self._stores = stores
        # Its own thread: filters over many files must not block the threads that embed and search for everybody.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="file-filter")
        self._known: OrderedDict[str, _Attributes] = OrderedDict()

    async def matching_ids(self, principal: Principal, store_id: str, filters: Filter) -> list[str]:
        """Returns the ids of all matching files of the store, whoever may read them: the index checks access."""
        known = self._known.pop(store_id, None)
        version, groups = await self._stores.attribute_groups(
            principal.tenant, store_id, known.version if known is not None else None
        )
        if known is None or groups is not None:
            known = _Attributes(version, list((groups or {}).items()))
        if sum(len(ids) for _, ids in known.groups) <= FILES:
            self._known[store_id] = known
        while len(self._known) > STORES:
            self._known.popitem(last=False)
        return await asyncio.get_running_loop().run_in_executor(self._thread, known.matching_ids, filters)
