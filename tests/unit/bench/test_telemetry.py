"""What the benchmarks of telemetry emit is the whole catalogue, and what they measure against counts nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from bench.processes import BenchError
from bench.telemetry.emitter import metric_objects
from bench.telemetry.node_labels import NodeLabels
from bench.telemetry.scrape import Emitters
from serving.telemetry import catalogue as c
from serving.telemetry.exporter import Exporter

WORLD = NodeLabels(routes=["/v1/chat/completions", "/v1/models"], tenants=7, models=3)
SILENT = """
from serving.telemetry import metrics
if {silent}:
    from bench.telemetry.disabled_metrics import disable_metrics
    disable_metrics()
metrics.child(metrics.requests_started, "/v1/models").inc()
metrics.request_seconds.labels("/v1/models", "none", "ok").observe(1)
metrics.chunks.inc()
metrics.in_flight().set(1)
"""


@pytest.mark.parametrize("metric", c.CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_has_series_with_its_labels(metric: c.Metric):
    series = list(WORLD.series(metric))
    assert series
    assert len(set(series)) == len(series)
    assert {len(labels) for labels in series} == {len(metric.labels)}
    assert metric_objects()[metric.name]._labelnames == metric.labels


def test_tenants_and_models_multiply():
    assert len(list(WORLD.series(c.PROMPT_TOKENS))) == 21
    assert len(list(WORLD.series(c.STAGE_SECONDS))) == 2 * len(c.STAGES) + 4


@pytest.mark.parametrize("silent", [True, False])
def test_without_telemetry_nothing_is_counted(tmp_path, silent: bool):
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SILENT.format(silent=silent)], env=env, check=True)
    samples = [line for line in Exporter(tmp_path).render().decode().splitlines() if not line.startswith("#")]
    counted = {line.partition("{")[0].split()[0] for line in samples if not line.endswith(" 0.0")}
    assert samples
    assert (counted == set()) is silent
    assert silent or {"headrace_requests_started_total", "headrace_ingested_chunks_total"} <= counted


def test_an_emitter_that_exits_early_is_reported(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    more_than_a_pipe_holds = NodeLabels(routes=["/" * 1_000_000], tenants=1, models=1)
    with pytest.raises(BenchError, match="an emitter exited"):
        Emitters(tmp_path, 1, more_than_a_pipe_holds)
