"""What an engine replica books: its slots' time, its failures, and adapters that it does not serve."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import REGISTRY

from serving.engines.replica import EngineReplica


class Engine(ThreadingHTTPServer):
    """Says that it is well, and what it serves."""

    served: object = ["base", "tuned"]
    asked: str | None = None
    nonsense = False  # is all it says


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        if self.server.nonsense:
            self.wfile.write(b"nonsense\r\n")
            return
        if self.path == "/health":
            body = b""
        else:
            self.server.asked = self.headers["Authorization"]
            served = self.server.served
            body = json.dumps({"data": [{"id": n} for n in served]} if isinstance(served, list) else served).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def engine() -> Iterator[Engine]:
    server = Engine(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def replica(engine: Engine, model: str, **more: object) -> EngineReplica:
    url = f"http://127.0.0.1:{engine.server_port}"
    return EngineReplica("engine", model, url=url, key="k", slots=4, started=time.perf_counter(), **more)  # type: ignore[arg-type]


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_{name}", labels)


async def test_slots_are_busy_while_they_are_leased(engine: Engine) -> None:
    made = replica(engine, "slots")
    at = made._booked_at
    made.book(at + 10)
    assert value("engine_available_seconds_total", model="slots") == pytest.approx(40)
    assert value("engine_busy_seconds_total", model="slots") == 0
    leases = [made.lease() for _ in range(6)]
    made._booked_at = at + 20
    for lease in leases:
        await anext(lease)
    made._booked_at = at + 20
    before = value("engine_busy_seconds_total", model="slots")
    made.book(at + 30)  # two of six wait in the engine
    assert value("engine_busy_seconds_total", model="slots") == pytest.approx((before or 0) + 40)
    for lease in leases:
        await lease.aclose()
    assert value("engine_leases", model="slots") == 0


async def test_an_engine_that_is_gone_is_counted_once_after_three_checks_and_has_no_slots(engine: Engine) -> None:
    made = replica(engine, "gone")
    await made.check_health()
    engine.shutdown()
    engine.server_close()
    available = value("engine_available_seconds_total", model="gone")
    for counted in (0, 0, 1, 1):
        with pytest.raises(RuntimeError, match="does not answer"):
            await made.check_health()
        assert value("engine_restarts_total", model="gone") == counted
        assert value("engine_up", model="gone") == 0
    made.book(made._booked_at + 100)
    assert value("engine_available_seconds_total", model="gone") == available


async def test_an_engine_that_comes_back_is_no_restart(engine: Engine) -> None:
    made = replica(engine, "back")
    for _ in range(2):
        engine.nonsense = True
        for _ in range(2):
            with pytest.raises(RuntimeError, match="does not answer: nonsense"):
                await made.check_health()
        assert value("engine_up", model="back") == 0
        engine.nonsense = False
        await made.check_health()
        assert value("engine_up", model="back") == 1
    assert value("engine_restarts_total", model="back") == 0


async def test_an_adapter_that_is_not_served_is_missing(engine: Engine) -> None:
    made = replica(engine, "base", adapters=["tuned", "lost"])
    await made.check_health()
    assert engine.asked == "Bearer k"
    assert value("adapter_missing", model="base", adapter="tuned") == 0
    assert value("adapter_missing", model="base", adapter="lost") == 1
    engine.served = ["base", "lost"]
    await made.check_health()
    assert value("adapter_missing", model="base", adapter="tuned") == 1
    assert value("adapter_missing", model="base", adapter="lost") == 0
    engine.served = "nonsense"
    await made.check_health()  # is no reason to replace the replica
    assert value("adapter_missing", model="base", adapter="tuned") == 1
