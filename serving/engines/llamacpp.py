"""llama.cpp inside the replica: its own HTTP server on the node's address, with continuous batching over slots."""

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

from serving.config import LlamaCppModel
from serving.engines.llamacpp_server import serve
from serving.engines.replica import OPENER, EngineReplica, node_address
from serving.engines.slots import Slots
from serving.engines.source import resolve

WARM_UP_S = 600
"""For the first token: a large model reads its weights from the disk for it."""
CLEAR_S = 60
"""For another owner's prompt to be gone from a slot, whose last request may still be ending."""


class LlamaCppReplica(EngineReplica):
    """One llama.cpp server, with a key of its own. `host` is the address to bind, by default the node's."""

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
        )
        url: str = self._server.listening_address
        _ask(
            url, key, WARM_UP_S, prompt="Hello", n_predict=1
        )  # the first caller does not wait for weights that were never touched
        self._slots_of = Slots(config.slots, self._clear)
        super().__init__(
            "llama.cpp", config.name, prefix="llamacpp:", url=url, key=key, slots=config.slots, started=started
        )

    @contextlib.asynccontextmanager
    async def _place(self, owner: str, user: str) -> AsyncIterator[dict[str, Any]]:
        async with self._slots_of.hold(owner, user) as slot:
            yield {"slot": slot}

    async def _clear(self, slot: int) -> None:
        """Lets a slot read a prompt that is nobody's: llama.cpp keeps the last one alone. Raises `RuntimeError`."""
        nobodys = {"prompt": "Hello", "n_predict": 0, "cache_prompt": False, "id_slot": slot}
        await asyncio.to_thread(_ask, self._url, self._key, CLEAR_S, **nobodys)


def _ask(url: str, key: str, timeout_s: float, **fields: object) -> None:
    """Asks llama.cpp to complete a prompt, by its own API. Raises `RuntimeError`."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/completion", json.dumps(fields).encode(), headers)  # noqa: S310
    try:
        with OPENER.open(request, timeout=timeout_s) as response:
            json.load(response)["content"]
    except (OSError, ValueError, LookupError) as e:
        raise RuntimeError(f"llama.cpp did not answer a request of its replica: {e!r}") from None
