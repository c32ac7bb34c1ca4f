"""vLLM as a child process of the replica: its own HTTP server on the node's address.

It runs on the GPUs that Ray assigned, or, as the build for CPUs, on the replica's share of the processors.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from serving.config import BUCKETS, LINKED_PROGRAM, Task, VllmModel
from serving.engines.adapters.errors import StartFailed
from serving.engines.adapters.follower import Follower, keep
from serving.engines.adapters.runtime import ADAPTER_FILES, RuntimeAdapters
from serving.engines.child_program import ChildProgram, inherited_environment
from serving.engines.replica import OPENER, EngineServer, ProgramReplica, granted, node_address
from serving.engines.source import in_package
from serving.engines.weights.fetch import fetch, remote, shared_folder
from serving.engines.weights.progress import FetchProgress
from serving.engines.weights.shared_folder import StoredWeights
from serving.store.objects.live_adapters import LiveSets

ATTEMPTS = 3
"""Number of starts, in case another program takes the port between its choice and vLLM's start."""


FIRST_REQUESTS: dict[Task, tuple[str, dict[str, object], str]] = {
    "chat": ("completions", {"prompt": "Hello", "max_tokens": 1}, "choices"),
    "embed": ("embeddings", {"input": "Hello"}, "data"),
    "rerank": ("rerank", {"query": "Hello", "documents": ["Hello"]}, "results"),
}
"""Path, request fields and the answer's list, by the task of a model."""


class VllmReplica(ProgramReplica):
    """One `vllm serve`. `sets` has the model's live adapters, which vLLM loads and unloads while it serves."""

    failure = StartFailed

    def __init__(self, config: VllmModel, host: str | None = None, sets: LiveSets | None = None) -> None:
        started = time.perf_counter()
        key = secrets.token_urlsafe(32)
        self.closing = threading.Event()
        self._wake = threading.Event()
        self._follower: Follower | None = None
        # Held as long as the replica lives: nobody removes weights that it may load again.
        self._weights = fetched_weights(config)
        folders = {source: stored.path for source, stored in self._weights.items()}
        self._program = _start(config, host or node_address(), key, folders)
        self._runtime = RuntimeAdapters(EngineServer(self._program.url, key))
        super().__init__(
            "vLLM",
            config.name,
            prefix="vllm:",
            url=self._program.url,
            key=key,
            slots=config.max_num_seqs,
            started=started,
            adapters=[lora.name for lora in config.loras],
        )
        if sets is not None and config.adapters is not None:
            self._follower = Follower(config.name, config.adapters, sets, ADAPTER_FILES, self._runtime.serve)
            self.step()  # before the first lease
            keep(self, self._wake)

    @contextlib.asynccontextmanager
    async def _place(self, owner: str, user: str, adapter: str | None) -> AsyncIterator[dict[str, Any]]:
        if adapter is None:
            yield granted(self._server)
            return
        with self._runtime.hold(adapter) as loaded:
            if not loaded:
                self._wake.set()  # it may be in the live set by now
            yield granted(self._server) if loaded else {"lacks": adapter}

    def step(self) -> None:
        """Follows the live set, and unloads adapters whose last request has ended."""
        if self._follower is not None and not self._program.ended():
            self._follower.step(leaving=self._runtime.leaving)
            self._runtime.unload_unused()

    def renew(self) -> None:
        """Repeats what this replica reports."""
        if self._follower is not None:
            self._follower.renew()

    def close(self) -> None:
        """Ends vLLM, and waits until it has ended."""
        self.closing.set()
        self._wake.set()
        super().close()
        if self._follower is not None:
            self._follower.close()


