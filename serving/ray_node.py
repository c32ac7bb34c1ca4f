"""`ray start`, for hosts on which the agents of a Ray node take longer to start than Ray allows them.

Beside its raylet, a Ray node has a dashboard agent and a runtime environment agent. Each writes the ports it listens on
into files of the session's folder, and the raylet ends itself when it has waited 15 s for one of them. No setting
changes that (https://github.com/ray-project/ray/issues/65983, Ray 2.60). On two busy cores an agent takes 24 s to
import what it needs; the whole node then ends and starts again, as late as before.

This program is Ray's command line with one difference: 10 s after the raylet's start it writes each file that is still
missing, with the port that the command line gives to the agent, which is where the agent will listen. The raylet goes
on, connects to its agents as they come up, and ends itself only if one of them ends. An agent without a port on the
command line is left to Ray.

    python -m serving.ray_node start --head --block --dashboard-agent-listen-port=52365 ...

`RAY_agent_register_timeout_ms` bounds how long the raylet then tries to reach the runtime environment agent.

With `HEADRACE_METRICS_ON_LOOPBACK=1`, for a Ray on one host, only this host can read Ray's metrics: the parts of Ray
that serve some are started by `serving.loopback_metrics`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray._private import ray_constants, services
from ray.scripts import scripts

_raylet: Any = importlib.import_module("ray._raylet")
"""It is compiled, and its stub leaves out what is used here."""

_LOOPBACK = Path(__file__).with_name("loopback_metrics.py")

WAIT_S = 10.0
"""How long the agents have to write their files themselves. The raylet waits for 15 s, and starts to count later."""

PORTS = {
    "metrics_agent_port": _raylet.METRICS_AGENT_PORT_NAME,
    "metrics_export_port": _raylet.METRICS_EXPORT_PORT_NAME,
    "dashboard_agent_listen_port": _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
    "runtime_env_agent_port": _raylet.RUNTIME_ENV_AGENT_PORT_NAME,
}
"""Parameters of Ray's `start_raylet` that hold an agent's port, and the name of that port's file."""


def write_missing_ports(node: Mapping[str, Any]) -> list[str]:
    """Write the files of ports that are known and that no agent has written.

    Args:
        node: What `start_raylet` was called with: `session_dir`, `node_id`, and the ports (0 or None: unknown).

    Returns:
        The names of the ports that were written.
    """
    folder, identifier = str(node["session_dir"]), str(node["node_id"])
    written = []
    for parameter, name in PORTS.items():
        port = int(node.get(parameter) or 0)
        if port and not (Path(folder) / _raylet.get_port_filename(identifier, name)).exists():
            _raylet.persist_port(folder, identifier, name, port)
            written.append(name)
    return written


def with_patience(start_raylet: Callable[..., Any], wait_s: float = WAIT_S) -> Callable[..., Any]:
    """Ray's `start_raylet`, after which `write_missing_ports` runs once, `wait_s` later, in a thread."""
    signature = inspect.signature(start_raylet)

    @functools.wraps(start_raylet)
    def start(*args: Any, **kwargs: Any) -> Any:
        node = signature.bind(*args, **kwargs).arguments
        started = start_raylet(*args, **kwargs)
        timer = threading.Timer(wait_s, write_missing_ports, [node])
        timer.daemon = True
        timer.start()
        return started

    return start


def keep_metrics_on_loopback() -> None:
    """Has Ray start its dashboard, its agent and its autoscaler by `serving.loopback_metrics`."""
    build: Any = services._build_python_executable_command_memory_profileable
    start = services.start_ray_process
    served = (ray_constants.PROCESS_TYPE_DASHBOARD, ray_constants.PROCESS_TYPE_DASHBOARD_AGENT)

    @functools.wraps(build)
    def build_on_loopback(component: str, *args: Any, **kwargs: Any) -> list[str]:
        interpreter: list[str] = build(component, *args, **kwargs)  # and after it the part's own script
        return [*interpreter, str(_LOOPBACK)] if component in served else interpreter

    @functools.wraps(start)
    def start_on_loopback(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_MONITOR:
            script = next(n for n, word in enumerate(command) if word.endswith(".py"))
            command = [*command[:script], str(_LOOPBACK), *command[script:]]
        return start(command, process_type, *args, **kwargs)

    services._build_python_executable_command_memory_profileable = build_on_loopback
    services.start_ray_process = start_on_loopback


def main() -> None:
    services.start_raylet = with_patience(services.start_raylet)
    if os.environ.get("HEADRACE_METRICS_ON_LOOPBACK") == "1":
        keep_metrics_on_loopback()
    scripts.cli(prog_name="ray")


if __name__ == "__main__":
    main()
