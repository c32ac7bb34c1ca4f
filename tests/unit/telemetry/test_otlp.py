"""Traces whose receiver does not take them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import REGISTRY

from serving.telemetry.otlp import CountingExporter


@pytest.mark.parametrize(("result", "lost"), [(SpanExportResult.SUCCESS, 0), (SpanExportResult.FAILURE, 3)])
def test_spans_that_are_not_taken_are_counted(
    monkeypatch: pytest.MonkeyPatch, result: SpanExportResult, lost: int
) -> None:
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda self, spans: result)
    before = REGISTRY.get_sample_value("headrace_spans_lost_total") or 0
    spans: list[Any] = [object()] * 3
    assert CountingExporter(endpoint="http://127.0.0.1:9/v1/traces").export(spans) is result
    assert (REGISTRY.get_sample_value("headrace_spans_lost_total") or 0) - before == lost
