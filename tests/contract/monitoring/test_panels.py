"""Panels show what happened: each query, evaluated over counters of known requests."""

from __future__ import annotations

import pytest

from monitoring.dashboards import DASHBOARDS, rollouts
from monitoring.dashboards.variables import without_variables
from monitoring.rule import Sample
from tests.contract.monitoring import promtool

EVERY = "15s"
AT = "10m"
CHAT = 'route="/v1/chat/completions"'
COUNT = "headrace_request_duration_seconds_count"
STAGE = "headrace_stage_duration_seconds_sum"


def queries(dashboard, title):
    (panel,) = (p for d in DASHBOARDS if d.name == dashboard for p in d.panels if p.title == title)
    return [without_variables(target.expression) for target in panel.targets]


def drawn(dashboard, title, samples, *expected, legend=0):
    """A test of promtool's: what a panel draws; each of `expected` is the labels of a series, and its value."""
    asked = {
        "expr": f"round({queries(dashboard, title)[legend]}, 0.0001)",
        "eval_time": AT,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in expected],
    }
    return promtool.ask(asked, [Sample(*sample) for sample in samples], EVERY)


def judge(folder, *tests):
    promtool.judge(folder, [], list(tests), EVERY)


def rising(per_second):
    """A counter that grows so much per second."""
    return f"0+{15 * per_second:g}x60"


def test_the_stages_of_requests_add_up_to_their_mean_time(tmp_path):
    """Two requests a second take 1 s; every second one also waits for retrieval for 0.5 s. Polling changes nothing."""
    judge(
        tmp_path,
        drawn(
            "overview",
            "Time of a request by stage",
            [
                (f'{COUNT}{{{CHAT},model="m",outcome="ok"}}', rising(2)),
                (f'{COUNT}{{route="/v1/responses/{{response_id}}",model="none",outcome="ok"}}', rising(50)),
                (f'{STAGE}{{{CHAT},stage="decode"}}', rising(2)),
                (f'{STAGE}{{{CHAT},stage="retrieve"}}', rising(0.5)),
                (f'{STAGE}{{route="/v1/responses/{{response_id}}",stage="respond"}}', rising(1)),
            ],
            ('{stage="decode"}', 1),
            ('{stage="retrieve"}', 0.25),
        ),
    )


def test_headlines_are_of_requests_to_models(tmp_path):
    """One request to a model a second, of which a tenth fails, among fifty that poll and never fail."""
    seen = [
        (f'{COUNT}{{{CHAT},model="m",outcome="ok"}}', rising(0.9)),
        (f'{COUNT}{{{CHAT},model="m",outcome="error"}}', rising(0.1)),
        (f'{COUNT}{{route="/v1/models",model="none",outcome="ok"}}', rising(50)),
        *(
            (f'headrace_request_duration_seconds_bucket{{{CHAT},model="m",outcome="ok",le="{le}"}}', rising(n))
            for le, n in (("10.0", 0), ("30.0", 1), ("+Inf", 1))
        ),
        *(
            (f'headrace_request_duration_seconds_bucket{{route="/v1/models",model="none",outcome="ok",le="{le}"}}', n)
            for le, n in (("10.0", rising(50)), ("30.0", rising(50)), ("+Inf", rising(50)))
        ),
    ]
    judge(
        tmp_path,
        drawn("overview", "Requests", seen, ("{}", 1)),
        drawn("overview", "Failed", seen, ("{}", 0.1)),
        drawn("overview", "Request time, p95", seen, ("{}", 29)),
    )


