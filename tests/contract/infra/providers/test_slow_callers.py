"""Nobody holds HAProxy's connections: a real one, with the configuration that Ray Serve writes for a stack's settings.

It takes some seconds: time limits are what is tested, though shorter ones than a stack's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from infra.providers.ray_head import HEADERS_S, STALLED_S, _environment
from infra.providers.ray_ports import RayPorts
from tests.stacks.ports import reserve
from tests.wait import eventually

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[4]
HEADERS, STALLED = 1, 2
"""Seconds, instead of `HEADERS_S` and `STALLED_S`."""
INTERVAL = 1
"""Seconds between HAProxy's health checks."""

RENDER = """
import sys
from ray.serve.config import HTTPOptions
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig

file, port, replica = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
config = HAProxyConfig(http_options=HTTPOptions(host="127.0.0.1", port=port), has_received_routes=True, is_head=True)
servers = [ServerConfig("replica", "127.0.0.1", replica)]
backend = BackendConfig(name="headrace", path_prefix="/", app_name="headrace", servers=servers)
HAProxyApi(config, {"headrace": backend}, file)._generate_config_file_internal()
"""


class Proxy(NamedTuple):
    """An HAProxy, by its ports and its process."""

    port: int
    metrics: int
    stats: int
    pid: int


class Replica(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    broken = threading.Event()  # an answer that nobody read
    busy = threading.Event()
    checked = threading.Semaphore(0)

    def do_GET(self) -> None:
        if self.path == "/-/healthz" and self.busy.is_set():
            time.sleep(2 * INTERVAL)
            self.checked.release()
        if self.path == "/slow":
            time.sleep(2 * STALLED)
        said = ",".join(self.headers.get_all("X-Forwarded-For") or ()).encode()
        self.send_response(200)
        if self.path == "/stream":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(1.5 * STALLED)
            return
        size = 200_000_000 if self.path == "/large" else len(said)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        try:
            self.wfile.write(bytes(size) if self.path == "/large" else said)
        except OSError:
            Replica.broken.set()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("ha")
    at, metrics, stats = reserve(3)
    given = {"token_path": str(folder), "env": {}}
    environment = _environment(given, RayPorts(11_000), folder)
    assert environment["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == str(STALLED_S)
    retry_on = environment["RAY_SERVE_HAPROXY_RETRY_ON"]
    environment |= {
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(STALLED),
        "RAY_SERVE_HAPROXY_RETRY_ON": retry_on.replace(f"http-request {HEADERS_S}s", f"http-request {HEADERS}s"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/a",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/m",
    }
    (folder / "ha").mkdir()
    (folder / "ha/server-state").write_text("")
    file = str(folder / "ha/haproxy.cfg")
    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        rendering = [sys.executable, "-c", RENDER, file, str(at), str(server.server_port)]
        subprocess.run(rendering, check=True, env={**os.environ, **environment}, cwd=folder, capture_output=True)
        program = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
        process = subprocess.Popen([program, "-db", "-f", file], env={**os.environ, **environment}, cwd=ROOT)
        eventually(lambda: answers(at), "HAProxy answers")
        yield Proxy(at, metrics, stats, process.pid)
        process.kill()
        process.wait()
        server.shutdown()


@pytest.fixture
def port(proxy: Proxy) -> int:
    return proxy.port


def answers(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/")[0] == 200
    return False


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def dripping(port: int) -> bytes:
    """Sends headers byte by byte; returns what comes before the connection is closed, nothing while it stays open."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(HEADERS / 4)
        with suppress(OSError):
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for _ in range(12 * 4 * HEADERS):
                s.sendall(b"a")
                with suppress(TimeoutError):
                    return s.recv(4096)
    return b""


def stalled(port: int, request: bytes) -> bytes:
    """Sends a request and then nothing; returns what comes until the connection is closed."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(request)
        with suppress(ConnectionError):
            while piece := s.recv(65536):
                said += piece
    return said


def unread(port: int) -> bool:
    """Asks for much and reads nothing; whether the replica is told that nobody reads."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        return Replica.broken.wait(60)


def test_slow_callers_are_disconnected_but_slow_models_are_not(port: int) -> None:
    """All at once: sixty that send headers slowly, one that sends nothing, half a body or reads nothing; and models
    whose first word, or next, takes longer than any of these may."""
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    with ThreadPoolExecutor(80) as pool:
        slow, stream = pool.submit(get, port, "/slow"), pool.submit(get, port, "/stream")
        silent, half, large = (
            pool.submit(stalled, port, b""),
            pool.submit(stalled, port, body),
            pool.submit(unread, port),
        )
        dripped = list(pool.map(dripping, [port] * 60))
    assert [answer[:12] for answer in dripped] == [b"HTTP/1.1 408"] * 60
    assert silent.result()[:12] == b"HTTP/1.1 408"
    assert half.result()[:10] == b"HTTP/1.1 4"
    assert large.result()
    assert slow.result()[0] == 200
    assert stream.result() == (200, b"ab")


def test_the_replica_learns_where_a_request_came_from(port: int) -> None:
    """After what the caller pretends."""
    assert get(port, "/", **{"X-Forwarded-For": "203.0.113.7"}) == (200, b"203.0.113.7,127.0.0.1")


def test_busy_replicas_are_not_considered_dead(port: int) -> None:
    """Two checks in a row that take longer than the time between checks; HAProxy has nobody else to ask here."""
    Replica.busy.set()
    try:
        for _ in range(2):
            assert Replica.checked.acquire(timeout=60)
            assert get(port, "/")[0] == 200
    finally:
        Replica.busy.clear()


def test_metrics_and_statistics_are_on_loopback(proxy: Proxy) -> None:
    listening = {
        each.laddr.port: each.laddr.ip
        for each in psutil.Process(proxy.pid).net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening == dict.fromkeys((proxy.port, proxy.metrics, proxy.stats), "127.0.0.1")
    assert b"haproxy_frontend_http_requests_total" in get(proxy.metrics, "/metrics")[1]
    assert get(proxy.stats, "/stats")[0] == 200
    assert any(each.endswith("/haproxy.cfg") for each in psutil.Process(proxy.pid).cmdline()), "by which Serve knows it"


def test_the_gateway_answers_for_the_routes_that_serve_would_tell(port: int) -> None:
    assert get(port, "/-/routes") == (200, b"127.0.0.1")  # as the replica does to any path
    assert get(port, "/-/healthz")[0] == 200
