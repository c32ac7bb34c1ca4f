"""A Ray of its own on this host: one node that holds the head, Serve and all replicas.

Measured on two cores with Ray 2.60: 7 s to the dashboard's first answer, 0.7 GB (proportional set size).
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import httpx

from infra.providers.problem import Ended, Interrupted, Problem
from infra.providers.process import tail, wait_ready
from infra.providers.ray_ports import RayPorts, choose
from infra.providers.resource import Found, Resource, Task, Values, fingerprint
from infra.providers.session import Session

NODE = "127.0.0.2"
"""The node's address. Ray replaces 127.0.0.1 by an address that other hosts reach, and binds to it; every other
loopback address it leaves alone."""

LONGEST_STREAM_S = 7200
"""HAProxy lets the streams of a replaced configuration live for this long."""

READY_S = 300
"""A host that is busy with other work, or has read nothing from its disk yet, takes more than a minute to import Ray's
dashboard. By default Ray gives it one, and then goes on without: nothing can be deployed to such a Ray."""

STARTS = 3
"""Ray gives its node 30 s to register, which no setting changes: too few on a host that is very busy.
(`serving.ray_node` extends what it gives to the node's agents, which take most of the time.)"""

HEADERS_S = 10
"""For all of a request's headers, from when a connection is made: nobody holds one open by sending them slowly."""

STALLED_S = 60
"""A caller that neither sends what it announced nor reads what it is sent is hung up on. How long an engine takes does
not count."""

CHECK_S = 10
"""A gateway may take so long to answer HAProxy's health check. Without it a check has the time between two, 1 s, within
which a busy one does not; and after two such checks HAProxy sent its requests to the head, whose loss then took them
with it. Who refuses the connection is seen at once all the same."""

PROXY_CHECK_S = 30
"""Ray Serve's controller ends a HAProxy, and its streams, after three checks that took longer. By default that is 5 s,
10 s once it is up: too few where the head has just come back to a busy host."""

RETRY_ON = f"conn-failure\n    timeout http-request {HEADERS_S}s\n    timeout check {CHECK_S}s\n    option forwardfor"
"""Serve has no setting for three lines of HAProxy's defaults. This one it writes there as it stands, so it brings them:
what stands after its own default. `forwardfor` says from where a request came, which nobody can feign after it."""

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What Ray gets of our environment: no secret of the user's ends up in its processes."""

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
                task.say("Ray ended while it started: it is started again")
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

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self.create(new, task)[1]

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
        """Ray keeps its shared memory in files that are already unlinked: it goes with the processes."""
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
        # Ray opens its temporary folder to everybody: it lies inside one that is closed.
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
    # HAProxy takes 97 bytes for a socket's path, and Serve adds a folder of 57 to this one.
    haproxy = temp / "ha"
    http, grpc = inner.replicas_http, inner.replicas_grpc
    settings: dict[str, object] = {
        "TMPDIR": temp / "tmp",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": new["token_path"],
        "AUTOSCALER_METRIC_PORT": inner.autoscaler_metrics,
        "DASHBOARD_METRIC_PORT": inner.dashboard_metrics,
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": READY_S,
        # So long a part of the dashboard may take to import what it needs.
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": READY_S,
        # So long the node may try to reach an agent of its own, once `serving.ray_node` said where it will listen.
        "RAY_agent_register_timeout_ms": READY_S * 1000,
        # No workers waiting for tasks: Serve has actors only.
        "RAY_enable_worker_prestart": 0,
        # Nor does an idle worker stay: by default as many do as there are logical CPUs.
        "RAY_num_workers_soft_limit": 0,
        # Replicas serve people: by default Ray runs every worker at nice 15, behind its own dashboards.
        "RAY_worker_niceness": 0,
        # Ray's processes in C++ log as Serve's replicas do: a line is a JSON object.
        "RAY_BACKEND_LOG_JSON": 1,
        "RAY_SERVE_ENABLE_HA_PROXY": 1,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": 1,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": inner.fallback_http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": inner.fallback_grpc,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": http[1],
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": grpc[1],
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": haproxy / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": haproxy / "admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": haproxy / "metrics.sock",
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
    """Ray's dashboard answers before the part of it that deploys applications is there.

    Raises:
        Ended: Ray ended before, as it does where its node registers too late.
        Problem: it does not answer in time.
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
            raise Ended(f"Ray ended while it started; its log {log} says:{tail(log)}")
        if time.monotonic() > deadline:
            raise Problem(
                f"Ray's Serve API at {url} is not ready after {READY_S} s; it said last: {last}\n"
                f"Its log {log} says:{tail(log)}"
            )
        task.pause(0.2)
