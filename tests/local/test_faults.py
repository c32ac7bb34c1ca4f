"""Whatever dies, no request hangs, no cut-off stream looks complete, nothing acknowledged is lost.

Each test kills one kind of process of the session's own stack, under load, by its process id, and sees the alerts that
this must fire. One of two gateways, or what comes back within seconds, fires none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from infra.config import StackConfig
from infra.providers.session import Session
from infra.targets.preflight import RECORDS
from monitoring.shown import INJECTED
from tests.load import CHAT, Load, healed, nothing_lost
from tests.local.burst import Burst
from tests.local.watch import Watch
from tests.stack import own_stack
from tests.wait import eventually

AGENT = "ray::DashboardAgent"
"""Gives Prometheus Ray's metrics, and goes on with that for a minute after Ray has ended: no test waits for it."""
GOES_ON_S = 4
"""How long the load goes on after a kill, at least."""
LOCKED_S = 0.6
"""How long somebody else holds the database at a time: less than writers wait for it."""
LOOKED_S = 90
"""How long an alert may take whose state gateways look at every 30 s."""
TOO_MANY = 40
"""Callers beyond the places that there are: the share of requests that is refused is far above what an alert allows."""


def named(stack, record, title):
    """Process ids of one recorded session whose title begins with `title`."""
    found = []
    for member in Session(stack.layout.record(record)).members():
        try:
            command = Path(f"/proc/{member.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if title in command:
            found.append(member.pid)
    return found


def kill_under_load(stack, watch, record, titles, alerts):
    """Kills one process of each title, and waits until `alerts` have fired for that."""
    pids = {title: named(stack, record, title) for title in titles}
    assert all(pids.values()), f"there is no {' or no '.join(title for title in titles if not pids[title])}"
    with Load(stack) as load:
        deadline = time.monotonic() + 120
        while load.complete < 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert load.complete, "the load does not work"
        watch.quiet(alerts)
        since, until = time.time(), time.monotonic() + GOES_ON_S
        for pid, *_ in pids.values():
            os.kill(pid, signal.SIGKILL)
        watch.fire(alerts, since)
        time.sleep(max(0, until - time.monotonic()))
    return load


@pytest.mark.parametrize(
    ("title", "alerts"),
    [
        ("ray::ServeReplica:headrace:Gateway", ()),
        ("ray::ServeReplica:model-smollm2:Model", INJECTED["the only replica of a model is killed"]),
        pytest.param("ray::ServeReplica:headrace:Retrieval", (), marks=pytest.mark.soak),
        pytest.param("haproxy", (), marks=pytest.mark.soak),
        pytest.param("ray::ServeController", (), marks=pytest.mark.soak),
        pytest.param("ray::ProxyActor", (), marks=pytest.mark.soak),
        pytest.param("ray::HAProxyManager", (), marks=pytest.mark.soak),
    ],
)
def test_serve_heals_itself(stack, watch, title, alerts):
    load = kill_under_load(stack, watch, "ray", [title], alerts)
    assert healed(stack, 120), f"without a {title} nothing works any more"
    assert load.problems == []
    nothing_lost(stack, load)


@pytest.mark.parametrize(
    ("record", "titles", "alerts"),
    [
        ("ray", ["gcs_server", AGENT], INJECTED["Ray's control service and its agent are killed"]),
        ("exporter", ["serving.telemetry.exporter"], INJECTED["the exporter is killed"]),
        pytest.param("status", ["monitoring.status"], (), marks=pytest.mark.soak),
        pytest.param(
            "ray",
            ["raylet/raylet", AGENT],
            INJECTED["Ray's control service and its agent are killed"],
            marks=pytest.mark.soak,
        ),
        pytest.param("ray", ["ray start"], (), marks=pytest.mark.soak),
        pytest.param("prometheus", ["prometheus"], (), marks=pytest.mark.soak),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_up_heals_the_rest(stack, watch, record, titles, alerts):
    load = kill_under_load(stack, watch, record, titles, alerts)
    stack.run("up")
    assert healed(stack, 60)
    assert load.problems == []
    nothing_lost(stack, load)


def test_more_requests_than_places_are_refused(stack, watch):
    config = StackConfig(**{k: v for k, v in stack.settings().items() if k in ("gateway", "limits")})
    places = config.gateway.replicas * (config.limits.in_flight + config.limits.queue)
    alerts = INJECTED["more callers than places"]
    watch.quiet(alerts)
    since = time.time()
    with Burst(stack, places + TOO_MANY) as burst:
        watch.fire(alerts, since)
    assert burst.problems == []
    assert burst.answered >= config.limits.in_flight
    assert burst.refused >= TOO_MANY
    assert healed(stack, 60)


@pytest.mark.soak
def test_a_slow_database_is_told(stack, watch):
    alerts = INJECTED["the database is locked again and again"]
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
def test_ingestion_that_does_not_go_on_is_told(stack, watch):
    """Background work is paused, as a backup does; instead of an hour's wait a job is dated back by one."""
    alerts = INJECTED["ingestion is held, and a file has waited for an hour"]
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
def test_a_disk_that_fills_is_told(documents):
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
    """Leases held now, by the metrics of the running replicas."""
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


def test_a_hang_up_frees_the_lease_and_stops_the_engine(stack):
    assert within(20, lambda: leases(stack) == 0)
    long = CHAT | {"max_tokens": 1500}
    with stack.client() as client:
        for _ in range(3):
            with client.stream("POST", "/v1/chat/completions", json=long) as r:
                parts = r.iter_text()  # kept: dropping the iterator would already hang up
                next(parts)
                assert leases(stack) == 1
            assert within(30, lambda: leases(stack) == 0), "a hang-up leaves its lease held"
        started = time.monotonic()
        done = client.post("/v1/chat/completions", json=CHAT | {"stream": False, "max_tokens": 8})
        assert done.status_code == 200
    assert time.monotonic() - started < 20, "the engine still works for callers who hung up"


def test_what_listens_beyond_loopback_is_known(stack):
    """Everything that binds all interfaces is Ray's, authenticated by token, or on the short list with a reason."""
    known = {
        "haproxy": "its metrics and statistics bind every interface unconditionally; they show no content",
        "python": "Ray's client server (`ray.util.client.server`) and autoscaler monitor: token or numbers only",
        "gcs_server": "gRPC with Ray's token",
        "raylet": "gRPC with Ray's token",
        "ray::": "gRPC with Ray's token, or Ray's own metrics",
        "ray-dashboard": "gRPC with Ray's token",
    }
    members = {m.pid for r in RECORDS for m in Session(stack.layout.record(r)).members()}
    inodes = {}
    for pid in members:
        try:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                link = str(fd.readlink())
                if link.startswith("socket:["):
                    inodes[link[8:-1]] = pid
        except OSError:
            continue
    ours = {int(p) for p in stack.settings()["ports"].values()}
    beyond = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] != "0A" or fields[9] not in inodes:
                continue
            if address in ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"):
                continue
            try:
                name = Path(f"/proc/{inodes[fields[9]]}/comm").read_text().strip()
            except OSError:  # it has ended since
                continue
            assert int(port, 16) not in ours, f"{name} offers one of our ports beyond loopback"
            beyond.append(name)
    assert beyond
    unknown = [n for n in beyond if not n.startswith(tuple(known))]
    assert unknown == []


def test_rays_ports_refuse_whoever_has_no_token(stack):
    dashboard = stack.settings()["ports"]["dashboard"]
    url = f"http://127.0.0.1:{dashboard}/api/serve/applications/"
    assert httpx.get(url, timeout=30).status_code in (401, 403)
    assert httpx.put(url, json={"applications": []}, timeout=30).status_code in (401, 403)
    wrong = {"Authorization": "Bearer " + "0" * 64}
    assert httpx.put(url, json={"applications": []}, headers=wrong, timeout=30).status_code in (401, 403)
    jobs = f"http://127.0.0.1:{dashboard}/api/jobs/"
    assert httpx.post(jobs, json={"entrypoint": "true"}, timeout=30).status_code in (401, 403)
