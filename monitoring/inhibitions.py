"""Which alerts silence others: while a cause fires, Alertmanager notifies nobody of its consequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitoring.objectives import OBJECTIVES
from monitoring.scope import LABEL


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While the alert `cause` fires, `consequences` notify nobody, if both have the same values of the labels `equal`.

    A consequence is not more urgent than its cause: else nobody would be woken.
    """

    cause: str
    consequences: tuple[str, ...]
    why: str
    equal: tuple[str, ...] = ()
    """Beside `namespace`, which is that of the stack."""

    @property
    def document(self) -> dict[str, Any]:
        """The entry of `inhibit_rules` in Alertmanager's configuration."""
        return {
            "source_matchers": [f'alertname="{self.cause}"'],
            "target_matchers": [f'alertname=~"{"|".join(self.consequences)}"'],
            "equal": [LABEL, *self.equal],
        }


def _budgets() -> Iterator[Inhibition]:
    for objective in OBJECTIVES:
        why = "a budget that burns fast also burns slowly"
        yield Inhibition(objective.alert, (objective.slow_alert,), why, objective.labels)


_OF_MODELS = tuple(name for each in OBJECTIVES if "model" in each.labels for name in (each.alert, each.slow_alert))

INHIBITIONS: tuple[Inhibition, ...] = (
    Inhibition(
        "HeadraceMetricsGone",
        (
            *("ScrapeMissing", "TrafficStopped", "FeedbackStopped", "ProxyConnectionErrors", "ProxyLags"),
            *(name for each in OBJECTIVES for name in (each.alert, each.slow_alert)),
        ),
        "without a gateway nothing is answered, and without its metrics nothing else is known",
    ),
    Inhibition(
        "ScrapeMissing",
        ("ReplicasMissing", "TrafficStopped", "FeedbackStopped", "RayMetricsGone", "AutoscalerStuck", "ProxyLags"),
        "what a target that is not scraped would report is missing in every sum",
    ),
    Inhibition(
        "GcsDown",
        (
            *("ScrapeMissing", "RayMetricsGone", "ServeControllerStalled", "ApplicationNotRunning", "DeployStuck"),
            *("DeploymentUnhealthy", "AutoscalerStuck", "ProxyUnhealthy"),
        ),
        "Serve's controller and Ray's metrics need Ray's control service",
    ),
    Inhibition(
        "ServeControllerStalled",
        ("DeployStuck", "DeploymentUnhealthy", "AutoscalerStuck", "ProxyUnhealthy"),
        "only the controller deploys, scales, and replaces what is unhealthy",
    ),
    Inhibition(
        "ApplicationNotRunning",
        ("DeployStuck", "DeploymentUnhealthy", "AutoscalerStuck"),
        "an application that does not run has no healthy replicas",
        ("application",),
    ),
    Inhibition(
        "NoHealthyReplica",
        (
            *("ReplicasMissing", "ReplicaFlapping", "RequestsReplaced", "AdapterMissing", "EngineSaturated"),
            *_OF_MODELS,
        ),
        "a model without a replica answers nothing",
        ("model",),
    ),
    Inhibition(
        "ReplicaFlapping",
        ("ReplicasMissing", "RequestsReplaced"),
        "a replica is missing during each restart",
        ("model",),
    ),
    Inhibition("KVCachePressure", ("Preemptions",), "a full cache preempts requests", ("model",)),
    Inhibition(
        "TenantFloods", ("OverloadRefusals",), "the requests of one tenant fill the queue, and others are rejected"
    ),
    Inhibition("RequestQueueGrows", ("OverloadRefusals",), "a queue that keeps growing ends up full"),
    Inhibition(
        "DatabaseErrors",
        (
            *("DatabaseSlow", "FeedbackFails", "FeedbackWritesBudgetBurn", "FeedbackWritesBudgetSlowBurn"),
            *("IngestionStuck", "BatchBehind", "JobsPileUp", "JobsFail"),
        ),
        "ratings and jobs are in the database",
    ),
    Inhibition(
        "DataDiskFull", ("DataDiskFilling", "DatabaseSlow", "DatabaseErrors", "IngestionStuck"), "nothing can be stored"
    ),
    Inhibition(
        "QuotaUsedUp", ("QuotaNear",), "a quota that is used up is also nearly used up", ("tenant", "measure", "window")
    ),
    Inhibition("CanaryRolledBack", ("CanaryWorse",), "a worse canary was rolled back", ("alias",)),
    Inhibition("CertificateAboutToEnd", ("CertificateExpiring",), "the same expiry, closer", ("name",)),
    Inhibition("CertificateNotReady", ("CertificateExpiring",), "it is not renewed because it is not ready", ("name",)),
    Inhibition("GpuMemoryBroken", ("GpuEccErrors",), "a row that can no longer be remapped", ("Hostname", "gpu")),
    Inhibition("OutOfMemory", ("ContainerRestarts",), "a container that is killed restarts", ("pod", "container")),
    Inhibition("ContainerCannotStart", ("ContainerRestarts",), "a container that fails restarts", ("pod", "container")),
    *_budgets(),
)
"""Each cause with its consequences; a consequence can be the cause of others."""


def document() -> dict[str, list[dict[str, Any]]]:
    """Returns `inhibit_rules` for Alertmanager's configuration."""
    return {"inhibit_rules": [each.document for each in INHIBITIONS]}
