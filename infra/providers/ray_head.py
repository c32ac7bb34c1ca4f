"""A Ray of its own on this host: one node that holds the head, Serve and all replicas.

Measured on two cores with Ray 2.60: 7 s to the dashboard's first answer, 0.7 GB (proportional set size).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import httpx

from infra.providers.process import tail, wait_ready
from infra.providers.ray_ports import RayPorts, choose
from infra.providers.session import Session
from infra.resources.problem import Ended, Interrupted, Problem
from infra.resources.resource import Found, Resource, Task, Values, fingerprint

NODE = "127.0.0.2"
"""The node's address. Ray would replace 127.0.0.1 by an address that other hosts can reach; it keeps any other loopback
address."""

LONGEST_STREAM_S = 7200
"""How long HAProxy keeps the streams of a replaced configuration alive."""

READY_S = 300
"""How long Ray's dashboard may take to start. Importing it takes over a minute on a busy host or with a cold disk
cache. After its default of one minute, Ray would start without the dashboard, and nothing could be deployed."""

STARTS = 3
"""How often Ray is started before giving up. Its node must register within 30 s, a limit that no setting changes and
that a very busy host may miss. (`serving.ray_node` extends the limit for the node's agents, which take most of the
time.)"""

HEADERS_S = 10
"""Time limit for a request's headers after connecting, so that slow senders cannot hold connections open."""

STALLED_S = 60
"""After this long, HAProxy disconnects a caller that neither sends the rest of its request nor reads the response. Time
spent waiting for an engine does not count."""

CHECK_S = 10
"""Timeout of HAProxy's health checks of gateways. By default it is the interval between checks, 1 s, which a busy
gateway exceeds; after two failures HAProxy would send requests to the head, and they would be lost with it. A gateway
that refuses connections is still detected at once."""

PROXY_CHECK_S = 30
"""Timeout of Ray Serve's checks of HAProxy: after three that took longer, its controller kills HAProxy with all
streams. The defaults, 5 s at the start and 10 s later, are too short when the head has just restarted on a busy
host."""

RETRY_ON = f"conn-failure\n    timeout http-request {HEADERS_S}s\n    timeout check {CHECK_S}s\n    option forwardfor"
"""Value of Serve's `retry-on` setting, with three more lines for HAProxy's defaults, for which Serve has no settings:
Serve writes the value verbatim. `forwardfor` adds the caller's address, which callers therefore cannot forge."""

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""Environment variables that Ray inherits, and no others, so that the user's secrets do not reach its processes."""

HAPROXY = Path(__file__).parents[2] / "serving" / "loopback_haproxy.sh"
"""HAProxy with nothing but the API on addresses that other hosts can reach."""

STARTED_WITH = ("ray", "version", "cpus", "object_store_bytes", "temp", "token_path", "ports", "inner_base", "env")


