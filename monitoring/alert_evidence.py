"""Evidence that each alert fires, in addition to its two cases that promtool runs on the rules as they are.

The reference page of the alerts lists it, and the tests read here which alerts must fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import promql_parser as promql

from monitoring.external import EXTERNAL
from monitoring.rule import Alert

Fault = Literal[
    "a load of unanswerable questions",
    "a mixed load with invalid requests",
    "more concurrent requests than are admitted",
    "Ray's control service and its agent are killed",
    "ingestion is paused while a file waits for an hour",
    "the data folder's disk is filled",
    "the exporter is killed",
    "the database is locked repeatedly",
    "the only replica of a model is killed",
]
INJECTED: Mapping[Fault, tuple[str, ...]] = {
    "a load of unanswerable questions": (
        "AuthenticationFailures",
        "ForbiddenRequests",
        "RetrievalFindsNothing",
        "UnsupportedSentences",
    ),
    "a mixed load with invalid requests": (
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
    "more concurrent requests than are admitted": ("OverloadRefusals", "RequestQueueGrows"),
    "Ray's control service and its agent are killed": (
        "GcsDown",
        "HeadraceMetricsGone",
        "RayMetricsGone",
        "ScrapeMissing",
    ),
    "ingestion is paused while a file waits for an hour": ("IngestionStuck",),
    "the data folder's disk is filled": ("DataDiskFilling", "DataDiskFull"),
    "the exporter is killed": ("HeadraceMetricsGone", "ScrapeMissing"),
    "the database is locked repeatedly": ("DatabaseSlow",),
    "the only replica of a model is killed": ("NoHealthyReplica",),
}
"""Alerts by the fault that tests/stack injects into a running stack, whose rules a second Prometheus runs on a faster
clock (`tests.monitoring.scaled_rules`)."""

INCIDENTS: Mapping[str, str] = {
    "slow disk": "DatabaseSlow",
    "one slow replica": "ReplicaSlow",
    "a tenant that floods": "TenantFloods",
    "a model that truncates": "AnswersTruncated",
    "a canary that is worse": "CanaryWorse",
    "a provider that throttles": "EndpointThrottles",
    "retrieval that finds nothing": "RetrievalFindsNothing",
    "an expired key of a remote model": "EndpointRejectsKey",
    "a full queue": "OverloadRefusals",
    "a budget nearly used up": "QuotaNear",
}
"""Incidents that a campaign injects without a word, and the alert that names the cause of each."""

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
"""Classes of faults, and the alerts that fire first for each."""

ELSEWHERE = frozenset({"dcgm", "kubernetes", "cert-manager", "node"})
"""Sources that a stack on one host lacks: tests replay their recorded expositions with the fault in them."""
LONG_S = 3600
"""The shortest window, in seconds, for which promtool also runs an alert on a faster clock."""


def is_replayed(alert: Alert) -> bool:
    """Returns whether a recorded exposition of another program, with the fault in it, fires the alert in a test."""
    names = {sample.series.partition("{")[0] for sample in alert.fires.samples}
    return all(name in EXTERNAL and EXTERNAL[name].source in ELSEWHERE for name in names)


def looks_back_long(alert: Alert) -> bool:
    """Returns whether an alert has so long a window that no test of a running stack waits for it."""
    found: list[float] = []

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.MatrixSelector):
            found.append(part.range.total_seconds())

    promql.walk(promql.parse(alert.expression), pre_visit=visit)
    return max(found, default=0) >= LONG_S


def evidence(alert: Alert) -> str:
    """Returns the evidence for an alert, in a few words."""
    ways = [f"local stack: {fault}" for fault, names in INJECTED.items() if alert.name in names]
    ways += [f"incident: {incident}" for incident, name in INCIDENTS.items() if alert.name == name]
    ways += ["replayed exposition"] * is_replayed(alert) + ["scaled windows"] * looks_back_long(alert)
    return "; ".join(ways or ["test cases"])
