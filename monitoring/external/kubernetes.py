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
        (*POD, "phase"): (("kube_pod_status_phase", "1 for the phase that a pod is in."),),
        (*POD, "condition"): (("kube_pod_status_ready", "1 for the value of a pod's condition Ready."),),
        POD: (("kube_pod_status_unschedulable", "1 for a pod that no node can take."),),
        (*CONTAINER, "reason"): (
            ("kube_pod_container_status_waiting_reason", "1 for the reason that a container waits for."),
            ("kube_pod_container_status_last_terminated_reason", "1 for the reason that a container last ended for."),
        ),
        (*CONTAINER, "node", "resource", "unit"): (
            ("kube_pod_container_resource_requests", "Resources that a container asks for."),
            ("kube_pod_container_resource_limits", "Resources that a container may use."),
        ),
        WORKLOAD: (
            ("kube_deployment_spec_replicas", "Replicas that a deployment shall have."),
            ("kube_deployment_status_replicas_available", "Replicas of a deployment that are available."),
            ("kube_deployment_status_replicas_unavailable", "Replicas of a deployment that are not available."),
        ),
        ("node", "condition", "status"): (("kube_node_status_condition", "1 for the value of a node's condition."),),
        ("node", "resource", "unit"): (("kube_node_status_allocatable", "Resources of a node that pods may have."),),
        ("namespace", "job_name", "reason"): (("kube_job_status_failed", "Pods of a job that failed, by reason."),),
        (*CLAIM, "phase"): (("kube_persistentvolumeclaim_status_phase", "1 for the phase that a claim is in."),),
        CLAIM: (
            ("kubelet_volume_stats_available_bytes", "Space free on a volume."),
            ("kubelet_volume_stats_capacity_bytes", "Space of a volume."),
        ),
    },
)