@pytest.mark.parametrize(
    ("dashboard", "title", "outcome"),
    [("models", "Failed requests", "error"), ("feedback", "Answers cut off", "cancelled")],
)
def test_panels_by_model_have_no_row_for_requests_without_one(tmp_path, dashboard, title, outcome):
    """A quarter of a model's requests ends so, and all of those whose model is not known, or that ask none."""
    seen = [
        (f'{COUNT}{{{CHAT},model="m",outcome="ok"}}', rising(3)),
        (f'{COUNT}{{{CHAT},model="m",outcome="{outcome}"}}', rising(1)),
        (f'{COUNT}{{{CHAT},model="none",outcome="{outcome}"}}', rising(1)),
        (f'{COUNT}{{route="/v1/models",model="none",outcome="ok"}}', rising(50)),
    ]
    judge(tmp_path, drawn(dashboard, title, seen, ('{model="m"}', 0.25)))


def test_the_time_of_requests_by_model_has_no_row_for_requests_without_one(tmp_path):
    seen = [
        (f'headrace_request_duration_seconds_bucket{{{labels},outcome="ok",le="{le}"}}', rising(n))
        for labels in (f'{CHAT},model="m"', 'route="/v1/models",model="none"')
        for le, n in (("10.0", 0), ("30.0", 1), ("+Inf", 1))
    ]
    judge(tmp_path, drawn("models", "Request time, p95", seen, ('{model="m"}', 29)))


def test_ratings_are_a_share_of_what_can_be_rated(tmp_path):
    """One answer a second, half of them rated, among forty embeddings and fifty requests that poll."""
    seen = [
        (f'{COUNT}{{{CHAT},model="m",outcome="ok"}}', rising(1)),
        (f'{COUNT}{{{CHAT},model="m",outcome="error"}}', rising(1)),
        (f'{COUNT}{{route="/v1/embeddings",model="e",outcome="ok"}}', rising(40)),
        (f'{COUNT}{{route="/v1/models",model="none",outcome="ok"}}', rising(50)),
        ('headrace_feedback_total{kind="response",rating="up"}', rising(0.5)),
    ]
    judge(tmp_path, drawn("feedback", "Share of answers rated", seen, ("{}", 0.5)))


def test_requests_that_fail_before_their_model_is_known_are_failures(tmp_path):
    seen = [(f'{COUNT}{{{CHAT},model="none",outcome="error"}}', rising(1))]
    refused = [(f'{COUNT}{{{CHAT},model="none",outcome="refused"}}', rising(1)), *seen]
    judge(
        tmp_path,
        drawn("overview", "Failed", seen, ("{}", 1)),
        drawn("overview", "Failed", refused, ("{}", 1)),
    )


def test_mistakes_of_callers_are_no_errors_of_the_stack(tmp_path):
    errors = f"headrace_errors_total{{{CHAT}"
    seen = [
        (f'{errors},code="invalid_value",outcome="refused"}}', rising(3)),
        (f'{errors},code="engine_error",outcome="error"}}', rising(1)),
    ]
    judge(
        tmp_path,
        drawn("overview", "Errors of the stack by code", seen, ('{code="engine_error"}', 1)),
        drawn("overview", "Errors of the stack by code", seen[:1], ('{code="none"}', 0)),
        drawn("overview", "Rejected requests by code", seen, ('{code="invalid_value"}', 3)),
    )


def test_the_end_of_a_lease_is_a_call_and_no_error(tmp_path):
    cancelled = 'ray_serve_deployment_error_counter_total{deployment="m",route="",exception_type="CancelledError"}'
    raised = 'ray_serve_deployment_error_counter_total{deployment="m",route="",exception_type="RuntimeError"}'
    answered = 'ray_serve_deployment_request_counter_total{deployment="Gateway",route="/"}'
    seen = [(cancelled, rising(2)), (answered, rising(5))]
    judge(
        tmp_path,
        drawn("ray", "Errors in replicas", seen, ('{deployment="none"}', 0)),
        drawn(
            "ray",
            "Errors in replicas",
            [*seen, (raised, rising(1))],
            ('{deployment="m",exception_type="RuntimeError"}', 1),
        ),
        drawn("ray", "Calls", [*seen, (raised, rising(1))], ('{deployment="m"}', 3), ('{deployment="Gateway"}', 5)),
    )


