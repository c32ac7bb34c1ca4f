"""What this process writes is what `prometheus-client` would have written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from serving.telemetry import metrics

WRITES = """
import sys, time
from prometheus_client import Counter, Gauge, Histogram, values
if sys.argv[1] == "ours":
    from serving.telemetry.metrics import child
else:
    values.ValueClass = values.MultiProcessValue()
    child = lambda metric, *labels: metric.labels(*labels)
time.time = lambda: 5.0
plain = Counter("a_plain", "Without labels.")
early = Counter("a_counter", "It grows: é, \\"quoted\\".", ["model", "tenant"])
early = child(early, "m", "t\\n")
early.inc()
plain.inc(0.5)
for mode in ("livesum", "livemax", "livemostrecent", "all"):
    gauge = Gauge(f"a_{mode}", "It goes up and down.", ["of"], multiprocess_mode=mode).labels("x")
    gauge.set(-2.5)
    if mode != "livemostrecent":
        gauge.inc(3)
        gauge.dec()
seconds = Histogram("some_seconds", "It is spread.", ["route"], buckets=(0.1, 1, 10))
for amount in (0, 0.1, 0.100001, 1, 9.99, 10, 11, float("inf"), -1):
    child(seconds, "/v1/models").observe(amount)
many = Counter("a_wide_one", "Its file grows, and is mapped anew.", ["n"])
for n in range(1500):
    child(many, str(n)).inc(n)
early.inc(2)  # by the mapping of before
"""
"""What both classes are asked to write."""

COUNTS = """
import threading
from serving.telemetry import metrics
series, seconds = metrics.child(metrics.requests_started, "/v1/models"), metrics.child(metrics.feedback_seconds, "ok")
print("begun", flush=True)
def count():
    for _ in range(20_000):
        series.inc()
        seconds.observe(0.01)
threads = [threading.Thread(target=count) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def environment(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}


def values_of(files: list[Path]) -> dict[str, float]:
    from prometheus_client.mmap_dict import MmapedDict

    return {key: value for file in files for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))}


def test_files_are_those_of_the_library_byte_for_byte(tmp_path):
    found = {}
    for whose in ("ours", "theirs"):
        env = environment(tmp_path / whose)
        subprocess.run([sys.executable, "-c", WRITES, whose], env=env, check=True)
        found[whose] = {file.name.rpartition("_")[0]: file.read_bytes() for file in (tmp_path / whose).glob("*.db")}
    # Ours has the catalogue's own series too: they stand before these.
    for kind, written in found["theirs"].items():
        used = struct.unpack_from("i", written)[0]
        assert used > 8
        assert written[8:used] in found["ours"][kind], kind
    assert len(found["theirs"]["counter"]) > 1 << 16


def test_concurrent_writes_are_lossless_and_untorn(tmp_path):
    env = environment(tmp_path / "files")
    with subprocess.Popen([sys.executable, "-c", COUNTS], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        [counters] = (tmp_path / "files").glob("counter_*.db")
        [key] = (key for key in values_of([counters]) if "requests_started" in key and "/v1/models" in key)
        seen = [0.0]
        while process.poll() is None:
            seen.append(values_of([counters])[key])
    assert process.returncode == 0
    assert seen == sorted(seen)
    ended = values_of(list((tmp_path / "files").glob("*.db")))
    started = [value for key, value in ended.items() if "requests_started" in key and "/v1/models" in key]
    observed = [value for key, value in ended.items() if "feedback" in key and '"ok"' in key and value]
    assert started == [160_000]
    assert sorted(observed) == [pytest.approx(1600), 160_000]


def test_a_counter_only_grows():
    with pytest.raises(ValueError, match="only grows"):
        metrics.child(metrics.jobs, "ingest", "ok").inc(-1)


def test_a_series_needs_its_labels():
    with pytest.raises(ValueError, match="missing label values"):
        metrics.jobs.inc()
    with pytest.raises(ValueError, match="missing label values"):
        metrics.feedback_seconds.observe(1)
