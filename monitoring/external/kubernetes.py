"""Metrics of kube-state-metrics (its `docs/metrics`) and of the kubelet's volumes."""

from __future__ import annotations

from monitoring.external.program import program

POD = ("namespace", "pod", "uid")
CONTAINER = (*POD, "container")
WORKLOAD = ("namespace", "deployment")
CLAIM = ("namespace", "persistentvolumeclaim")

SERIES = program(
    "kubernetes",
    counters={
        CONTAINER: (("kube_pod_container_status_restarts_total", "Restarts of a container."),),
    },
    gauges={
        (*POD, "phase"): (("kube_pod_status_phase", "1 for the current phase of a pod."),),
        (*POD, "condition"): (("kube_pod_status_ready", "1 for the value of a pod's condition Ready."),),
        POD: (("kube_pod_status_unschedulable", "1 for a pod that cannot be scheduled."),),
        (*CONTAINER, "reason"): (
            ("kube_pod_container_status_waiting_reason", "1 for the reason why a container is waiting."),
            ("kube_pod_container_status_last_terminated_reason", "1 for the reason why a container last terminated."),
        ),
        (*CONTAINER, "node", "resource", "unit"): (
            ("kube_pod_container_resource_requests", "Resources that a container requests."),
            ("kube_pod_container_resource_limits", "Resource limits of a container."),
        ),
        WORKLOAD: (
            ("kube_deployment_spec_replicas", "Configured number of replicas of a deployment."),
            ("kube_deployment_status_replicas_available", "Replicas of a deployment that are available."),
            ("kube_deployment_status_replicas_unavailable", "Replicas of a deployment that are not available."),
        ),
        ("node", "condition", "status"): (("kube_node_status_condition", "1 for the value of a node's condition."),),
        ("node", "resource", "unit"): (("kube_node_status_allocatable", "Allocatable resources of a node."),),
        ("namespace", "job_name", "reason"): (("kube_job_status_failed", "Failed pods of a job, by reason."),),
        (*CLAIM, "phase"): (("kube_persistentvolumeclaim_status_phase", "1 for the current phase of a claim."),),
        CLAIM: (
            ("kubelet_volume_stats_available_bytes", "Free space on a volume."),
            ("kubelet_volume_stats_capacity_bytes", "Size of a volume."),
        ),
    },
)
