"""A Ray node whose agents start late comes up, where Ray's own command line gives it up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers.process import free_port
from tests.wait import eventually

NODE = "127.0.0.2"
LATE_S = 40
"""Longer than the 15 s that Ray gives an agent, and than the 30 s that a node then has to register."""
UP_S = 240
AGENTS = ("dashboard/agent.py", "runtime_env/agent/main.py")


@contextlib.contextmanager
def node(
    command: Sequence[str], listen: int, metrics: int | None = None, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
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
            "metrics-export-port": metrics if metrics is not None else free_port(NODE),
        }
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, "start", "--head", "--block", "--disable-usage-stats"]
                + [f"--{name}={value}" for name, value in arguments.items()],
                env={**os.environ, **settings, **more},
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


def metrics_of(process: subprocess.Popen[bytes], ports: Collection[int]) -> dict[int, str]:
    """Returns the addresses at which parts of the node serve on these ports."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in child.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN and each.laddr.port in ports:
                    found[each.laddr.port] = each.laddr.ip
    return found


def test_metrics_of_a_node_on_this_host_are_on_loopback() -> None:
    listen, agent, autoscaler, dashboard = free_port(NODE), *(free_port() for _ in range(3))
    settings = {
        "HEADRACE_METRICS_ON_LOOPBACK": "1",
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
    }
    command = [sys.executable, "-m", "serving.ray_node"]
    ports = (agent, autoscaler, dashboard)
    with node(command, listen, agent, **settings) as process:
        found = eventually(lambda: len(known := metrics_of(process, ports)) == 3 and known, "all serve", seconds=UP_S)
        assert found == dict.fromkeys(ports, "127.0.0.1")
        for port, says in ((agent, "ray_"), (autoscaler, "autoscaler_"), (dashboard, "ray_dashboard_")):
            address = f"http://127.0.0.1:{port}/metrics"
            # A port answers with metrics of its process before it has those of its part of Ray.
            eventually(
                lambda address=address, says=says: says in httpx.get(address, timeout=60, trust_env=False).text,
                f"{says} on {address}",
                seconds=UP_S,
            )
        assert settled(process, listen) == "healthy"
