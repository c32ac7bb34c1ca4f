"""What the catalogue lists is what is emitted; what several processes see alike counts once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from serving.telemetry import metrics
from serving.telemetry.catalogue import CATALOGUE, ELSEWHERE, JUDGED_ANSWERS, STAGES
from serving.telemetry.exporter import Exporter
from serving.telemetry.timeline import Timeline

LAZY = (metrics.in_flight, metrics.disk_free_bytes, metrics.disk_size_bytes, metrics.backup_age_seconds)
KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


def test_metrics_match_the_catalogue():
    found = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
    made = {each.describe()[0].name: each for each in (*found, *(make() for make in LAZY))}
    assert len(made) == len(CATALOGUE)
    for metric in CATALOGUE:
        one = made[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert isinstance(one, KINDS[metric.kind])
        assert one._labelnames == metric.labels


def test_units_match_metric_names():
    units = {m.name: m.unit for m in CATALOGUE}
    assert units["headrace_tenant_cost_total"] == units["headrace_engine_price"] == "currency"
    assert units["headrace_engine_busy_seconds_total"] == "seconds"
    assert units["headrace_quota_used_ratio"] == "ratio"
    assert units["headrace_disk_free_bytes"] == "bytes"


@pytest.mark.parametrize(("seconds", "met"), [(2.4, "yes"), (2.5, "yes"), (2.6, "no")])
def test_an_answer_is_good_until_the_very_end_of_its_time(seconds, met):
    def counted():
        labels = {"model": "judged", "objective": "end_to_end", "length": "long"}
        return {m: REGISTRY.get_sample_value(JUDGED_ANSWERS.name, labels | {"met": m}) for m in ("yes", "no")}

    metrics.introduce(["judged"])
    before = counted()
    metrics.judge("end_to_end", "judged", "long", seconds, 2.5)
    assert counted() == before | {met: before[met] + 1}


def test_overhead_excludes_waiting():
    assert set(STAGES) - ELSEWHERE == {"identify", "admit", "prompt", "store", "respond"}
    timeline = Timeline()
    for stage in STAGES:
        timeline.end_of(stage)
    waited = sum(timeline.stages[stage] for stage in ELSEWHERE)
    assert abs(timeline.overhead + waited - timeline.total) < 1e-9
    assert 0 < timeline.overhead < timeline.total


LOOKS = """
import sys
from serving.telemetry import metrics
for line in sys.stdin:
    look, use = map(float, line.split())
    metrics.jobs_waiting.labels("ingest").set(look)
    metrics.engine_expected.labels("m").set(look)
    metrics.engine_load_seconds.labels("m").set(look)
    metrics.quota_used.labels("t", "tokens", "day").set(use)
    metrics.in_flight().set(1)
    if look > 2:
        metrics.disk_free_bytes().set(look)
    print("done", flush=True)
"""


@pytest.mark.parametrize(("program", "there"), [("pass", False), ("metrics.introduce_routes(['/v1/models'])", True)])
def test_gateways_report_their_existence_from_the_start(tmp_path, program, there):
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    lines = f"from serving.telemetry import metrics; {program}; print(*metrics.in_flight.cache_info())"
    done = subprocess.run([sys.executable, "-c", lines], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"{int(there)}\n")


def test_gauges_of_shared_state_are_not_added_up(tmp_path):
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    argv = [sys.executable, "-c", LOOKS]
    with (
        subprocess.Popen(argv, env=env, stdin=-1, stdout=-1, text=True) as one,
        subprocess.Popen(argv, env=env, stdin=-1, stdout=-1, text=True) as other,
    ):

        def look(process, text):
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            exposed = Exporter(tmp_path).render().decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in exposed if not line.startswith("#"))

        assert "headrace_disk_free_bytes" not in look(one, "1 0.9")
        seen = look(other, "2 0.5")
        assert seen['headrace_jobs_waiting{kind="ingest"}'] == "2.0"
        assert seen['headrace_engine_expected{model="m"}'] == "2.0"
        assert seen['headrace_engine_load_seconds{model="m"}'] == "2.0"
        assert seen['headrace_quota_used_ratio{measure="tokens",tenant="t",window="day"}'] == "0.9"
        assert seen["headrace_requests_in_flight"] == "2.0"
        seen = look(one, "3 0.1")
        assert seen['headrace_jobs_waiting{kind="ingest"}'] == "3.0"
        assert seen['headrace_quota_used_ratio{measure="tokens",tenant="t",window="day"}'] == "0.5"
        assert seen["headrace_disk_free_bytes"] == "3.0"
        one.stdin.close()
        other.stdin.close()
