"""Ports of a Ray node's agents are named to a raylet that waits for them, when they are known and not yet there."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path

import pytest
from ray import _raylet
from ray._private import node, services
from ray.dashboard import agent

from serving import ray_node
from tests.replace import replace

NODE_ID = "ab" * 28
NAMES = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def start_raylet(redis, node_id, session_dir, metrics_agent_port=None, metrics_export_port=None, **ports):
    return f"raylet {node_id}"


def written(folder: Path) -> dict[str, int]:
    files = {name: folder / _raylet.get_port_filename(NODE_ID, name) for name in NAMES}  # ty: ignore[missing-attribute]
    return {name: int(file.read_text()) for name, file in files.items() if file.exists()}


def test_missing_ports_are_written(tmp_path):
    known = {"metrics_agent_port": 6380, "metrics_export_port": 8080, "dashboard_agent_listen_port": 52365}
    found = ray_node.write_missing_ports({"session_dir": str(tmp_path), "node_id": NODE_ID, **known})
    assert set(found) == set(known)
    assert written(tmp_path) == known
    for name, port in known.items():
        assert _raylet.wait_for_persisted_port(str(tmp_path), NODE_ID, name, timeout_ms=0) == port  # ty: ignore[missing-attribute]


def test_ports_written_by_agents_are_kept(tmp_path):
    _raylet.persist_port(str(tmp_path), NODE_ID, "dashboard_agent_listen_port", -1)  # ty: ignore[missing-attribute]
    ports = {"dashboard_agent_listen_port": 52365, "runtime_env_agent_port": 6381}
    assert ray_node.write_missing_ports({"session_dir": str(tmp_path), "node_id": NODE_ID, **ports}) == [
        "runtime_env_agent_port"
    ]
    assert written(tmp_path) == {"dashboard_agent_listen_port": -1, "runtime_env_agent_port": 6381}


@pytest.mark.parametrize("unknown", [0, None])
def test_a_port_that_the_agent_chooses_is_left_to_it(tmp_path, unknown):
    ports = dict.fromkeys(NAMES, unknown)
    assert ray_node.write_missing_ports({"session_dir": str(tmp_path), "node_id": NODE_ID, **ports}) == []
    assert written(tmp_path) == {}


def test_the_raylet_starts_first(tmp_path, monkeypatch):
    waited = []

    class Timer:
        daemon = False

        def __init__(self, interval, function, args):
            self.start = lambda: waited.append((interval, self.daemon, function, args))

    replace(monkeypatch, ray_node, threading, Timer=Timer)
    start = ray_node.with_patience(start_raylet)
    assert start("redis", NODE_ID, str(tmp_path), metrics_export_port=8080) == f"raylet {NODE_ID}"
    [(interval, daemon, function, args)] = waited
    assert (interval, daemon) == (10, True)
    function(*args)
    assert written(tmp_path) == {"metrics_export_port": 8080}


def test_ray_is_as_this_program_expects():
    """A Ray that names, starts or waits otherwise needs this program to change, or no longer needs it at all."""
    parameters = inspect.signature(services.start_raylet).parameters
    assert {"session_dir", "node_id", *ray_node.PORTS} <= set(parameters)
    assert "ray._private.services.start_raylet(" in inspect.getsource(node), "it is called where it can be replaced"
    assert sorted(ray_node.PORTS.values()) == sorted(NAMES)
    assert "DASHBOARD_AGENT_LISTEN_PORT_NAME" in inspect.getsource(agent.DashboardAgent.run), "after its imports"
    raylet = Path(services.RAYLET_EXECUTABLE).read_bytes()
    assert b"WaitForDashboardAgentPorts" in raylet or b"Timed out waiting for file" in raylet
    assert b"RAY_agent_register_timeout_ms" in raylet or b"agent_register_timeout_ms" in raylet
