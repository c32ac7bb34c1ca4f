"""The problems of all hosts, of which one is reached and one is not."""

from __future__ import annotations

from typing import Any

from infra.onprem.preflight import mistakes
from infra.onprem_config import OnPrem


def test_all_problems_of_all_hosts_are_one_list(server: Any, closed_port: int) -> None:
    one = {"host_key": server.address.host_key, "key_file": server.address.key_file}
    hosts = [
        {"name": "h1", "address": "127.0.0.1", "port": server.port, "role": "control_plane", **one},
        {"name": "h2", "address": "127.0.0.1", "port": closed_port, **one},
    ]
    words = mistakes(OnPrem.model_validate({"hosts": hosts, "bundle": "/absent"}), "s")
    assert {m.key for m in words} == {"onprem.bundle", "onprem.hosts[0]", "onprem.hosts[1]"}
    assert all(m.problem.startswith("h1: ") for m in words if m.key == "onprem.hosts[0]")
    [unreachable] = [m for m in words if m.key == "onprem.hosts[1]"]
    assert "cannot reach" in unreachable.problem
    assert unreachable.fix.startswith("is it on")
