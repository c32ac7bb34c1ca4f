"""How each alert has been seen to fire, beside its two cases that promtool runs over rules at their own pace.

The reference page of the alerts tells it, and the tests take from here what they must see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import promql_parser as promql

from monitoring.external import EXTERNAL
from monitoring.rule import Alert

Fault = Literal[
    "a load of questions without an answer",
    "a mixed load with callers' mistakes",
    "more callers than places",
    "Ray's control service and its agent are killed",
    "ingestion is held, and a file has waited for an hour",
    "the data folder's disk is filled",
    "the exporter is killed",
    "the database is locked again and again",
    "the only replica of a model is killed",
]
INJECTED: Mapping[Fault, tuple[str, ...]] = {
    "a load of questions without an answer": (
        "AuthenticationFailures",
        "ForbiddenRequests",
        "RetrievalFindsNothing",
        "UnsupportedSentences",
    ),
    "a mixed load with callers' mistakes": (
        "AssistantFails",
        "CostAnomaly",
        "EngineErrors",
        "GuardrailSpike",
        "InjectionInContext",
        "JobsFail",
        "MemoryDropped",
        "PiiInAnswers",
        "PiiInQuestions",
        "QuotaNear",
        "QuotaUsedUp",
        "SandboxCrashes",
        "SandboxLimits",
        "SecretsInAnswers",
        "TenantCostAnomaly",
        "ThumbsDown",
        "ToolFails",
    ),
    "more callers than places": ("OverloadRefusals", "RequestQueueGrows"),
    "Ray's control service and its agent are killed": (
        "GcsDown",
        "HeadraceMetricsGone",
        "RayMetricsGone",
        "ScrapeMissing",
    ),
    "ingestion is held, and a file has waited for an hour": ("IngestionStuck",),
    "the data folder's disk is filled": ("DataDiskFilling", "DataDiskFull"),
    "the exporter is killed": ("HeadraceMetricsGone", "ScrapeMissing"),
    "the database is locked again and again": ("DatabaseSlow",),
    "the only replica of a model is killed": ("NoHealthyReplica",),
}
"""Alerts by the fault that tests/stack makes on a running stack, whose rules a second Prometheus has on a faster clock
(`monitoring.scaled`)."""

CLASSES: Mapping[str, tuple[str, ...]] = {
    "queue growth": ("RequestQueueGrows",),
    "no healthy replica": ("NoHealthyReplica",),
    "GCS down": ("GcsDown",),
    "quota near": ("QuotaNear",),
    "cost anomaly": ("CostAnomaly", "TenantCostAnomaly"),
    "thumbs down": ("ThumbsDown",),
    "guardrail spike": ("GuardrailSpike",),
    "personal data": ("PiiInAnswers", "PiiInQuestions"),
    "sandbox crash": ("SandboxCrashes",),
    "ingestion stuck": ("IngestionStuck",),
    "database slow": ("DatabaseSlow",),
    "disk": ("DataDiskFilling", "DataDiskFull"),
    "scrape missing": ("ScrapeMissing",),
}
"""Classes of faults, and the alerts that tell of them first."""

ELSEWHERE = frozenset({"dcgm", "kubernetes", "cert-manager", "node"})
"""Whose metrics a stack on one host lacks: recorded expositions are replayed with the fault in them."""
LONG_S = 3600
"""From this window on, in seconds, promtool runs an alert on a faster clock too."""


def replayed(alert: Alert) -> bool:
    """Whether what fires an alert is a recorded exposition of another program, with the fault in it."""
    names = {sample.series.partition("{")[0] for sample in alert.fires.samples}
    return all(name in EXTERNAL and EXTERNAL[name].source in ELSEWHERE for name in names)


def long(alert: Alert) -> bool:
    """Whether an alert looks back so far that no test of a running stack waits for it."""
    found: list[float] = []

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.MatrixSelector):
            found.append(part.range.total_seconds())

    promql.walk(promql.parse(alert.expression), pre_visit=visit)
    return max(found, default=0) >= LONG_S


def by(alert: Alert) -> str:
    """How an alert has been seen to fire, in a few words."""
    ways = [f"local stack: {fault}" for fault, names in INJECTED.items() if alert.name in names]
    ways += ["replayed exposition"] * replayed(alert) + ["scaled windows"] * long(alert)
    return "; ".join(ways or ["its cases"])
