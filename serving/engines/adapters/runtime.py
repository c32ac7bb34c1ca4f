"""Adapters that vLLM loads and unloads while it serves, through its routes for that."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.engines.adapters.errors import AdapterRejected, StartFailed
from serving.engines.replica import OPENER, EngineServer

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""The artefacts of an adapter that vLLM loads."""
LOAD_S = 300
"""Timeout of loading an adapter, and of its first token."""


class RuntimeAdapters:
    """The adapters of one vLLM by name, each with the leases of requests that name it.

    An adapter without leases is unloaded once it is not wanted any more. Its name never comes back with other weights:
    vLLM's prefix cache could answer with blocks of the old ones.
    """

    def __init__(self, server: EngineServer) -> None:
        self._server = server
        self._turn = threading.Lock()  # requests are leased in the replica's loop, adapters are loaded in a thread
        self._offered: set[str] = set()
        self._leaving: set[str] = set()
        self._leases: Counter[str] = Counter()

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Yields whether the adapter is loaded; if so, it stays loaded meanwhile."""
        with self._turn:
            offered = name in self._offered
            self._leases[name] += offered
        try:
            yield offered
        finally:
            with self._turn:
                self._leases[name] -= offered
                if not self._leases[name]:
                    del self._leases[name]

    @property
    def leaving(self) -> set[str]:
        """Returns the adapters that are loaded although they are withdrawn."""
        with self._turn:
            return set(self._leaving)

    def serve(self, adapters: Mapping[str, Path]) -> None:
        """Loads those of the adapters (folders by name) that are not loaded, and withdraws all others.

        Raises `AdapterRejected` if vLLM refuses one or its answers are no numbers, and `StartFailed` if it cannot be
        asked.
        """
        with self._turn:
            self._leaving |= self._offered - adapters.keys()
            self._offered &= adapters.keys()
            again = self._leaving & adapters.keys()  # not unloaded yet
            self._leaving -= again
            self._offered |= again
            new = [name for name in adapters if name not in self._offered]
        for name in new:
            self._ask(name, "load_lora_adapter", lora_name=name, lora_path=str(adapters[name]))
            try:
                self._prove(name)
            except Exception:
                with contextlib.suppress(AdapterRejected, StartFailed):
                    self._unload(name)
                raise
            with self._turn:
                self._offered.add(name)

    def unload_unused(self) -> None:
        """Unloads the adapters that are withdrawn and have no leases."""
        with self._turn:
            unused = [name for name in self._leaving if not self._leases[name]]
        for name in unused:
            with contextlib.suppress(AdapterRejected):  # it is not loaded
                self._unload(name)
            with self._turn:
                self._leaving.discard(name)

    def _prove(self, name: str) -> None:
        answer = self._ask(name, "completions", model=name, prompt="Hello", max_tokens=1, logprobs=1)
        try:
            finite = all(math.isfinite(each) for each in json.loads(answer)["choices"][0]["logprobs"]["token_logprobs"])
        except (ValueError, LookupError, TypeError):
            finite = False
        if not finite:
            raise AdapterRejected(name, "its answers are not finite numbers")

    def _unload(self, name: str) -> None:
        self._ask(name, "unload_lora_adapter", lora_name=name)

    def _ask(self, adapter: str, path: str, **fields: Any) -> bytes:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._server.key}"}
        request = urllib.request.Request(  # noqa: S310 (our own child)
            f"{self._server.url}/v1/{path}", json.dumps(fields).encode(), headers
        )
        try:
            with OPENER.open(request, timeout=LOAD_S) as response:
                said: bytes = response.read()
                return said
        except urllib.error.HTTPError as e:
            message = e.read(2000).decode(errors="replace")
            raise AdapterRejected(adapter, f"vLLM: {message}"[:500]) from None
        except OSError as e:
            raise StartFailed(f"vLLM did not answer a request of its replica: {e!r}") from None
