"""Ten incidents, each with what must name its cause: an alert, a panel and a runbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.contract.monitoring.incidents.links import TO, distances
from tests.contract.monitoring.incidents.stack import ALIAS, BRIEF, KEYED, METERED, READER, TWINS

FLOODING, THRIFTY = "acme", "thrifty"
SLOW = "two"
"""The id of the replica that becomes slow."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident; `alert`'s labels and those of the series in the panel name who or what the cause is."""

    name: str
    injected: str
    alert: str
    labels: Mapping[str, str]
    dashboard: str
    panel: str
    series: Mapping[str, str]
    cause: str
    """A part of the runbook's likely causes."""
    also: frozenset[str] = field(default_factory=frozenset)
    """Other alerts that wake somebody and may fire first, since their runbooks name the same cause."""

    @property
    def links(self) -> int:
        """From the overview to the farther one of the panel's dashboard and the runbook."""
        found = distances()
        return max(found[TO.dashboard(self.dashboard)], found[TO.runbook(self.alert)])


INCIDENTS = (
    Incident(
        "slow disk",
        "each flush of a file of the gateways takes 300 ms",
        "DatabaseSlow",
        {"operation": "write"},
        "overview",
        "Database time",
        {"operation": "write"},
        "slow disk",
    ),
    Incident(
        "one slow replica",
        "one of two replicas of a model takes 2 s for an answer",
        "ReplicaSlow",
        {"model": TWINS, "replica": SLOW},
        "models",
        "Lease time by replica",
        {"model": TWINS, "replica": SLOW},
        "The replica is slow",
    ),
    Incident(
        "a tenant that floods",
        "one of four tenants sends from 60 connections without a pause",
        "TenantFloods",
        {"tenant": FLOODING},
        "tenants",
        "Requests by tenant",
        {"tenant": FLOODING},
        "A tenant floods",
        frozenset({"RequestQueueGrows"}),
    ),
    Incident(
        "a model that truncates",
        "all answers of one model end at their length limit",
        "AnswersTruncated",
        {"model": BRIEF},
        "models",
        "Truncated answers",
        {"model": BRIEF},
        "never writes its end mark",
    ),
    Incident(
        "a canary that is worse",
        "all answers of a released canary end at their length limit",
        "CanaryWorse",
        {"alias": ALIAS},
        "feedback",
        "Evidence against canaries",
        {"alias": ALIAS},
        "The new version or adapter answers worse",
    ),
    Incident(
        "a provider that throttles",
        "a provider lowers its limit for one model and answers with 429",
        "EndpointThrottles",
        {"model": METERED},
        "models",
        "Endpoint failures by cause",
        {"model": METERED, "cause": "throttled"},
        "The provider throttles",
    ),
    Incident(
        "retrieval that finds nothing",
        "the documents of a collection are deleted",
        "RetrievalFindsNothing",
        {"assistant": READER},
        "assistants",
        "Searches without results",
        {"assistant": READER},
        "The collection is empty",
    ),
    Incident(
        "an expired key of a remote model",
        "the provider answers with 401 to a model's key",
        "EndpointRejectsKey",
        {"model": KEYED},
        "models",
        "Endpoint failures by cause",
        {"model": KEYED, "cause": "unauthorized"},
        "has expired",
    ),
    Incident(
        "a full queue",
        "a model hangs while two tenants ask it, until a gateway's queue is full",
        "OverloadRefusals",
        {},
        "overview",
        "Rejected requests by code",
        {"code": "overloaded"},
        "The queue in front of the gateways is full",
        frozenset({"RequestQueueGrows"}),
    ),
    Incident(
        "a budget nearly used up",
        "a tenant's user sends 19 of 20 requests of a month",
        "QuotaNear",
        {"tenant": THRIFTY, "measure": "requests", "window": "month"},
        "tenants",
        "Quota used",
        {"tenant": THRIFTY, "measure": "requests", "window": "month"},
        "One user or program uses most of it",
    ),
)