class RayHead(Resource):
    """Inputs: `ray` (how Ray's command line is called), `version` (of it), `record` (folder), `log`, `temp` (a short
    folder of its own), `token_path`, `cpus`, `object_store_bytes`, `ports` (`dashboard` and those of the API, by
    configuration key), `dashboard_port`, `inner_base` (0: chosen), `env` (further variables).

    Outputs: `session` (this very run), `metrics_port`, `haproxy_metrics_port`.
    """

    replace_on = frozenset({"record", "temp"})
    computed = frozenset({"session", "metrics_port", "haproxy_metrics_port"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        session = Session(Path(new["record"]))
        digest = fingerprint({k: new.get(k) for k in STARTED_WITH})
        if not (session.alive and session.spec.get("fingerprint") == digest):
            self._end(session, new["temp"])
            self._start(session, new, digest)
        task.say("starting Ray")
        try:
            for start in range(1, STARTS + 1):
                try:
                    _wait(session, new, task)
                    break
                except Ended:
                    if start == STARTS:
                        raise
                task.say("Ray exited during its start; starting it again")
                self._end(session, new["temp"])
                self._start(session, new, digest)
        except Interrupted:
            raise
        except Problem:
            self._end(session, new["temp"])
            raise
        return new["record"], self._outputs(session, new)

    def read(self, id: str, old: Values) -> Found:
        session = Session(Path(id))
        if not session.alive:
            return Found()
        return Found(id, self._outputs(session, old))

    def delete(self, id: str, old: Values, task: Task) -> None:
        self._end(Session(Path(id)), old["temp"])

    def _outputs(self, session: Session, new: Values) -> Values:
        inner = RayPorts(int(session.spec["base"]))
        return {
            **new,
            "session": session.id,
            "metrics_port": inner.metrics,
            "haproxy_metrics_port": inner.haproxy_metrics,
        }

    def _start(self, session: Session, new: Values, digest: str) -> None:
        temp = Path(new["temp"])
        for folder in (temp, temp / "ha", temp / "tmp"):
            folder.mkdir(mode=0o700, exist_ok=True)
        inner = choose(int(new["inner_base"]), new["record"])
        session.start(
            _arguments(new, inner, temp),
            env=_environment(new, inner, temp),
            cwd=str(temp),
            log=Path(new["log"]),
            fingerprint=digest,
            notes={"base": str(inner.base)},
        )

    def _end(self, session: Session, temp: str) -> None:
        """Ends all processes. Ray's shared memory is in unlinked files, which disappear with them."""
        session.end(patience_s=5)
        shutil.rmtree(temp, ignore_errors=True)


def _arguments(new: Values, inner: RayPorts, temp: Path) -> list[str]:
    first, last = inner.workers
    return [
        *new["ray"],
        "start",
        "--head",
        "--block",
        f"--node-ip-address={NODE}",
        # Ray makes its temporary folder accessible to all users, so it is inside one that is not.
        f"--temp-dir={temp / 'ray'}",
        f"--num-cpus={new['cpus']}",
        f"--object-store-memory={new['object_store_bytes']}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={new['dashboard_port']}",
        f"--port={inner.gcs}",
        f"--node-manager-port={inner.node_manager}",
        f"--object-manager-port={inner.object_manager}",
        f"--ray-client-server-port={inner.client_server}",
        f"--dashboard-agent-listen-port={inner.agent_http}",
        f"--dashboard-agent-grpc-port={inner.agent_grpc}",
        f"--runtime-env-agent-port={inner.runtime_env}",
        f"--metrics-export-port={inner.metrics}",
        f"--min-worker-port={first}",
        f"--max-worker-port={last}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
        "--log-style=record",
        "--log-color=false",
    ]


def _environment(new: Values, inner: RayPorts, temp: Path) -> dict[str, str]:
    # HAProxy limits a socket's path to 97 bytes, and Serve appends 57 to this folder.
    haproxy = temp / "ha"
    http, grpc = inner.replicas_http, inner.replicas_grpc
    settings: dict[str, object] = {
        "TMPDIR": temp / "tmp",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": new["token_path"],
        "AUTOSCALER_METRIC_PORT": inner.autoscaler_metrics,
        "DASHBOARD_METRIC_PORT": inner.dashboard_metrics,
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": READY_S,
        # Time limit for each part of the dashboard to import its modules.
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": READY_S,
        # Time limit for the node to reach its own agents, once `serving.ray_node` has told it their ports.
        "RAY_agent_register_timeout_ms": READY_S * 1000,
        # No workers waiting for tasks: Serve has actors only.
        "RAY_enable_worker_prestart": 0,
        # No idle workers are kept; by default, Ray keeps one per logical CPU.
        "RAY_num_workers_soft_limit": 0,
        # Replicas serve users: by default, Ray runs workers at nice 15, with less priority than its own dashboard.
        "RAY_worker_niceness": 0,
        # Ray's C++ processes write JSON lines, as Serve's replicas do.
        "RAY_BACKEND_LOG_JSON": 1,
        "RAY_SERVE_ENABLE_HA_PROXY": 1,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": 1,
        # Else HAProxy sends a line for each request to Python, which takes 5 % of a short stream's processor time, to
        # count what the gateways and HAProxy's own exporter count too.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": 0,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": inner.fallback_http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": inner.fallback_grpc,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": http[1],
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": grpc[1],
        # What Ray and HAProxy show without a key stays on loopback, see `serving.ray_node` and `loopback_haproxy`.
        "HEADRACE_METRICS_ON_LOOPBACK": 1,
        "HEADRACE_PYTHON": sys.executable,
        "RAY_SERVE_HAPROXY_BINARY_PATH": HAPROXY,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": haproxy / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": haproxy / "admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": haproxy,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": haproxy / "server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": inner.haproxy_metrics,
        "RAY_SERVE_HAPROXY_STATS_PORT": inner.haproxy_stats,
        "RAY_SERVE_HAPROXY_NBTHREAD": 1,
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": LONGEST_STREAM_S,
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": STALLED_S,
        "RAY_SERVE_HAPROXY_RETRY_ON": RETRY_ON,
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": PROXY_CHECK_S,
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": PROXY_CHECK_S,
    }
    inherited = {k: os.environ[k] for k in INHERITED if k in os.environ}
    return {**inherited, **{k: str(v) for k, v in settings.items()}, **new.get("env", {})}


def _wait(session: Session, new: Values, task: Task) -> None:
    url = f"http://127.0.0.1:{new['dashboard_port']}/api/version"
    wait_ready(session, url, Path(new["log"]), task, name="Ray", seconds=READY_S)
    _wait_serve_api(session, new, task)


def _wait_serve_api(session: Session, new: Values, task: Task) -> None:
    """Waits for the part of Ray's dashboard that deploys applications, which starts after the dashboard answers.

    Raises:
        Ended: Ray exited, as it does when its node registers too late.
        Problem: It does not answer in time.
    """
    url = f"http://127.0.0.1:{new['dashboard_port']}/api/serve/applications/"
    headers = {"Authorization": f"Bearer {Path(new['token_path']).read_text()}"}
    log = Path(new["log"])
    deadline = time.monotonic() + READY_S
    while True:
        try:
            answer = httpx.get(url, headers=headers, timeout=30, trust_env=False)
            if answer.status_code == 200:
                return
            last = f"{answer.status_code} {answer.text.strip()[-300:]}"
        except httpx.HTTPError as error:
            last = f"{type(error).__name__} {error}"
        if not session.alive:
            raise Ended(f"Ray exited during its start; its log {log} says:{tail(log)}")
        if time.monotonic() > deadline:
            raise Problem(
                f"Ray's Serve API at {url} is not ready after {READY_S} s; its last answer: {last}\n"
                f"Its log {log} says:{tail(log)}"
            )
        task.pause(0.2)
