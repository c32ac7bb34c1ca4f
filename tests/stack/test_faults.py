"""Whatever dies, no request hangs, no cut-off stream looks complete, nothing acknowledged is lost.

A test kills processes of the session's own stack, under load, by their process ids, and sees the alerts that this must
fire. One of two gateways, or what comes back within seconds, fires none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest

from infra.config import StackConfig
from monitoring.alert_evidence import INJECTED
from tests.stack.burst import Burst
from tests.stack.kills import AGENT, kill_under_load
from tests.stack.watch import Watch
from tests.stacks.load import CHAT, Load, healed, nothing_lost
from tests.stacks.stack import own_stack
from tests.wait import eventually

LOCKED_S = 0.6
"""How long somebody else holds the database at a time: less than writers wait for it."""
LOOKED_S = 90
"""How long an alert may take whose state gateways look at every 30 s."""
REPLICAS = ["ray::ServeReplica:headrace:Gateway", "ray::ServeReplica:model-smollm2:smollm2"]
TOO_MANY = 40
"""Callers beyond the places that there are: the share of requests that is refused is far above what an alert allows."""


@pytest.mark.parametrize(
    ("titles", "alerts"),
    [
        (REPLICAS, INJECTED["the only replica of a model is killed"]),
        pytest.param(REPLICAS[:1], (), marks=pytest.mark.soak),
        pytest.param(REPLICAS[1:], INJECTED["the only replica of a model is killed"], marks=pytest.mark.soak),
        pytest.param(["ray::ServeReplica:headrace:Retrieval"], (), marks=pytest.mark.soak),
        pytest.param(["haproxy"], (), marks=pytest.mark.soak),
        pytest.param(["ray::ServeController"], (), marks=pytest.mark.soak),
        pytest.param(["ray::ProxyActor"], (), marks=pytest.mark.soak),
        pytest.param(["ray::HAProxyManager"], (), marks=pytest.mark.soak),
    ],
)
@pytest.mark.full
def test_serve_replaces_killed_processes(stack, watch, titles, alerts):
    load = kill_under_load(stack, watch, "ray", titles, alerts)
    assert healed(stack, 120), f"without {' and '.join(titles)} nothing works any more"
    assert load.problems == []
    nothing_lost(stack, load)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("record", "titles", "alerts"),
    [
        ("ray", ["gcs_server", AGENT], INJECTED["Ray's control service and its agent are killed"]),
        ("exporter", ["serving.telemetry.exporter"], INJECTED["the exporter is killed"]),
        ("ray", ["raylet/raylet", AGENT], INJECTED["Ray's control service and its agent are killed"]),
        ("ray", ["serving.ray_node"], ()),
        ("prometheus", ["prometheus"], ()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_up_restarts_killed_processes(stack, watch, record, titles, alerts):
    """test_end.py kills two of these as well, before an `up` that has other changes."""
    load = kill_under_load(stack, watch, record, titles, alerts)
    stack.run("up")
    assert healed(stack, 60)
    assert load.problems == []
    nothing_lost(stack, load)


@pytest.mark.full
def test_requests_over_the_capacity_are_refused(stack, watch):
    config = StackConfig(**{k: v for k, v in stack.settings().items() if k in ("gateway", "limits")})
    places = config.gateway.replicas * (config.limits.in_flight + config.limits.queue)
    alerts = INJECTED["more concurrent requests than are admitted"]
    watch.quiet(alerts)
    since = time.time()
    with Burst(stack, places + TOO_MANY) as burst:
        watch.fire(alerts, since)
    assert burst.problems == []
    assert burst.answered >= config.limits.in_flight
    assert burst.refused >= TOO_MANY
    assert healed(stack, 60)


@pytest.mark.soak
def test_a_slow_database_fires_its_alert(stack, watch):
    alerts = INJECTED["the database is locked repeatedly"]
    watch.quiet(alerts)
    since, stop = time.time(), threading.Event()

    def lock():
        with closing(sqlite3.connect(stack.layout.data / "headrace.db", timeout=30, isolation_level=None)) as database:
            while not stop.is_set():
                database.execute("BEGIN IMMEDIATE")
                time.sleep(LOCKED_S)
                database.execute("ROLLBACK")

    with Load(stack) as load, ThreadPoolExecutor() as pool:
        locking = pool.submit(lock)
        try:
            watch.fire(alerts, since)
        finally:
            stop.set()
        locking.result()
    assert load.problems == []
    nothing_lost(stack, load)


@pytest.mark.soak
def test_stalled_ingestion_fires_its_alert(stack, watch):
    """Background work is paused, as in a backup; a job is dated back by an hour instead of waiting for one."""
    alerts = INJECTED["ingestion is paused while a file waits for an hour"]
    watch.quiet(alerts)
    since = time.time()
    with closing(sqlite3.connect(stack.layout.data / "headrace.db", timeout=30, isolation_level=None)) as database:
        database.execute("INSERT INTO meta VALUES ('paused', ?)", (f"test {since + 300}",))
        try:
            with stack.client() as client:
                upload = {"files": {"file": ("note.md", b"# A note")}, "data": {"purpose": "assistants"}}
                file = client.post("/v1/files", **upload).raise_for_status().json()["id"]
                store = client.post("/v1/vector_stores", json={"name": "held"}).raise_for_status().json()["id"]
                path = f"/v1/vector_stores/{store}/files"
                client.post(path, json={"file_id": file}).raise_for_status()
                dated = database.execute(
                    "UPDATE jobs SET run_after = run_after - 3600 WHERE kind = 'ingest_file' AND status = 'queued'"
                )
                assert dated.rowcount >= 1
                watch.fire(alerts, since, LOOKED_S)
                database.execute("DELETE FROM meta WHERE key = 'paused'")
                eventually(lambda: client.get(f"{path}/{file}").json()["status"] == "completed", "it is ingested")
                client.delete(f"/v1/vector_stores/{store}").raise_for_status()
                client.delete(f"/v1/files/{file}").raise_for_status()
        finally:
            database.execute("DELETE FROM meta WHERE key = 'paused'")


@contextmanager
def small_disk(folder):
    """A disk of its own under a folder that is not there yet; what still holds it keeps it to its end."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own")
