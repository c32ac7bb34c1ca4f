"""llama.cpp's server as a child process of the replica: a model with its adapters, warm and with a key of its own."""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.config import LlamaCppModel, Task
from serving.engines.adapters.errors import AdapterRejected, StartFailed
from serving.engines.child_program import ChildProgram, inherited_environment
from serving.engines.llamacpp_server import KEY
from serving.engines.replica import OPENER, EngineServer

ADAPTER_FILE = "adapter.gguf"
"""The artefact of an adapter that llama.cpp loads."""

FIRST_REQUESTS: dict[Task, tuple[str, dict[str, object], str]] = {
    "chat": ("completion", {"prompt": "Hello", "n_predict": 1}, "content"),
    "embed": ("v1/embeddings", {"input": "Hello"}, "data"),
    "rerank": ("v1/rerank", {"query": "Hello", "documents": ["Hello"]}, "results"),
}
"""Path, request fields and answer field, by the task of a model."""
START_S = 3600
"""Timeout of a start: a large model may come from a slow disk."""
WARM_UP_S = 600
"""Timeout of the first token: for it, a large model reads its weights from disk."""

_SERVING = "serving "
_REJECTED = re.compile(r"failed to load lora adapter '(?P<file>.*)'$")
_LINE = re.compile(r"^[\d.]+ [A-Z] (?:(?:srv|cmn) +)?")
"""What is in front of a message in llama.cpp's log: the time, the level and the component."""


class LlamaCppProgram(ChildProgram):
    """One `serving.engines.llamacpp_server`. `adapters` are the folders of its adapters by name; their order gives
    their ids.

    Creating it waits until the model and every adapter called `unproven` have answered. Raises `AdapterRejected` if
    llama.cpp cannot load an adapter or its answers are no numbers, else `StartFailed`.
    """

    def __init__(
        self,
        config: LlamaCppModel,
        file: Path,
        host: str,
        adapters: Mapping[str, Path],
        unproven: Collection[str] = (),
    ) -> None:
        self.adapters = tuple(adapters)
        self._files = {str(folder / ADAPTER_FILE): name for name, folder in adapters.items()}
        self._address = ""
        self._heard = threading.Event()
        key = secrets.token_urlsafe(32)
        argv = command(config, file, host, list(self._files))
        super().__init__(
            f"llama.cpp of {config.name}", f"llama.cpp {config.name}", argv, {**inherited_environment(), KEY: key}
        )
        try:
            self.server = EngineServer(self._await(), key)
            path, fields, answered = FIRST_REQUESTS[config.task]
            # So that the first caller does not wait for weights to be read from disk.
            self.ask(path, answered, WARM_UP_S, **fields)
            for name in unproven:
                self._prove(name)
        except BaseException:
            self.close()
            raise

    def _read_line(self, text: str) -> None:
        if not self._address and text.startswith(_SERVING):
            self._address = text.rpartition(" ")[2]
            self._heard.set()

    def _await(self) -> str:
        """Returns the server's address, which it prints once it has loaded everything."""
        until = time.monotonic() + START_S
        while not self._heard.wait(0.05):
            if reason := self.ended():
                raise self._rejection() or StartFailed(reason)
            if time.monotonic() > until:
                said = "\n".join(self.last_lines)
                raise StartFailed(f"{self.name} is not ready after {START_S} s; its last output:\n{said}")
        return self._address

    def _rejection(self) -> AdapterRejected | None:
        """Returns what llama.cpp said about an adapter that it could not load."""
        before: list[str] = []
        for line in self.last_lines:
            message = _LINE.sub("", line)
            if (found := _REJECTED.search(message)) is not None and found["file"] in self._files:
                reason = "; ".join(before) or "it cannot be loaded"
                return AdapterRejected(self._files[found["file"]], f"llama.cpp: {reason}"[:500])
            before.append(message)
        return None

    def _prove(self, name: str) -> None:
        """Raises `AdapterRejected` if the adapter's answers are no numbers: llama.cpp loads it nevertheless."""
        fields = {"prompt": "Hello", "n_predict": 1, "n_probs": 1, "cache_prompt": False, "lora": self.scales(name)}
        [token] = self.ask("completion", "completion_probabilities", WARM_UP_S, **fields)
        if token.get("logprob") is None:
            raise AdapterRejected(name, "its answers are not finite numbers")

    def scales(self, adapter: str | None = None) -> list[dict[str, int]]:
        """Returns a request's field `lora`, by which only `adapter` is applied, or none."""
        return [{"id": number, "scale": int(name == adapter)} for number, name in enumerate(self.adapters)]

    def ask(self, path: str, answered: str, timeout_s: float, **fields: object) -> Any:
        """Sends a request, and returns the field `answered` of the answer. Raises `StartFailed`."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.server.key}"}
        request = urllib.request.Request(  # noqa: S310 (our own child)
            f"{self.server.url}/{path}", json.dumps(fields).encode(), headers
        )
        try:
            with OPENER.open(request, timeout=timeout_s) as response:
                return json.load(response)[answered]
        except (OSError, ValueError, LookupError) as e:
            raise StartFailed(f"{self.name} did not answer a request of its replica: {e!r}") from None


def command(config: LlamaCppModel, file: Path, host: str, adapters: Sequence[str]) -> list[str]:
    """Returns the command line of the server. It contains no secret: every process of the node can read it."""
    return [
        sys.executable,
        "-m",
        "serving.engines.llamacpp_server",
        f"--model={file}",
        f"--name={config.name}",
        f"--host={host}",
        "--port=0",
        f"--context={config.context}",
        f"--slots={config.slots}",
        f"--threads={config.threads}",
        f"--task={config.task}",
        "--reuse",
        *([f"--pooling={config.pooling}"] if config.pooling is not None else []),
        *(f"--adapter={adapter}" for adapter in adapters),
    ]
