"""What a running stack of the tests must answer."""

from __future__ import annotations

import math

import pytest

from monitoring.known_series import KNOWN
from tests.stacks.monitored import (
    LACKING,
    Question,
    Sample,
    compared,
    emitted_by,
    finite,
    implausible,
    lacking,
    panels,
    recorded,
)

ASKED = {question.expression for question in (*panels(), *compared(), *recorded())}


NAMED = {name for name, series in KNOWN.items() if series.source != "rule"} | ASKED


@pytest.mark.parametrize("kind", LACKING)
def test_every_listed_series_exists(kind):
    """What begins no series and no selector would be a slip."""
    unknown = [
        selector for selector in LACKING[kind] if not any(all(p in name for p in selector.split("…")) for name in NAMED)
    ]
    assert unknown == []


@pytest.mark.parametrize("kind", LACKING)
def test_every_stack_emits_the_common_series(kind):
    seen = {"headrace_requests_in_flight", "ray_serve_application_status", "haproxy_process_uptime_seconds", "up"}
    assert seen <= emitted_by(kind)
    assert "DCGM_FI_DEV_GPU_TEMP" not in emitted_by(kind)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("sum(headrace_engine_up)", ""),
        ("sum(headrace_engine_up) / sum(DCGM_FI_DEV_POWER_USAGE)", "GPU"),
        ("DCGM_FI_DEV_POWER_USAGE or headrace_engine_up", ""),
        ("headrace_engine_up unless DCGM_FI_DEV_POWER_USAGE", ""),
        ("rate(vllm:prompt_tokens_total[5m])", "vLLM"),
        ('llm:requests_waiting:sum{engine="vllm"}', "vLLM"),
        ('sum(llm:requests_waiting:sum{model=~"$model"})', ""),
        ("sum_over_time(llm:preemptions:rate5m[1h:30s])", "vLLM"),
        ('sum(headrace_jobs_total{kind="a",outcome="failed"}) / sum(headrace_jobs_total)', "first such event"),
        ('sum(headrace_jobs_total{kind="a",outcome="done"})', ""),
    ],
)
def test_unanswerable_queries_have_a_reason(expression, why):
    found = lacking(expression, "cluster")
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize(
    ("values", "is_finite"),
    [((), False), ((math.nan,), False), ((math.nan, 1.0), True), ((1.0, math.inf), False), ((0.0,), True)],
)
def test_an_answer_is_a_number(values, is_finite):
    assert finite([Sample({}, values)]) == is_finite


@pytest.mark.parametrize(
    ("asker", "unit", "values", "odd"),
    [
        ("overview: Failed", "ratio", (0.0, 0.5, 1.0), []),
        ("overview: Failed", "ratio", (0.5, 50.0), [50.0]),
        ("ray: CPU", "percent", (50.0, 101.0), [101.0]),
        ("overview: Request time", "seconds", (math.nan, 0.2, 4000.0), [4000.0]),
        ("overview: Requests", "requests/s", (3.0, -0.1), [-0.1]),
        ("objectives: Availability: budget left", "ratio", (-7.0, 1.5), [1.5]),
        ("assistants: Index age", "seconds", (9000.0, -1.0), [-1.0]),
        ("an alert", None, (-7.0,), []),
    ],
)
def test_a_panel_has_values_that_its_unit_has(asker, unit, values, odd):
    assert implausible(Question(asker, "x", unit), [Sample({}, values)]) == odd


def test_panel_values_match_their_unit():
    assert all(question.unit for question in panels())