def test_heatmaps_have_the_buckets_of_answers_alone(tmp_path):
    """Of two answers a second one takes at most a second; embeddings, failures and polling are no answers."""

    def bucket(labels, le, n):
        return f'headrace_request_duration_seconds_bucket{{{labels},le="{le}"}}', rising(n)

    others = ('route="/v1/embeddings",model="e",outcome="ok"', f'{CHAT},model="m",outcome="error"')
    seen = [
        *(bucket(f'{CHAT},model="m",outcome="ok"', le, n) for le, n in (("1.0", 1), ("2.5", 2), ("+Inf", 2))),
        *(bucket(labels, le, 9) for labels in others for le in ("1.0", "2.5", "+Inf")),
        *(bucket('route="/v1/models",model="none",outcome="ok"', le, 50) for le in ("1.0", "2.5", "+Inf")),
    ]
    wanted = (('{le="1.0"}', 1), ('{le="2.5"}', 2), ('{le="+Inf"}', 2))
    judge(tmp_path, drawn("models", "Distribution of the end-to-end time", seen, *wanted))


def test_a_rollout_is_marked_once_and_a_restart_is_not(tmp_path):
    """The configuration changes after 4 minutes, and one of two gateways restarts after 8 minutes."""
    seen = [
        Sample(f'headrace_deployed_hash{{part="{part}",instance="{gateway}"}}', values)
        for gateway, down in (("a", ""), ("b", "_x3 "))
        for part, values in (
            ("code", f"7x{32 if down else 60} {down}7x28"),
            ("configuration", f"5x16 6x{15 if down else 43} {down}6x28"),
        )
    ]
    minutes = {"3m": 0, "4m": 0, "5m": 1, "6m": 0, "8m": 0, "9m": 0, "10m": 0}
    asked = [
        {
            "expr": f"count({without_variables(rollouts.CHANGED)}) or vector(0)",
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": n}],
        }
        for at, n in minutes.items()
    ]
    judge(tmp_path, *(promtool.ask(each, seen, EVERY) for each in asked))


NOTHING = (
    ("overview", "Requests", "{}"),
    ("overview", "Failed", "{}"),
    ("overview", "Alerts to act on", "{}"),
    ("overview", "Errors of the stack by code", '{code="none"}'),
    ("overview", "Rejected requests by code", '{code="none"}'),
    ("overview", "Database errors", "{}"),
    ("overview", "Streams resumed", '{outcome="none"}'),
    ("models", "Engine errors", '{code="none"}'),
    ("models", "Requests moved to another replica", '{model="none"}'),
    ("assistants", "Failed jobs", '{kind="none"}'),
    ("assistants", "Unsupported sentences", '{model="none"}'),
    ("assistants", "Guardrail findings", '{check="none"}'),
    ("tenants", "Rejected: quota exceeded", '{tenant="none"}'),
    ("tenants", "Quota warnings", '{tenant="none"}'),
    ("ray", "Errors in replicas", '{deployment="none"}'),
)


def test_panels_read_zero_while_all_is_well(tmp_path):
    """A counter of failures has no series before the first: that is 0, not missing data."""
    judge(tmp_path, *(drawn(dashboard, title, [("up", "1x60")], (labels, 0)) for dashboard, title, labels in NOTHING))


@pytest.mark.parametrize(
    ("dashboard", "title", "good"),
    [
        ("models", "Failed requests", f'{COUNT}{{{CHAT},model="m",outcome="ok"}}'),
        ("models", "Broken streams", 'headrace_streams_total{model="m",outcome="ok"}'),
        ("feedback", "Answers cut off", f'{COUNT}{{{CHAT},model="m",outcome="ok"}}'),
    ],
)
def test_shares_read_zero_before_the_first_failure(tmp_path, dashboard, title, good):
    judge(tmp_path, drawn(dashboard, title, [(good, rising(1))], ('{model="m"}', 0)))
