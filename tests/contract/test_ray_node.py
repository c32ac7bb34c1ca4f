"""A Ray node whose agents start late comes up, where Ray's own command line gives it up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers.process import free_port

NODE = "127.0.0.2"
LATE_S = 40
"""Longer than the 15 s that Ray gives an agent, and than the 30 s that a node then has to register."""
UP_S = 240
AGENTS = ("dashboard/agent.py", "runtime_env/agent/main.py")


@contextlib.contextmanager
def node(command: Sequence[str], listen: int) -> Iterator[subprocess.Popen[bytes]]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hrn-", dir="/tmp", ignore_cleanup_errors=True))
        settings = {"RAY_agent_register_timeout_ms": "300000", "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300"}
        arguments = {
            "node-ip-address": NODE,
            "temp-dir": folder,
            "num-cpus": 0,
            "object-store-memory": 80_000_000,
            "port": free_port(NODE),
            "dashboard-port": free_port(),
            "dashboard-agent-listen-port": listen,
            "dashboard-agent-grpc-port": free_port(NODE),
            "runtime-env-agent-port": free_port(NODE),
            "metrics-export-port": free_port(NODE),
        }
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, "start", "--head", "--block", "--disable-usage-stats"]
                + [f"--{name}={value}" for name, value in arguments.items()],
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                for child in (*children, process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            process.wait()


def pause_agents(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Stop both agents as soon as they are there, before they have imported anything."""
    paused: dict[str, psutil.Process] = {}
    deadline = time.monotonic() + UP_S
    while len(paused) < len(AGENTS):
        assert time.monotonic() < deadline, f"of the agents only {sorted(paused)} started"
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                # The raylet has its agents' command lines as arguments: whole words are compared.
                words = child.cmdline()
                for agent in AGENTS:
                    if agent not in paused and any(word.endswith(agent) for word in words):
                        child.send_signal(signal.SIGSTOP)
                        paused[agent] = child
        time.sleep(0.02)
    return list(paused.values())


def healthy(listen: int) -> bool:
    try:
        answer = httpx.get(f"http://{NODE}:{listen}/api/local_raylet_healthz", timeout=10, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.text == "success"


def settled(process: subprocess.Popen[bytes], listen: int) -> str:
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return "ended"
        if healthy(listen):
            return "healthy"
        time.sleep(0.5)
    return "neither"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("command", "becomes"),
    [
        ([str(Path(sys.executable).with_name("ray"))], "ended"),
        ([sys.executable, "-m", "serving.ray_node"], "healthy"),
    ],
    ids=["ray", "serving.ray_node"],
)
def test_headraces_node_survives_late_agents_and_rays_does_not(command: Sequence[str], becomes: str) -> None:
    listen = free_port(NODE)
    with node(command, listen) as process:
        agents = pause_agents(process)
        time.sleep(LATE_S)
        for agent in agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                agent.send_signal(signal.SIGCONT)
        assert settled(process, listen) == becomes
