"""A running stack's Prometheus, asked what dashboards draw and alerts compare: what must have an answer, and which.

What a stack of the tests cannot emit, and why, stands here alone, for the local stack and for the one on a cluster.
"""

from __future__ import annotations

import math
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx
import promql_parser as promql

from monitoring.dashboards.panel import Unit
from monitoring.dashboards.variables import without_variables
from monitoring.expression import operands
from monitoring.groups import GROUPS
from monitoring.known_series import KNOWN
from monitoring.rule import Alert, Recording
from tests.monitoring.queries import queries

StackKind = Literal["local", "cluster"]

PLAUSIBLE: Mapping[Unit, tuple[float, float]] = {
    "ratio": (0, 1),
    "percent": (0, 100),
    "seconds": (0, 3600),
    "bytes": (0, math.inf),
    "megabytes": (0, math.inf),
    "currency": (0, math.inf),
    "celsius": (-50, 150),
    "watts": (0, 10_000),
    "1": (0, math.inf),
    "requests/s": (0, math.inf),
    "tokens/s": (0, math.inf),
    "operations/s": (0, math.inf),
    "bytes/s": (0, math.inf),
}
"""The least and the most that a panel shows of a stack of the tests."""
ROUNDED = 1e-6
_ODD_PANELS: Mapping[str, tuple[float, float]] = {
    "budget left": (-math.inf, 1),  # overdrawn
    "Slots leased": (0, 2),  # Serve gives an engine twice as many requests as it has slots, and the rest waits in it
    "Quota used": (0, 2),  # a gateway that does not know yet what another one has let pass
    "Index age": (0, math.inf),  # a session's stack may stand for longer than any request takes
    "Tasks running or waiting": (-math.inf, math.inf),  # Ray counts tasks down that it did not count up
}
"""Panels, by title, with other bounds than their unit has."""
_TLS = ssl.create_default_context()
"""Made once: for each of hundreds of questions it would take longer than the answer."""
_RULES = [rule for group in GROUPS for rule in group.rules]
_ALERTS = [rule for rule in _RULES if isinstance(rule, Alert)]
_RECORDINGS = [rule for rule in _RULES if isinstance(rule, Recording)]

_EVERYWHERE = {
    "DCGM_": "there is no GPU, and so no exporter of NVIDIA's",
    "ray_node_gpu": "there is no GPU",
    "ray_node_gram": "there is no GPU",
    "vllm:": "no model runs in vLLM",
    "ray_vllm_": "no model runs in vLLM",
    "kube_": "there is no kube-state-metrics",
    "kubelet_": "nothing scrapes a kubelet",
    "certmanager_": "there is no cert-manager",
    "node_": "there is no exporter of a node's own",
    "ALERTS": "there is no alert while all is well",
}
_NOT_CONFIGURED = {
    "headrace_guardrail_total": "no assistant of the tests has guardrails",
    "headrace_quota_": "no tenant of the tests has a budget",
    "headrace_cost_total": "no model of the tests has a price",
    "headrace_tenant_cost_total": "no model of the tests has a price",
    "headrace_month_to_date_cost": "no model of the tests has a price",
    "headrace_assistant_cost_total": "no model of the tests has a price",
    "headrace_engine_price": "no model of the tests has a price",
    "headrace_adapter_missing": "no model of the tests has adapters",
    "headrace_weights_": "the weights of the tests' models are packages",
    "headrace_backup_age_seconds": "no test makes a backup of this database",
}
_FIRST_EVENT = (
    'headrace_request_duration_seconds_count{…outcome="error"',
    'headrace_tenant_requests_total{…outcome="error"',
    'headrace_errors_total{…code=~"engine_',
    'headrace_errors_total{…code="overloaded"',
    'headrace_errors_total{…code="internal_error"',
    'headrace_jobs_total{…outcome="failed"',
    'headrace_stream_resumes_total{…outcome="lost"',
    "headrace_engine_replaced_total",
    "ray_node_manager_unexpected_worker_failure_total",
)
_NOTHING_HAPPENED = {
    **dict.fromkeys(_FIRST_EVENT, "a counter has no series before the first such event, and there was none"),
    'headrace_tool_calls_total{…outcome=~"error|': "tools fail so seldom that no two samples of a counter differ",
    "headrace_job_oldest_seconds{…erase_user": "an erasure is done before a gateway looks for jobs that wait",
    **dict.fromkeys(
        ("headrace_release_first_token_seconds", "headrace_release_bad_outcomes", "headrace_release_outcomes"),
        "nobody asks a released alias",
    ),
}
LACKING: Mapping[StackKind, Mapping[str, str]] = {
    "local": {
        **_EVERYWHERE,
        'up{container=~"ray-head|': "containers have names on Kubernetes alone",
        'ray_actors{…Source="gcs"': "on one host only workers were seen to count actors",
        "ray_cluster_pending_nodes": "nothing starts or ends nodes of a Ray on one host",
        "ray_cluster_failed_nodes": "nothing starts or ends nodes of a Ray on one host",
        "headrace_engine_price": "no replica of the tests has a price by the hour",
        "headrace_adapter_missing": _NOT_CONFIGURED["headrace_adapter_missing"],
        "headrace_weights_": _NOT_CONFIGURED["headrace_weights_"],
        "headrace_backup_age_seconds": _NOT_CONFIGURED["headrace_backup_age_seconds"],
        **dict.fromkeys(
            (
                'headrace_errors_total{…code="overloaded"',
                'headrace_errors_total{…code="internal_error"',
                'headrace_stream_resumes_total{…outcome="lost"',
                "headrace_engine_replaced_total",
                "ray_node_manager_unexpected_worker_failure_total",
            ),
            "a counter has no series before the first such event, and a mixed load makes none",
        ),
        "headrace_job_oldest_seconds{…erase_user": "an erasure is done before a gateway looks for jobs that wait",
    },
    "cluster": {
        **_EVERYWHERE,
        'up{job=~"headrace|': "on Kubernetes a target's job is that of its PodMonitor",
        'up{job="ray"': "on Kubernetes a target's job is that of its PodMonitor",
        "ray_cluster_pending_nodes": "Ray starts no nodes: KubeRay does",
        "ray_cluster_failed_nodes": "Ray starts no nodes: KubeRay does",
        **_NOT_CONFIGURED,
        **_NOTHING_HAPPENED,
    },
}
"""How a selector begins that finds nothing on the tests' stack of a kind, and why; … stands for what is between."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks Prometheus; `asker` is a panel, an alert or a recording rule.

    `unit` is that of a panel's axis.
    """

    asker: str
    expression: str
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A series of an answer, and its values in order of time."""

    labels: Mapping[str, str]
    values: tuple[float, ...]


def panels() -> Iterator[Question]:
    """What panels ask, with the variables of dashboards in it, which `ask` replaces."""
    for query in queries():
        yield Question(f"{query.dashboard}: {query.panel}", query.expression, query.unit)


def compared() -> Iterator[Question]:
    """What alerts compare, as of now: a stack of the tests has no past that an offset could reach."""
    for alert in _ALERTS:
        for operand in operands(alert.expression):
            yield Question(alert.name, re.sub(r" offset \w+", "", operand))


def recorded() -> Iterator[Question]:
    """What rules record, with the labels that tell a rule from others of its name."""
    for rule in _RECORDINGS:
        fixed = ",".join(f'{label}="{value}"' for label, value in rule.fixed.items())
        yield Question(rule.name, f"{rule.name}{{{fixed}}}")


def emitted_by(kind: StackKind) -> frozenset[str]:
    """The names of series that the tests' stack of a kind emits, without what rules record."""
    return frozenset(
        name for name, series in KNOWN.items() if series.source != "rule" and not _begins(name, LACKING[kind])
    )


