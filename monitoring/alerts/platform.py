"""Alerts about Ray, its pods, and missing metrics."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

_OURS = 'container=~"ray-head|ray-worker|exporter|door"'
_RESTARTS = f"sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{{{_OURS}}}[1h]))"
_MODEL = '{application="model-chat",deployment="chat"}'
_WORKER = 'namespace="headrace",pod="headrace-worker-a",container="ray-worker"'
_HEAD = 'namespace="headrace",pod="headrace'
_LOOPS = 'ray_serve_controller_num_control_loops{actor_id="1"}'


def _gateways(active: str, running: tuple[tuple[str, str], ...] = (("a", "1"), ("b", "1"))) -> list[tuple[str, str]]:
    """Returns samples of healthy gateways, each named with its Ray cluster, and of how many of
    them an HAProxy routes to.
    """
    healthy = 'ray_serve_deployment_replica_healthy{application="headrace",deployment="Gateway"'
    return [
        ('haproxy_backend_active_servers{proxy="http-headrace",instance="10.0.0.7:9101"}', active),
        *((f'{healthy},replica="{replica}",SessionName="{session}"}}', "1x40") for replica, session in running),
    ]


GROUP = Group(
    "alerts-platform",
    (
        Alert(
            name="Watchdog",
            # Somebody outside must notice when this stops: see its runbook.
            expression="sum(headrace_requests_in_flight) >= 0",
            wait="0m",
            severity="none",
            owner="platform",
            summary="Prometheus gets metrics of the stack and evaluates its rules: this alert always fires",
            dashboard="overview",
            fires=alert_case("10m", ("headrace_requests_in_flight", "0x20")),
            silent=alert_case("10m", ("headrace_requests_in_flight", "1x3 stale")),
        ),
        Alert(
            name="PodsUnschedulable",
            expression='max by (namespace, pod) (kube_pod_status_unschedulable{pod=~".*headrace.*"}) == 1',
            wait="15m",
            severity="ticket",
            owner="platform",
            summary="No node has room for the pod {{ $labels.pod }}",
            dashboard="ray",
            fires=alert_case("20m", ('kube_pod_status_unschedulable{namespace="headrace",pod="headrace-a"}', "1x30")),
            # A node pool that adds a node in time, and a pod of somebody else.
            silent=alert_case(
                "20m",
                ('kube_pod_status_unschedulable{namespace="headrace",pod="headrace-a"}', "1x12 stale"),
                ('kube_pod_status_unschedulable{namespace="other",pod="trainer"}', "1x30"),
            ),
        ),
        Alert(
            name="ScrapeMissing",
            expression='up{job=~"headrace|ray|haproxy"} == 0 or up{container=~"ray-head|ray-worker|exporter"} == 0',
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="Prometheus gets no metrics from {{ $labels.job }} at {{ $labels.instance }}",
            dashboard="ray",
            fires=alert_case(
                "10m", ('up{job="headrace/headrace",instance="10.0.0.7:9464",container="exporter"}', "1 0x20")
            ),
            silent=alert_case(
                "10m",
                ('up{job="haproxy",instance="127.0.0.1:9101"}', "1x3 0x4 1x20"),
                ('up{job="kube-controller-manager",instance="10.0.0.1:10257"}', "0x20"),
            ),
        ),
        Alert(
            name="HeadraceMetricsGone",
            # Every gateway always has this series: without it, none runs or none is scraped.
            expression="absent(headrace_requests_in_flight)",
            wait="5m",
            severity="page",
            owner="platform",
            summary="No gateway reports metrics: either none is running, or no exporter is scraped",
            dashboard="overview",
            fires=alert_case("15m", ("headrace_requests_in_flight", "0x3 stale")),
            silent=alert_case("9m", ("headrace_requests_in_flight", "0x5 stale _x2 1x20")),
        ),
        Alert(
            name="RayMetricsGone",
            expression="absent(ray_serve_application_status)",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="Ray reports no metrics of its Serve applications: alerts about Ray cannot fire",
            dashboard="ray",
            fires=alert_case("15m", ('ray_serve_application_status{application="headrace"}', "6x2 stale")),
            silent=alert_case("11m", ('ray_serve_application_status{application="headrace"}', "6x2 stale")),
        ),
        Alert(
            name="GcsDown",
            # The head is ready while Ray's control service (GCS) answers; without Kubernetes, Ray ends with it.
            expression="max by (namespace)"
            ' (kube_pod_status_ready{condition="true",pod=~".*headrace.*-head-.*"}) == 0'
            ' or max by (job) (up{job="ray"}) == 0',
            wait="3m",
            severity="page",
            owner="platform",
            summary="Ray's control service (GCS) does not answer: replicas keep serving, but none is restarted",
            dashboard="ray",
            fires=alert_case("10m", (f'kube_pod_status_ready{{{_HEAD}-a-head-1",condition="true"}}', "0x20")),
            # During an upgrade the old head stops while the new one serves.
            silent=alert_case(
                "10m",
                (f'kube_pod_status_ready{{{_HEAD}-a-head-1",condition="true"}}', "0x20"),
                (f'kube_pod_status_ready{{{_HEAD}-b-head-1",condition="true"}}', "1x20"),
                ('up{job="ray",instance="127.0.0.1:8080"}', "1x8 0x2"),
            ),
        ),
        Alert(
            name="ServeControllerStalled",
            expression="max(changes(ray_serve_controller_num_control_loops[5m])) == 0",
            wait="2m",
            severity="page",
            owner="platform",
            summary="Serve's controller is stalled: it scales, checks and replaces no replicas",
            dashboard="ray",
            fires=alert_case("15m", (_LOOPS, "100+50x5 350x20")),
            silent=alert_case("14m", (_LOOPS, "100+50x9 550x20")),
        ),
        Alert(
            name="ApplicationNotRunning",
            # 1 is DEPLOY_FAILED, 2 is UNHEALTHY.
            expression="min by (application) (ray_serve_application_status) < 3",
            wait="3m",
            severity="page",
            owner="platform",
            summary="The Serve application {{ $labels.application }} failed to deploy or is unhealthy",
            dashboard="ray",
            fires=alert_case("10m", ('ray_serve_application_status{application="headrace"}', "6x3 2x20")),
            silent=alert_case("10m", ('ray_serve_application_status{application="headrace"}', "6x3 2x2 5x20")),
        ),
        Alert(
            name="DeployStuck",
            # 5 is DEPLOYING, which takes a while for a large model.
            expression="max by (application) (ray_serve_application_status) == 5",
            wait="45m",
            severity="ticket",
            owner="platform",
            summary="The Serve application {{ $labels.application }} has been deploying for 45 minutes",
            dashboard="ray",
            fires=alert_case("50m", ('ray_serve_application_status{application="model-chat"}', "5x60")),
            silent=alert_case("50m", ('ray_serve_application_status{application="model-chat"}', "5x40 6x20")),
        ),
        Alert(
            name="DeploymentUnhealthy",
            expression="min by (application, deployment) (ray_serve_deployment_status) == 2",
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="Replicas of {{ $labels.deployment }} in {{ $labels.application }} fail their health checks",
            dashboard="ray",
            fires=alert_case("10m", (f"ray_serve_deployment_status{_MODEL}", "6x2 2x20")),
            silent=alert_case("10m", (f"ray_serve_deployment_status{_MODEL}", "6x2 2x4 6 2x4")),
        ),
        Alert(
            name="AutoscalerStuck",
            expression="sum by (application, deployment) (ray_serve_deployment_replica_healthy)"
            " < max by (application, deployment) (ray_serve_autoscaling_target_replicas)",
            wait="20m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.deployment }} in {{ $labels.application }} has too few replicas ({{ $value }})",
            dashboard="ray",
            fires=alert_case(
                "25m",
                (
                    'ray_serve_deployment_replica_healthy{application="model-chat",deployment="chat",replica="a"}',
                    "1x30",
                ),
                (f"ray_serve_autoscaling_target_replicas{_MODEL}", "2x30"),
            ),
            silent=alert_case(
                "25m",
                (
                    'ray_serve_deployment_replica_healthy{application="model-chat",deployment="chat",replica="a"}',
                    "1x30",
                ),
                (
                    'ray_serve_deployment_replica_healthy{application="model-chat",deployment="chat",replica="b"}',
                    "_x18 1x10",
                ),
                (f"ray_serve_autoscaling_target_replicas{_MODEL}", "2x30"),
            ),
        ),
        Alert(
            name="ProxyUnhealthy",
            expression="max by (node_id) (ray_serve_proxy_status) == 3",
            wait="3m",
            severity="ticket",
            owner="platform",
            summary="The proxy of the Ray node {{ $labels.node_id }} is unhealthy",
            dashboard="ray",
            fires=alert_case("10m", ('ray_serve_proxy_status{node_id="n1",node_ip_address="10.0.0.7"}', "3x20")),
            silent=alert_case("10m", ('ray_serve_proxy_status{node_id="n1",node_ip_address="10.0.0.7"}', "3x8 2 3x2")),
        ),
        Alert(
            name="ProxyLags",
            # A gateway that is gone fails HAProxy's health checks within seconds, so that only missing ones last.
            # During an upgrade two Ray clusters have gateways, and each HAProxy its own: the smaller number counts.
            expression='max by (instance) (haproxy_backend_active_servers{proxy="http-headrace"})'
            " < on () group_left () min(sum by (SessionName) (ray_serve_deployment_replica_healthy{"
            'application="headrace",deployment="Gateway"}))',
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="The HAProxy at {{ $labels.instance }} routes to {{ $value }} gateways; more are healthy",
            dashboard="ray",
            fires=alert_case("15m", *_gateways("2x2 1x20")),
            silent=alert_case("15m", *_gateways("2x2 1x8 2x20", (("a", "1"), ("b", "1"), ("c", "2"), ("d", "2")))),
        ),
        Alert(
            name="NodeMemoryFull",
            # Ray kills replicas at 95 %. Below, other programs of a workstation may fill its memory for a while.
            expression="max by (ip) (ray_node_mem_used / ray_node_mem_total) > 0.93",
            wait="10m",
            severity="page",
            owner="platform",
            summary="The Ray node {{ $labels.ip }} uses {{ $value | humanizePercentage }} of its memory",
            dashboard="ray",
            fires=alert_case(
                "15m", ('ray_node_mem_used{ip="10.0.0.7"}', "94x20"), ('ray_node_mem_total{ip="10.0.0.7"}', "100x20")
            ),
            silent=alert_case(
                "15m",
                ('ray_node_mem_used{ip="10.0.0.7"}', "94x8 92x20"),
                ('ray_node_mem_total{ip="10.0.0.7"}', "100x30"),
            ),
        ),
        Alert(
            name="ContainerRestarts",
            expression=f"{_RESTARTS} > 3",
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.container }} of {{ $labels.pod }} restarted {{ $value | humanize }} times in an hour",
            dashboard="ray",
            fires=alert_case(
                "70m", (f"kube_pod_container_status_restarts_total{{{_WORKER}}}", "0x20 1x5 2x5 3x5 4x40")
            ),
            silent=alert_case("70m", (f"kube_pod_container_status_restarts_total{{{_WORKER}}}", "0x20 1x5 2x50")),
        ),
        Alert(
            name="OutOfMemory",
            expression="max by (namespace, pod, container)"
            f' (kube_pod_container_status_last_terminated_reason{{reason="OOMKilled",{_OURS}}}) == 1'
            f" and on (namespace, pod, container) {_RESTARTS} > 0",
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.container }} of {{ $labels.pod }} was killed for exceeding its memory limit",
            dashboard="ray",
            fires=alert_case(
                "40m",
                (f'kube_pod_container_status_last_terminated_reason{{{_WORKER},reason="OOMKilled"}}', "_x20 1x60"),
                (f"kube_pod_container_status_restarts_total{{{_WORKER}}}", "0x20 1x60"),
            ),
            silent=alert_case(
                "85m",
                (f'kube_pod_container_status_last_terminated_reason{{{_WORKER},reason="OOMKilled"}}', "_x20 1x80"),
                (f"kube_pod_container_status_restarts_total{{{_WORKER}}}", "0x20 1x80"),
            ),
        ),
        Alert(
            name="ContainerCannotStart",
            expression="max by (namespace, pod, container, reason) (kube_pod_container_status_waiting_reason"
            f'{{reason=~"ImagePullBackOff|ErrImagePull|CreateContainerConfigError|CreateContainerError|CrashLoopBackOff",{_OURS}}})'
            " > 0",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.container }} of {{ $labels.pod }} cannot start: {{ $labels.reason }}",
            dashboard="ray",
            fires=alert_case(
                "15m", (f'kube_pod_container_status_waiting_reason{{{_WORKER},reason="ImagePullBackOff"}}', "1x20")
            ),
            silent=alert_case(
                "15m",
                (f'kube_pod_container_status_waiting_reason{{{_WORKER},reason="ImagePullBackOff"}}', "1x9 0 1x10"),
                (f'kube_pod_container_status_waiting_reason{{{_WORKER},reason="ContainerCreating"}}', "1x20"),
            ),
        ),
    ),
)
