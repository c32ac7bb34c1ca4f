"""What an engine replica books: its slots' time, its failures, and adapters that it does not serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from infra.layout import CHECKOUT
from monitoring.external import EXTERNAL
from serving.engines import replica as module
from serving.engines.replica import EngineReplica
from serving.telemetry import engines, holders
from serving.telemetry.exporter import Exporter


class Engine(ThreadingHTTPServer):
    """Says that it is well, and what it serves."""

    served: object = ["base", "tuned"]
    counts: bytes = b""
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
        elif self.path == "/metrics":
            self.server.asked = self.headers["Authorization"]
            body = self.server.counts
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


def replica(engine: Engine, model: str, *, prefix: str = "it:", adapters: Sequence[str] = ()) -> EngineReplica:
    url = f"http://127.0.0.1:{engine.server_port}"
    started = time.perf_counter()
    return EngineReplica("engine", model, prefix=prefix, url=url, key="k", slots=4, started=started, adapters=adapters)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_{name}", labels)


async def test_slots_are_busy_while_they_are_leased(engine: Engine) -> None:
    made = replica(engine, "slots")
    at = made._booked_at
    made.book(at + 10)
    assert value("engine_available_seconds_total", model="slots") == pytest.approx(40)
    assert value("engine_busy_seconds_total", model="slots") == 0
    leases = [made.lease("owner", "user") for _ in range(6)]
    made._booked_at = at + 20
    for lease in leases:
        await anext(lease)
    made._booked_at = at + 20
    before = value("engine_busy_seconds_total", model="slots")
    made.book(at + 30)  # two of six wait in the engine
    assert value("engine_busy_seconds_total", model="slots") == pytest.approx((before or 0) + 40)
    for lease in leases:
        await lease.aclose()  # ty: ignore[missing-attribute]
    assert value("engine_leases", model="slots") == 0


async def test_a_dead_engine_is_counted_once_and_has_no_slots(engine: Engine) -> None:
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


async def test_a_recovered_engine_is_not_counted_as_a_restart(engine: Engine) -> None:
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


COUNTS = b"""\
# HELP it:tokens_total Tokens\\n# HELP of which.
# TYPE it:tokens_total counter
it:tokens_total{model_name="a\\n# HELP \\"b"} 7
# TYPE it:tokens_created gauge
it:tokens_created{model_name="a"} 1.7e9
# HELP it:seconds Time.
# TYPE it:seconds histogram
it:seconds_bucket{le="0.1"} 1
it:seconds_bucket{le="+Inf"} 2
it:seconds_count 2
it:seconds_sum 0.75
# HELP it:most The most.
# TYPE it:most counter
it:most 3
# HELP process_cpu_seconds_total Its own.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12
"""
PID = str(os.getpid())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "FOLDER", str(tmp_path))
    return tmp_path


def shown(folder: Path) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What the exporter passes on, by sample; fails when a metric stands twice."""
    families = list(text_string_to_metric_families(Exporter(folder).render().decode()))
    assert len({family.name for family in families}) == len(families)
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_engine_metrics_are_exported(engine: Engine, folder: Path) -> None:
    engine.counts = COUNTS
    await replica(engine, "m").check_health()
    assert engine.asked == "Bearer k"
    own = (("model", "m"), ("pid", PID))
    assert shown(folder) == {
        "it:tokens_total": {(("model", "m"), ("model_name", 'a\n# HELP "b'), ("pid", PID)): 7},
        "it:seconds_bucket": {(("le", "0.1"), *own): 1, (("le", "+Inf"), *own): 2},
        "it:seconds_count": {own: 2},
        "it:seconds_sum": {own: 0.75},
        "it:most": {own: 3},
    }
    engine.counts = COUNTS.replace(b"} 7", b"} 9")
    await replica(engine, "m").check_health()
    assert list(shown(folder)["it:tokens_total"].values()) == [9]


async def test_replicas_of_one_node_share_each_metric_and_no_series(engine: Engine, folder: Path) -> None:
    engine.counts = COUNTS
    await replica(engine, "m").check_health()
    with subprocess.Popen(["sleep", "300"]) as other:  # noqa: ASYNC220
        said = (folder / f"{PID}{holders.ENGINE}").read_text()
        (folder / f"{other.pid}{holders.ENGINE}").write_text(said.replace(f'pid="{PID}"', f'pid="{other.pid}"'))
        pids = {PID, str(other.pid)}
        assert {dict(labels)["pid"] for labels in shown(folder)["it:seconds_count"]} == pids
        other.kill()
    assert {dict(labels)["pid"] for labels in shown(folder)["it:seconds_count"]} == {PID}
    assert [file.name for file in folder.glob(f"*{holders.ENGINE}")] == [f"{PID}{holders.ENGINE}"]


async def test_stale_or_failing_engine_metrics_are_not_exported(engine: Engine, folder: Path) -> None:
    engine.counts = COUNTS
    made = replica(engine, "m")
    await made.check_health()
    file = folder / f"{PID}{holders.ENGINE}"
    long_ago = time.time() - engines.STALE_S - 1
    os.utime(file, (long_ago, long_ago))
    assert shown(folder) == {}
    await made.check_health()
    assert shown(folder)
    engine.nonsense = True
    for _ in range(module.FAILURES):
        assert shown(folder), "one late answer is no end of a series"
        with pytest.raises(RuntimeError, match="does not answer"):
            await made.check_health()
    assert shown(folder) == {}
    assert not file.exists()


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xfe",
        b"it:a{ 1",
        b"it:a one",
        b'it:a{b="c} 1',
        b"{}",
        b"# TYPE\nit:a",
        b"# HELP\n",
        b"it:a " + b"9" * 400,
        b"it:a 1 " + b"9" * 400,
        b"it:a 1\n" * (engines.MAX_BYTES // 7 + 1),
        b"<html>" * 100,
        b"\0" * 100,
        b"",
    ],
    ids=lambda said: repr(said[:12]),
)
async def test_nonsense_is_not_passed_on_and_no_reason_to_replace_the_replica(
    engine: Engine, folder: Path, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    engine.counts = said
    made = replica(engine, "m")
    for _ in range(2):
        await made.check_health()
    assert shown(folder) == {}
    told = [r.getMessage() for r in caplog.records if r.name == "headrace.engines"]
    assert len(told) <= 1, "it is told once"
    assert all(line.startswith("the metrics of engine of m cannot be exported: ") for line in told)
    engine.counts = COUNTS
    await made.check_health()
    assert shown(folder)


async def test_a_folder_that_cannot_be_written_is_no_reason_to_replace_the_replica(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.counts = COUNTS
    monkeypatch.setattr(module, "FOLDER", str(folder / "gone"))
    await replica(engine, "m").check_health()
    assert shown(folder) == {}


async def test_all_that_rules_and_dashboards_want_of_vllm_is_passed_on(engine: Engine, folder: Path) -> None:
    file = CHECKOUT / "tests/unit/monitoring/samples/vllm.prom"
    engine.counts = file.read_bytes()
    await replica(engine, "m", prefix="vllm:").check_health()
    found = shown(folder)
    for series in (one for one in EXTERNAL.values() if one.source == "vllm" and one.name.startswith("vllm:")):
        for labels in found[series.name]:
            assert {name for name, _ in labels} == {*series.labels, "model", "pid"}, series.name


async def test_conflicting_labels_are_renamed(engine: Engine, folder: Path) -> None:
    engine.counts = b'# TYPE it:a gauge\nit:a{model="x",pid="1"} 1\nit:a{model="y",pid="1"} NaN\n'
    await replica(engine, "m").check_health()
    own = {"exported_pid": "1", "model": "m", "pid": PID}
    assert [dict(labels) for labels in shown(folder)["it:a"]] == [own | {"exported_model": n} for n in ("x", "y")]


async def test_carriage_returns_in_labels_are_escaped(engine: Engine, folder: Path) -> None:
    engine.counts = b'# TYPE it:a gauge\nit:a{b="c\rd"} 1\n'
    await replica(engine, "m").check_health()
    assert [dict(labels)["b"] for labels in shown(folder)["it:a"]] == ["c\rd"]
    assert b'b="c\rd"' in Exporter(folder).render()


@pytest.mark.parametrize("said", [b"nonsense", b"\xff", b"# HELP it:a A.", b"# HELP it:a A.\n# TYPE it:a gauge", b""])
async def test_a_broken_metrics_file_does_not_affect_others(engine: Engine, folder: Path, said: bytes) -> None:
    engine.counts = COUNTS
    await replica(engine, "m").check_health()
    whole = shown(folder)
    (folder / f"{os.getppid()}{holders.ENGINE}").write_bytes(said)
    assert shown(folder) == whole


async def test_metrics_files_belong_to_their_process_not_its_pid(folder: Path) -> None:
    file, begun = folder / f"{PID}{holders.ENGINE}", folder / f"{PID}{holders.ENGINE}.new"
    said = "# HELP it:a A.\n# TYPE it:a gauge\nit:a 1.0\n"
    file.write_text(said)
    held = holders.hold(folder)
    assert not file.exists(), "it is of an earlier process"
    file.write_text(said)
    begun.write_text(said)
    assert shown(folder) == {"it:a": {(): 1}}
    os.close(held)
    assert shown(folder) == {}
    assert list(folder.iterdir()) == []


def test_engines_are_requested_without_a_proxy(engine: Engine) -> None:
    code = "import sys\nfrom serving.engines.replica import OPENER\nOPENER.open(sys.argv[1], timeout=60).close()"
    env = {**os.environ, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    asked = [sys.executable, "-c", code, f"http://127.0.0.1:{engine.server_port}/health"]
    subprocess.run(asked, env=env, check=True, timeout=120)
