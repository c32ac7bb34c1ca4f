"""Neither our metrics client nor Ray's exporter carries exemplars or native histograms, as the documentation says.

A test that fails here says that one of them can now: see docs/how-to/trace-requests.md.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest

OBSERVE = """
import json, sys
from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
Histogram("seconds", "x", registry=REGISTRY).observe(0.3, {"trace_id": "abc"})
files = CollectorRegistry()
if sys.argv[1] == "files":
    MultiProcessCollector(files)
found = (files if sys.argv[1] == "files" else REGISTRY).collect()
samples = [sample for family in found for sample in family.samples if family.name == "seconds"]
print(json.dumps([len(samples), sum(sample.exemplar is not None for sample in samples)]))
"""


def exemplars(kind: str, folder: Path) -> tuple[int, int]:
    """Returns how many samples the library has of an observation with an exemplar, and how many have one."""
    environment = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    if kind == "files":
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    command = [sys.executable, "-c", OBSERVE, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    samples, having = json.loads(done.stdout)
    return samples, having


def test_the_client_keeps_exemplars_in_one_process_and_loses_them_between_processes(tmp_path: Path) -> None:
    samples, having = exemplars("memory", tmp_path)
    assert (samples > 10, having) == (True, 1)
    samples, having = exemplars("files", tmp_path)
    assert (samples > 10, having) == (True, 0)


def test_the_client_makes_no_native_histograms() -> None:
    registry = CollectorRegistry()
    Histogram("seconds", "x", registry=registry).observe(0.3)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert samples
    assert [sample for sample in samples if sample.native_histogram is not None] == []
    assert "schema:" not in generate_latest(registry, version="2.0.0").decode()


def test_an_exemplar_for_our_metrics_is_an_error_and_not_lost_without_a_word() -> None:
    importlib.import_module("serving.telemetry.metrics")
    ours = Histogram("headrace_exemplar_test", "x", registry=CollectorRegistry())
    with pytest.raises(AttributeError, match="set_exemplar"):
        ours.observe(0.3, {"trace_id": "abc"})


def test_rays_exporter_loses_exemplars() -> None:
    """OpenTelemetry's SDK has the trace of an observation, and its exporter for Prometheus, which Ray uses, has not."""
    ray = importlib.import_module("ray._private.telemetry.open_telemetry_metric_recorder")
    kept, exported = InMemoryMetricReader(), ray.PrometheusMetricReader()
    meters = MeterProvider([kept, exported], exemplar_filter=AlwaysOnExemplarFilter())
    try:
        histogram = meters.get_meter("test").create_histogram("exemplar_test_ms")
        span = TracerProvider().get_tracer("test").start_span("request")
        with trace.use_span(span):
            histogram.record(3)
        [metric] = kept.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        [found] = metric.data.data_points[0].exemplars
        assert found.trace_id == span.get_span_context().trace_id
        families = [family for family in REGISTRY.collect() if family.name.startswith("exemplar_test")]
        samples = [sample for family in families for sample in family.samples]
        assert len(samples) > 2
        assert {(sample.exemplar, sample.native_histogram) for sample in samples} == {(None, None)}
    finally:
        meters.shutdown()
