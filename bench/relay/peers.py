"""The peers with which Headrace's gateway is compared, each in its own environment.

Every environment is installed from a requirements file that is locked by hash.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Target
from bench.processes import Pids, running_process
from bench.relay import upstream
from tools import environment

STATE = environment.CHECKOUT / ".headrace" / "bench-peers"
LITELLM_PORT, ROUTER_PORT, ROUTER_METRICS_PORT = 9710, 9711, 9712
LITELLM_KEY = "sk-bench"


@dataclass(frozen=True, slots=True)
class Peer:
    """A running program that relays requests."""

    name: str
    target: Target
    pids: Pids
    settings: str
    versions: dict[str, str] = field(default_factory=dict)
    fields: tuple[dict[str, Any], ...] = ({},)
    """Fields that its requests add to the scenario's, in turn."""


def _version(folder: Path, package: str) -> dict[str, str]:
    found = next(folder.glob(f"lib/python3*/site-packages/{package.replace('-', '_')}-*.dist-info"))
    return {package: found.name.removesuffix(".dist-info").rpartition("-")[2]}


@contextlib.contextmanager
def scripted_upstream() -> Iterator[Peer]:
    """Runs the upstream, whose own figures are the bound for every relay."""
    argv = [sys.executable, "-m", "bench.relay.upstream", "--port", str(upstream.PORT)]
    url = f"http://127.0.0.1:{upstream.PORT}"
    with running_process(
        argv, log=STATE / "upstream.log", ready=f"{url}/health", env={**os.environ, "PWD": str(environment.CHECKOUT)}
    ) as p:
        yield Peer("upstream", Target(f"{url}/v1", upstream.MODEL), p, "1 process, asyncio on uvloop")


@contextlib.contextmanager
def litellm() -> Iterator[Peer]:
    """Runs LiteLLM's proxy as its production page advises: master key, worker per core, only errors logged."""
    folder = environment.locked_environment("bench-litellm")
    workers = os.cpu_count() or 1
    config = STATE / "litellm.yaml"
    config.write_text(
        f"""model_list:
  - model_name: {upstream.MODEL}
    litellm_params:
      model: hosted_vllm/{upstream.MODEL}
      api_base: http://127.0.0.1:{upstream.PORT}/v1
      api_key: none
general_settings:
  master_key: {LITELLM_KEY}
litellm_settings:
  request_timeout: 600
  set_verbose: false
  json_logs: true
"""
    )
    argv = [str(folder / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    argv += ["--port", str(LITELLM_PORT), "--num_workers", str(workers), "--telemetry", "False"]
    env = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }
    url = f"http://127.0.0.1:{LITELLM_PORT}"
    with running_process(argv, log=STATE / "litellm.log", ready=f"{url}/health/liveliness", env=env) as pids:
        target = Target(f"{url}/v1", upstream.MODEL, LITELLM_KEY)
        yield Peer("litellm", target, pids, f"{workers} workers, master key, no database", _version(folder, "litellm"))


@contextlib.contextmanager
def vllm_router() -> Iterator[Peer]:
    """Runs vLLM's router over one worker; it checks no API keys."""
    folder = environment.locked_environment("bench-vllm-router")
    argv = [str(folder / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(ROUTER_PORT)]
    argv += ["--worker-urls", f"http://127.0.0.1:{upstream.PORT}", "--policy", "round_robin"]
    argv += ["--worker-startup-check-interval", "1", "--log-level", "error"]
    argv += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(ROUTER_METRICS_PORT)]
    url = f"http://127.0.0.1:{ROUTER_PORT}"
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "NO_PROXY": "127.0.0.1"}
    with running_process(argv, log=STATE / "vllm-router.log", ready=f"{url}/health", env=env) as pids:
        target = Target(f"{url}/v1", upstream.MODEL)
        yield Peer("vllm-router", target, pids, "1 worker URL, round robin", _version(folder, "vllm-router"))
