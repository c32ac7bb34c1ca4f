"""llama.cpp inside the replica: its own HTTP server on a loopback port, with continuous batching over slots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

from serving.config import LlamaCppModel
from serving.engines.source import resolve
from serving.telemetry import metrics


class LlamaCppReplica:
    """One llama.cpp server. Requests reach it by a lease, so that Serve counts and spreads them."""

    def __init__(self, config: LlamaCppModel) -> None:
        started = time.perf_counter()
        self._config = config
        self._key = secrets.token_urlsafe(32)
        self._server = _start(config, self._key)
        self._url: str = self._server.listening_address
        labels = (config.name,)
        self._leases = metrics.engine_leases.labels(*labels)
        metrics.engine_slots.labels(*labels).set(config.slots)
        metrics.engine_load_seconds.labels(*labels).set(time.perf_counter() - started)
        self._up = metrics.engine_up.labels(*labels)
        self._up.set(1)

    async def lease(self) -> AsyncIterator[dict[str, str]]:
        """Yields this replica's address and key once and holds a place until the caller cancels."""
        self._leases.inc()
        try:
            yield {"url": f"{self._url}/v1", "key": self._key}
            await asyncio.Event().wait()
        finally:
            self._leases.dec()

    async def check_health(self) -> None:
        """Raises when the engine does not answer; Serve then replaces the replica."""
        try:
            await asyncio.to_thread(self._ask_health)
        except OSError as e:
            self._up.set(0)
            raise RuntimeError(f"llama.cpp does not answer: {e}") from e
        self._up.set(1)

    def _ask_health(self) -> None:
        with contextlib.closing(urllib.request.urlopen(f"{self._url}/health", timeout=5)):  # noqa: S310
            pass


def _start(config: LlamaCppModel, key: str) -> Any:
    import xllamacpp  # loads the native library: only where a model runs

    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(resolve(config.source, config.sha256))
    params.model_alias = [config.name]
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [key]
    params.n_ctx = config.context
    params.n_parallel = config.slots
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    params.n_threads_http = config.slots + 4
    params.cache_ram_mib = 0  # the prompt cache beside the slots would grow to 8 GiB
    params.endpoint_metrics = True
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = 1
    return xllamacpp.Server(params)
