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
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPResponse
from pathlib import Path

from serving.config import Task, VllmModel
from serving.engines.child_program import ChildProgram
from serving.engines.replica import OPENER, ProgramReplica, node_address
from serving.engines.source import in_package

LINKED = Path(sys.executable).with_name("vllm")
"""Where `make vllm` links the program."""

ATTEMPTS = 3
"""Number of starts, in case another program takes the port between its choice and vLLM's start."""


FIRST_REQUESTS: dict[Task, tuple[str, dict[str, object], str]] = {
    "chat": ("completions", {"prompt": "Hello", "max_tokens": 1}, "choices"),
    "embed": ("embeddings", {"input": "Hello"}, "data"),
    "rerank": ("rerank", {"query": "Hello", "documents": ["Hello"]}, "results"),
}
"""Path, request fields and the answer's list, by the task of a model."""


class StartFailed(RuntimeError):
    """vLLM did not start; the message ends with its last output."""


class VllmReplica(ProgramReplica):
    """One `vllm serve`."""

    failure = StartFailed

    def __init__(self, config: VllmModel, host: str | None = None) -> None:
        started = time.perf_counter()
        key = secrets.token_urlsafe(32)
        self._program = _start(config, host or node_address(), key)
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


def _start(config: VllmModel, host: str, key: str) -> VllmProgram:
    until = time.monotonic() + config.start_timeout_s
    for attempt in range(1, ATTEMPTS + 1):
        port = _free_port(host)
        program = VllmProgram(config.name, command(config, host, port), _environment(config, key), host, port)
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


def command(config: VllmModel, host: str, port: int) -> list[str]:
    """Returns the command line of `vllm serve` for a model. It contains no secret: every process of the node can read
    it.
    """
    model, revision = _weights(config.source)
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
    if config.source.startswith(("s3://", "gs://")):
        arguments.append("--load-format=runai_streamer")
    for flag, value in (
        ("--revision", revision),
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
    if config.loras:
        arguments += ["--enable-lora", f"--max-loras={len(config.loras)}", f"--max-lora-rank={config.max_lora_rank}"]
        modules = [json.dumps({"name": lora.name, "path": _weights(lora.source)[0]}) for lora in config.loras]
        arguments += ["--lora-modules", *modules]
    return [_program(), "serve", model, *arguments, *config.arguments]


def _program() -> str:
    """Returns `vllm` if PATH has it, else the one that `make vllm` linked."""
    return str(LINKED) if shutil.which("vllm") is None and LINKED.exists() else "vllm"


def _weights(source: str) -> tuple[str, str | None]:
    """Returns vLLM's name for the weights of `source`, and their revision on the Hub.

    Raises `FileNotFoundError` for a missing local folder; vLLM finds other sources itself.
    """
    scheme, _, rest = source.partition("://")
    if scheme == "hf":
        name, _, revision = rest.partition("@")
        return name, revision or None
    if scheme in ("s3", "gs"):
        return source, None
    path = in_package(source) if scheme == "package" else Path(rest)
    if not path.exists():
        raise FileNotFoundError(f"{source}: there is no such folder")
    return str(path), None


def _environment(config: VllmModel, key: str) -> dict[str, str]:
    # The replica's variables are removed: vLLM would write its metrics among the replica's, and must not use the node's
    # Ray.
    inherited = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR" and not k.startswith("RAY_")}
    environment = {
        **inherited,
        # No data leaves the cluster unless it is requested.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        **(_cpu_environment(config) if config.device == "cpu" else {}),
        **config.environment,
        "VLLM_API_KEY": key,
    }
    if config.token is not None:
        environment["HF_TOKEN"] = config.token.read()
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