class VllmProgram(ChildProgram):
    """A running `vllm serve`."""

    def __init__(self, name: str, argv: Sequence[str], environment: dict[str, str], host: str, port: int) -> None:
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        super().__init__(f"vLLM of {name}", f"vllm {name}", argv, environment)

    @property
    def port_was_taken(self) -> bool:
        return any("address already in use" in line.lower() for line in self.last_lines)

    def wait(self, timeout_s: float) -> None:
        """Waits until vLLM is healthy; raises `StartFailed`."""
        until = time.monotonic() + timeout_s
        while True:
            if reason := self.ended():
                raise StartFailed(reason)
            with contextlib.suppress(OSError), contextlib.closing(_open(f"{self.url}/health", timeout_s=5)):
                return
            if time.monotonic() > until:
                said = "\n".join(self.last_lines)
                raise StartFailed(
                    f"{self.name} is not ready after {timeout_s:g} s (start_timeout_s); its last output:\n{said}"
                )
            time.sleep(0.25)

    def warm_up(self, config: VllmModel, key: str, timeout_s: float) -> None:
        """Sends the smallest request, so that the first caller does not wait for compilation at first use."""
        path, fields, answered = FIRST_REQUESTS[config.task]
        body = json.dumps({"model": config.name, **fields}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        try:
            with contextlib.closing(_open(f"{self.url}/v1/{path}", body, headers, timeout_s)) as response:
                json.load(response)[answered][0]
        except urllib.error.HTTPError as e:
            said = e.read(2000).decode(errors="replace")
            raise StartFailed(f"{self.name} refused its first request with {e.code}: {said}") from None
        except (OSError, ValueError, LookupError, TypeError) as e:
            raise StartFailed(f"{self.name} did not answer its first request: {e!r}") from None


def fetched_weights(config: VllmModel) -> dict[str, StoredWeights]:
    """Fetches the weights of a model and its adapters that are on other hosts, or finds them on this node."""
    progress = FetchProgress(config.name)
    token = config.token.read() if config.token is not None else None
    found = {}
    for source in config.fetched:
        own = config.has_own_access(source)
        mirror = os.environ.get("HF_ENDPOINT") if source.startswith("hf://") else None
        endpoint = config.endpoint_of(source) or mirror
        origin = remote(source, token if own else None, endpoint, config.region if own else None)
        sha256 = config.sha256 if source == config.source else None
        found[source] = fetch(origin, shared_folder(), progress, sha256)
    return found


def _start(config: VllmModel, host: str, key: str, weights: Mapping[str, Path]) -> VllmProgram:
    until = time.monotonic() + config.start_within_s(stored_bytes(weights.values()))
    for attempt in range(1, ATTEMPTS + 1):
        port = _free_port(host)
        program = VllmProgram(config.name, command(config, host, port, weights), _environment(config, key), host, port)
        try:
            program.wait(until - time.monotonic())
            program.warm_up(config, key, max(until - time.monotonic(), 10))
        except StartFailed:
            program.close()
            if attempt == ATTEMPTS or not program.port_was_taken:
                raise
        except BaseException:
            program.close()
            raise
        else:
            return program
    raise AssertionError("unreachable")


def stored_bytes(folders: Iterable[Path]) -> int:
    """Returns the size of all files in folders."""
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def command(config: VllmModel, host: str, port: int, weights: Mapping[str, Path]) -> list[str]:
    """Returns the command line of `vllm serve` for a model. It contains no secret: every process of the node can read
    it. `weights` are the folders of sources that were fetched.
    """
    arguments: list[str] = [
        f"--host={host}",
        f"--port={port}",
        f"--served-model-name={config.name}",
        f"--dtype={config.dtype}",
        f"--kv-cache-dtype={config.kv_cache_dtype}",
        f"--max-num-seqs={config.max_num_seqs}",
        "--disable-uvicorn-access-log",
    ]
    if config.device == "gpu":
        arguments += [
            f"--gpu-memory-utilization={config.gpu_memory_utilization:g}",
            f"--tensor-parallel-size={config.tensor_parallel}",
            f"--pipeline-parallel-size={config.pipeline_parallel}",
        ]
    if config.gpus > 1:
        # vLLM would connect to this node's Ray and place its workers on resources that Ray assigned to others.
        arguments.append("--distributed-executor-backend=mp")
    if config.streamed:
        arguments.append("--load-format=runai_streamer")
    for flag, value in (
        ("--quantization", config.quantization),
        ("--max-model-len", config.context),
        ("--chat-template", config.chat_template),
    ):
        if value is not None:
            arguments.append(f"{flag}={value}")
    if config.task != "chat":
        arguments.append("--runner=pooling")  # vLLM would otherwise guess it from the model's architecture
    if config.enforce_eager:
        arguments.append("--enforce-eager")
    if config.loras or config.adapters is not None:
        number, rank = len(config.loras), config.max_lora_rank if config.loras else 1
        if config.adapters is not None:
            number, rank = number + config.adapters.max, max(rank, config.adapters.rank)
        arguments += ["--enable-lora", f"--max-loras={number}", f"--max-lora-rank={rank}"]
        if config.adapters is not None:
            # Those that are withdrawn stay until their last request ends, and vLLM could not read them again.
            arguments.append(f"--max-cpu-loras={number + config.adapters.max}")
    if config.loras:
        modules = [json.dumps({"name": lora.name, "path": _path(lora.source, weights)}) for lora in config.loras]
        arguments += ["--lora-modules", *modules]
    model = config.source if config.streamed else _path(config.source, weights)
    return [_program(), "serve", model, *arguments, *config.arguments]


def _program() -> str:
    """Returns `vllm` if PATH has it, else the one that `make vllm` linked."""
    return str(LINKED_PROGRAM) if shutil.which("vllm") is None and LINKED_PROGRAM.exists() else "vllm"


def _path(source: str, weights: Mapping[str, Path]) -> str:
    """Returns the folder of the weights of `source`. Raises `FileNotFoundError` for a missing local folder."""
    if source in weights:
        return str(weights[source])
    path = in_package(source) if source.startswith("package://") else Path(source.removeprefix("file://"))
    if not path.exists():
        raise FileNotFoundError(f"{source}: there is no such folder")
    return str(path)


def _environment(config: VllmModel, key: str) -> dict[str, str]:
    environment = {
        **inherited_environment(),
        # No data leaves the cluster unless it is requested.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        **(_cpu_environment(config) if config.device == "cpu" else {}),
        **({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if config.adapters is not None else {}),
        **config.environment,
        "VLLM_API_KEY": key,
    }
    if config.token is not None and not config.source.startswith(BUCKETS):
        environment["HF_TOKEN"] = config.token.read()  # for what arguments name, such as another tokenizer
    return environment


def _cpu_environment(config: VllmModel) -> dict[str, str]:
    # vLLM would bind its threads to the first cores, and those of every replica on a host to the same ones.
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_kv_cache_gib or 1),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(max(1, round(config.cpus))),
    }


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])


def _open(
    url: str, body: bytes | None = None, headers: dict[str, str] | None = None, timeout_s: float = 5
) -> HTTPResponse:
    request = urllib.request.Request(url, body, headers or {})  # noqa: S310 (our own child)
    response: HTTPResponse = OPENER.open(request, timeout=timeout_s)
    return response