def lacking(expression: str, kind: StackKind) -> str:
    """Why the tests' stack of a kind cannot answer, or nothing when it must."""
    return _lacking(promql.parse(without_variables(expression)), LACKING[kind])


def ask(prometheus_url: str, expression: str, over_s: float = 0, step_s: float = 15, **variables: str) -> list[Sample]:
    """Returns what Prometheus answers, now or at each step of the last `over_s` seconds.

    `variables` are those of dashboards (`__rate_interval="1m"`); each other stands for all of its values.
    Raises `AssertionError` with Prometheus's own words when it refuses.
    """
    for name, value in variables.items():
        expression = re.sub(rf"\$(?:\{{{name}(?::\w+)?\}}|{name}\b)", value, expression)
    query = {"query": without_variables(expression)}
    path, now = "query", time.time()
    if over_s:
        path, query = "query_range", query | {"start": f"{now - over_s}", "end": f"{now}", "step": f"{step_s}"}
    body = httpx.post(f"{prometheus_url}/api/v1/{path}", data=query, timeout=60, verify=_TLS).json()
    assert body["status"] == "success", f"{query['query']}: {body.get('error')}"
    found = body["data"]["result"]
    if body["data"]["resultType"] == "scalar":
        return [Sample({}, (float(found[1]),))]
    return [
        Sample(one["metric"], tuple(float(value) for _, value in one.get("values") or [one["value"]])) for one in found
    ]


def finite(samples: Iterable[Sample]) -> bool:
    """Whether there is a number, and nothing was divided by zero; a quantile of no events is NaN, a gap in a panel."""
    values = [value for sample in samples for value in sample.values]
    return any(map(math.isfinite, values)) and not any(map(math.isinf, values))


def implausible(question: Question, samples: Iterable[Sample]) -> list[float]:
    """The values that no stack of the tests can have in a panel's unit; what no panel asks has none."""
    if question.unit is None:
        return []
    _, _, panel = question.asker.rpartition(": ")
    least, most = _ODD_PANELS.get(panel, PLAUSIBLE[question.unit])
    return [value for sample in samples for value in sample.values if value < least or value > most + ROUNDED]


def _lacking(tree: promql.Expr, without: Mapping[str, str]) -> str:
    match tree:
        case promql.BinaryExpr() if str(tree.op) == "or":
            left, right = _lacking(tree.lhs, without), _lacking(tree.rhs, without)
            return left and right
        case promql.BinaryExpr() if str(tree.op) == "unless":
            return _lacking(tree.lhs, without)
        case promql.BinaryExpr():
            return _lacking(tree.lhs, without) or _lacking(tree.rhs, without)
        case promql.VectorSelector():
            return _selector(tree, without)
        case promql.MatrixSelector():
            return _selector(tree.vector_selector, without)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr() | promql.AggregateExpr():
            return _lacking(tree.expr, without)
        case promql.Call():
            return next(filter(None, (_lacking(argument, without) for argument in tree.args)), "")
    return ""


def _selector(selector: promql.VectorSelector, without: Mapping[str, str]) -> str:
    if found := _begins(selector.prettify(), without):
        return found
    wanted = {m.name: m.value for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal}
    reasons = [
        _lacking(promql.parse(rule.expression), without)
        for rule in _RECORDINGS
        if rule.name == selector.name and all(wanted.get(k, v) == v for k, v in rule.fixed.items())
    ]
    return next(iter(reasons), "") if all(reasons) else ""


def _begins(text: str, without: Mapping[str, str]) -> str:
    parts = ((beginning.partition("…"), reason) for beginning, reason in without.items())
    return next((reason for (first, _, later), reason in parts if text.startswith(first) and later in text), "")
