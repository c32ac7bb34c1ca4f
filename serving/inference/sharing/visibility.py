"""Which answers of a share its reader may see, and what a reader sees of each item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.assistants.register import AssistantRegister
from serving.core.principal import Principal
from serving.inference.active_catalog import ActiveCatalog
from serving.retrieval.client import RetrievalClient
from serving.store.conversations import Item
from serving.store.relational.database import Database
from serving.store.sharing.readable_files import ReadableFiles
from serving.store.sharing.shares import Shares
from serving.store.sharing.sources import ASSISTANT, MODEL, OWN, Sources, answerer, parts_of
from serving.store.vector_stores import VectorStores

_BESIDE = ("citations", "unsupported")
"""What a reader of an answer is told beside it."""


class Sharing:
    """The `shares`, and a comparison of the sources of their answers with the rights that a reader has now."""

    def __init__(
        self,
        database: Database,
        stores: VectorStores,
        catalog: ActiveCatalog,
        assistants: AssistantRegister,
        retrieval: RetrievalClient,
    ) -> None:
        self.shares = Shares(database)
        self._files = ReadableFiles(database, stores)
        self._catalog = catalog
        self._assistants = assistants
        self._retrieval = retrieval

    async def withheld_from(self, reader: Principal, sources: Sources) -> int | None:
        """Returns the number of the item from which on the reader sees no answers; None if the reader sees all."""
        router = self._catalog.current.router
        own = await self._assistants.open_to(router, sources.of_kind(OWN), reader)
        callable = {answerer(OWN, id) for id in own}
        collections: dict[str, bool] = {}
        for name in sources.of_kind(ASSISTANT):
            if (assistant := router.assistant(name, reader)) is not None:
                callable.add(answerer(ASSISTANT, name))
                collections |= self._retrieval.collections_for(reader, assistant.knowledge)
        models = [name for name in sources.of_kind(MODEL) if router.resolve(name, reader) is not None]
        callable.update(answerer(MODEL, name) for name in models)
        files = await self._files.findable(reader, sources.files, collections)
        attached = await self._files.attached(reader, sources.attached)
        return sources.withheld_from(files, attached, callable)


def reader_view(item: Item, withheld_from: int | None) -> dict[str, Any]:
    """Returns what a reader sees of an item: the texts of people and of answers, and nothing else.

    `withheld` says why there is no text: `documents` that the reader may not read, or `private`, for everything that is
    never shared. `attachments` is the number of a message's parts that are not shown.
    """
    body = item.body
    role = body.get("role") if body.get("type") == "message" else None
    withheld = None
    if role not in ("user", "assistant"):
        role, withheld = None, "private"
    elif role == "assistant" and withheld_from is not None and item.seq >= withheld_from:
        withheld = "documents"
    parts = parts_of(body) if withheld is None else []
    texts = [text for part in parts if (text := _text(part)) is not None]
    beside = (item.details or {}) if role == "assistant" and withheld is None else {}
    return {
        "id": item.id,
        "object": "share.item",
        "created_at": int(item.created_at),
        "role": role,
        "status": body.get("status") if role == "assistant" else "completed",
        "text": "\n\n".join(texts),
        "withheld": withheld,
        "attachments": len(parts) - len(texts),
        "headrace": {name: value for name in _BESIDE if isinstance(value := beside.get(name), list)},
    }


def _text(part: Mapping[str, Any]) -> str | None:
    """Returns the text of a part; None for anything else."""
    kind = part.get("type")
    text = part.get("refusal" if kind == "refusal" else "text")
    return text if kind in ("input_text", "output_text", "refusal") and isinstance(text, str) else None