def test_a_full_disk_fires_its_alert(documents):
    alerts = INJECTED["the data folder's disk is filled"]
    brought = own_stack("test-disk", documents)
    data = brought.stack.layout.data
    with contextlib.ExitStack() as ended:
        disk = ended.enter_context(contextlib.ExitStack())
        disk.enter_context(small_disk(data))
        stack = ended.enter_context(brought)
        ended.push(disk.pop_all())  # is let go of before the stack is purged
        watch = Watch(stack)
        ended.callback(watch.close)
        watch.quiet(alerts)
        since = time.time()
        with (data / "filling").open("wb") as filling:
            os.posix_fallocate(filling.fileno(), 0, round(shutil.disk_usage(data).free * 0.98))
        watch.fire(alerts, since, LOOKED_S)
        (data / "filling").unlink()
        assert healed(stack, 60)


def leases(stack):
    """Returns the current number of leases, by the metrics of the running replicas."""
    port = stack.settings()["ports"]["exporter"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    return sum(float(x.rpartition(" ")[2]) for x in text.splitlines() if x.startswith("headrace_engine_leases{"))


def within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_disconnect_releases_the_lease_and_stops_generation(stack):
    assert within(20, lambda: leases(stack) == 0)
    long = CHAT | {"max_tokens": 1500}
    with stack.client() as client:
        for _ in range(3):
            with client.stream("POST", "/v1/chat/completions", json=long) as r:
                parts = r.iter_text()  # referenced until here, since a collected iterator would close the connection
                next(parts)
                assert leases(stack) == 1
            assert within(30, lambda: leases(stack) == 0), "a hang-up leaves its lease held"
        started = time.monotonic()
        done = client.post("/v1/chat/completions", json=CHAT | {"stream": False, "max_tokens": 8})
        assert done.status_code == 200
    assert time.monotonic() - started < 20, "the engine still works for callers who hung up"
