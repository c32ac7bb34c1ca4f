"""The dashboard of Ray: its nodes, Serve's deployments and the proxy."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import RANGE, largest, mean, or_none, quantile, quotient, rate, series, total

DEPLOYMENT = 'deployment=~"$deployment"'
VOLUME = "namespace,persistentvolumeclaim"
RAY_CONTAINERS = 'container=~"ray-head|ray-worker|exporter|door"'


def dashboard() -> Dashboard:
    """Returns the dashboard: health, Serve's replicas, nodes, tasks, the proxy, and pods on Kubernetes."""
    return Dashboard(
        "ray",
        "Headrace / Ray",
        "Ray's nodes, Serve's deployments and the proxy.",
        variables=(Variable("deployment", "Deployment", series("ray_serve_deployment_replica_healthy"), "deployment"),),
        rows=(
            Row("Health", _health()),
            Row("Serve", _serve()),
            Row("Nodes", _nodes()),
            Row("Work and objects", _work()),
            Row("Proxy", _proxy()),
            Row("Kubernetes", _kubernetes()),
        ),
    )


def _health() -> tuple[Panel, ...]:
    return (
        Panel(
            "Scrape targets up",
            "Targets that Prometheus can scrape, by job. Metrics of other targets are missing or outdated.",
            "1",
            (Target(total("up", "job"), "{{job}} up"), Target(f"count by (job) ({series('up')})", "{{job}} known")),
        ),
        Panel(
            "Applications",
            "Status of a Serve application: 6 running, 5 deploying, 2 unhealthy, 1 failed to deploy.",
            "1",
            (Target(largest("ray_serve_application_status", "application"), "{{application}}"),),
        ),
        Panel(
            "Deployments",
            "Status of a deployment: 6 healthy, 3 updating, 2 unhealthy, 1 failed to deploy.",
            "1",
            (
                Target(
                    largest("ray_serve_deployment_status", "application,deployment", DEPLOYMENT),
                    "{{application}} {{deployment}}",
                ),
            ),
        ),
        Panel(
            "Proxies",
            "Status of the proxy of each node: 2 healthy, 1 starting, 4 draining, 3 unhealthy.",
            "1",
            (Target(largest("ray_serve_proxy_status", "node_id"), "{{node_id}}"),),
        ),
        Panel(
            "Gateways that HAProxy routes to",
            "Gateways that pass the health checks of each HAProxy; compare the healthy replicas of Gateway below.",
            "1",
            (Target(largest("haproxy_backend_active_servers", "instance", 'proxy="http-headrace"'), "{{instance}}"),),
        ),
        Panel(
            "Replicas wanted by the autoscaler",
            "The autoscaler's target number of replicas for each deployment; compare healthy replicas below.",
            "1",
            (Target(largest("ray_serve_autoscaling_target_replicas", "deployment", DEPLOYMENT), "{{deployment}}"),),
        ),
    )


def _serve() -> tuple[Panel, ...]:
    latency = "ray_serve_deployment_processing_latency_ms"
    answered, raised = (
        f"rate({series(f'ray_serve_deployment_{what}_counter_total', DEPLOYMENT)}{RANGE})"
        for what in ("request", "error")
    )
    # The end of a lease, and a caller that hangs up, cancel a call: Ray counts it as an error.
    failed = f'{DEPLOYMENT},exception_type!="CancelledError"'
    return (
        Panel(
            "Healthy replicas",
            "Replicas of each deployment that pass Serve's health checks.",
            "1",
            (Target(total("ray_serve_deployment_replica_healthy", "deployment", DEPLOYMENT), "{{deployment}}"),),
        ),
        Panel(
            "Queued at handles",
            "Requests waiting for a replica. For a model this is the queue for its engines.",
            "1",
            (Target(total("ray_serve_deployment_queued_queries", "deployment", DEPLOYMENT), "{{deployment}}"),),
            steps=(Step(1, "yellow"), Step(50, "red")),
        ),
        Panel(
            "Calls",
            "Ended calls to deployments per second. One request makes several; a call of a model is the lease of a "
            "replica, which is cancelled when the request ends.",
            "requests/s",
            (Target(f"sum by (deployment) ({answered} or {raised})", "{{deployment}}"),),
        ),
        Panel(
            "Errors in replicas",
            "Calls per second that raised an exception in a replica, by deployment and exception. "
            "Cancelled calls do not count.",
            "requests/s",
            (
                Target(
                    or_none(
                        rate("ray_serve_deployment_error_counter_total", "deployment,exception_type", failed),
                        "deployment",
                    ),
                    "{{deployment}} {{exception_type}}",
                ),
            ),
        ),
        Panel(
            "Time in a replica, p95",
            "Duration of a call in a replica; for an engine it is that of the whole answer.",
            "seconds",
            (Target(f"{quantile(0.95, latency, 'deployment', DEPLOYMENT)}/1000", "{{deployment}}"),),
        ),
        Panel(
            "Mean time in a replica",
            "Mean duration of a call in a replica.",
            "seconds",
            (Target(f"{mean(latency, 'deployment', DEPLOYMENT)}/1000", "{{deployment}}"),),
        ),
    )


