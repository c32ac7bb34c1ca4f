"""llama.cpp inside the replica: its HTTP server on the node's address, with continuous batching over slots."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from serving.config import LlamaCppModel, Task
from serving.engines.llamacpp_server import serve
from serving.engines.replica import OPENER, EngineReplica, node_address
from serving.engines.slots import Slots
from serving.engines.source import resolve

FIRST_REQUESTS: dict[Task, tuple[str, dict[str, object], str]] = {
    "chat": ("completion", {"prompt": "Hello", "n_predict": 1}, "content"),
    "embed": ("v1/embeddings", {"input": "Hello"}, "data"),
    "rerank": ("v1/rerank", {"query": "Hello", "documents": ["Hello"]}, "results"),
}
"""Path, request fields and answer field, by the task of a model."""
WARM_UP_S = 600
"""Timeout of the first token: for it, a large model reads its weights from disk."""
CLEAR_S = 60
"""Timeout of clearing another owner's prompt from a slot, whose last request may still be ending."""


class LlamaCppReplica(EngineReplica):
    """One llama.cpp server with its own key. `host` is the address to bind, by default the node's."""

    def __init__(self, config: LlamaCppModel, host: str | None = None) -> None:
        started = time.perf_counter()
        key = secrets.token_urlsafe(32)
        file = Path(resolve(config.source, config.sha256))
        self._server = serve(
            file,
            config.name,
            host or node_address(),
            0,
            [key],
            context=config.context,
            slots=config.slots,
            threads=config.threads,
            task=config.task,
            pooling=config.pooling,
        )
        url: str = self._server.listening_address
        # Warms up, so that the first caller does not wait for weights to be read from disk.
        path, fields, answered = FIRST_REQUESTS[config.task]
        _ask(url, key, WARM_UP_S, path, answered, **fields)
        # Only the slots of chat models keep prompts.
        self._slots_of = Slots(config.slots, self._clear) if config.task == "chat" else None
        super().__init__(
            "llama.cpp", config.name, prefix="llamacpp:", url=url, key=key, slots=config.slots, started=started
        )

    @contextlib.asynccontextmanager
    async def _place(self, owner: str, user: str) -> AsyncIterator[dict[str, Any]]:
        if self._slots_of is None:
            yield {}
            return
        async with self._slots_of.hold(owner, user) as slot:
            yield {"slot": slot}

    async def _clear(self, slot: int) -> None:
        """Replaces the prompt in a slot by a public one, since llama.cpp keeps only the last. Raises `RuntimeError`."""
        nobodys = {"prompt": "Hello", "n_predict": 0, "cache_prompt": False, "id_slot": slot}
        await asyncio.to_thread(_ask, self._url, self._key, CLEAR_S, "completion", "content", **nobodys)


def _ask(url: str, key: str, timeout_s: float, path: str, answered: str, **fields: object) -> None:
    """Sends a request to llama.cpp and checks that the answer has the field `answered`. Raises `RuntimeError`."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/{path}", json.dumps(fields).encode(), headers)  # noqa: S310
    try:
        with OPENER.open(request, timeout=timeout_s) as response:
            json.load(response)[answered]
    except (OSError, ValueError, LookupError) as e:
        raise RuntimeError(f"llama.cpp did not answer a request of its replica: {e!r}") from None
