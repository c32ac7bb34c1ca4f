"""llama.cpp inside the replica: its own HTTP server on the node's address, with continuous batching over slots."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from pathlib import Path

from serving.config import LlamaCppModel
from serving.engines.llamacpp_server import serve
from serving.engines.replica import OPENER, EngineReplica, node_address
from serving.engines.source import resolve

WARM_UP_S = 600
"""For the first token: a large model reads its weights from the disk for it."""


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
        _warm_up(url, config.name, key)
        super().__init__(
            "llama.cpp", config.name, prefix="llamacpp:", url=url, key=key, slots=config.slots, started=started
        )


def _warm_up(url: str, model: str, key: str) -> None:
    """Asks for one token, so that the first caller does not wait for weights that were never touched."""
    body = json.dumps({"model": model, "prompt": "Hello", "max_tokens": 1}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/completions", body, headers)  # noqa: S310
    try:
        with OPENER.open(request, timeout=WARM_UP_S) as response:
            json.load(response)["choices"][0]
    except (OSError, ValueError, LookupError) as e:
        raise RuntimeError(f"llama.cpp did not answer its first request: {e!r}") from None