def _nodes() -> tuple[Panel, ...]:
    used, available = (largest(f"ray_node_mem_{part}", "instance") for part in ("used", "available"))
    return (
        Panel(
            "CPU",
            "Share of each node's CPU in use.",
            "percent",
            (Target(largest("ray_node_cpu_utilization", "instance"), "{{instance}}"),),
            steps=(Step(85, "yellow"), Step(97, "red")),
        ),
        Panel(
            "Memory",
            "Share of each node's memory in use. Above 0.95 Ray kills workers to save the node.",
            "ratio",
            (Target(quotient(used, f"({used}+{available})"), "{{instance}}"),),
            steps=(Step(0.85, "yellow"), Step(0.95, "red")),
        ),
        Panel(
            "Disk",
            "Share of each node's disk in use.",
            "percent",
            (Target(largest("ray_node_disk_utilization_percentage", "instance"), "{{instance}}"),),
            steps=(Step(80, "yellow"), Step(95, "red")),
        ),
        Panel(
            "Network",
            "Bytes that each node received and sent per second.",
            "bytes/s",
            (
                Target(total("ray_node_network_receive_speed", "instance"), "{{instance}} in"),
                Target(total("ray_node_network_send_speed", "instance"), "{{instance}} out"),
            ),
        ),
        Panel(
            "Nodes",
            "Ray's nodes by type and state: active, pending and failed.",
            "1",
            tuple(
                Target(largest(f"ray_cluster_{state}_nodes", "node_type"), f"{{{{node_type}}}} {state}")
                for state in ("active", "pending", "failed")
            ),
        ),
        Panel(
            "Unexpected worker failures",
            "Worker processes per second that exited unexpectedly.",
            "operations/s",
            (Target(rate("ray_node_manager_unexpected_worker_failure_total", "instance"), "{{instance}}"),),
        ),
    )


def _work() -> tuple[Panel, ...]:
    return (
        Panel(
            "Actors by state",
            "Ray's actors, among them each replica. Ray lists dead ones for a while.",
            "1",
            (Target(total("ray_actors", "State", 'Source="gcs"'), "{{State}}"),),
        ),
        Panel(
            "Tasks running or waiting",
            "Tasks that have neither finished nor failed, by state.",
            "1",
            (Target(total("ray_tasks", "State", 'State!~"FINISHED|FAILED"'), "{{State}}"),),
        ),
        Panel(
            "Object store",
            "Bytes in Ray's object store, by location. SPILLED is on disk.",
            "bytes",
            (Target(total("ray_object_store_memory", "Location"), "{{Location}}"),),
            stacked=True,
        ),
    )


def _proxy() -> tuple[Panel, ...]:
    return (
        Panel(
            "Responses by status class",
            "Responses of the proxy per second, by status class, including those that it generates itself.",
            "requests/s",
            (Target(rate("haproxy_frontend_http_responses_total", "proxy,code"), "{{proxy}} {{code}}"),),
        ),
        Panel(
            "Waiting in the proxy",
            "Requests waiting in the proxy for a gateway replica.",
            "1",
            (Target(total("haproxy_backend_current_queue", "proxy"), "{{proxy}}"),),
            steps=(Step(1, "yellow"), Step(100, "red")),
        ),
        Panel(
            "Failed connections",
            "Failed connections per second from the proxy to gateway replicas, and invalid responses.",
            "operations/s",
            (
                Target(rate("haproxy_backend_connection_errors_total", "proxy"), "{{proxy}} connection"),
                Target(rate("haproxy_backend_response_errors_total", "proxy"), "{{proxy}} answer"),
            ),
        ),
    )


def _kubernetes() -> tuple[Panel, ...]:
    container, legend = "namespace,pod,container", "{{namespace}}/{{pod}} {{container}}"
    return (
        Panel(
            "Ready pods",
            "Pods of Headrace: 1 is ready, 0 is not.",
            "1",
            (
                Target(
                    largest("kube_pod_status_ready", "namespace,pod", 'condition="true",pod=~".*headrace.*"'),
                    "{{namespace}}/{{pod}}",
                ),
            ),
        ),
        Panel(
            "Container restarts",
            "Container restarts in Ray's pods during the interval.",
            "1",
            (
                Target(
                    f"sum by ({container}) "
                    f"(increase({series('kube_pod_container_status_restarts_total', RAY_CONTAINERS)}{RANGE}))",
                    legend,
                ),
            ),
        ),
        Panel(
            "Container waiting and exit reasons",
            "1 for the reason why a container is waiting, or why it last terminated, such as OOMKilled.",
            "1",
            (
                Target(
                    largest("kube_pod_container_status_waiting_reason", f"{container},reason", RAY_CONTAINERS),
                    f"{legend} waits: {{{{reason}}}}",
                ),
                Target(
                    largest("kube_pod_container_status_last_terminated_reason", f"{container},reason", RAY_CONTAINERS),
                    f"{legend} ended: {{{{reason}}}}",
                ),
            ),
        ),
        Panel(
            "Pods without a node",
            "1 for a pod of Headrace for which no node has room.",
            "1",
            (
                Target(
                    largest("kube_pod_status_unschedulable", "namespace,pod", 'pod=~".*headrace.*"'),
                    "{{namespace}}/{{pod}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Volumes free",
            "Share of each volume that is free.",
            "ratio",
            (
                Target(
                    quotient(
                        largest("kubelet_volume_stats_available_bytes", VOLUME),
                        largest("kubelet_volume_stats_capacity_bytes", VOLUME),
                    ),
                    "{{namespace}}/{{persistentvolumeclaim}}",
                ),
            ),
            steps=(Step(0.1, "yellow"), Step(0.2, "green")),
            base="red",
            width=12,
        ),
    )
