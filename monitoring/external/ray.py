"""Ray's metrics, of `serve/_private`, `dashboard/modules/reporter` and the raylet, as Ray's agent exports them."""

from __future__ import annotations

from monitoring.external.program import program

SCOPE = ("otel_scope_name", "otel_scope_schema_url", "otel_scope_version")
PROCESS = ("Component", "JobId", "NodeAddress", "SessionName", "Version", *SCOPE)
RAY = (*PROCESS, "WorkerId")
REPLICA = ("deployment", "replica", "application", *RAY)
HANDLE = ("deployment", "application", "handle", "actor_id", *RAY)
NODE = ("ip", "Version", "SessionName", "IsHeadNode", "RayNodeType", *SCOPE)
GPU = (*NODE, "GpuDeviceName", "GpuIndex", "GpuUuid")

SERIES = program(
    "ray",
    counters={
        (*REPLICA, "route"): (("ray_serve_deployment_request_counter_total", "Requests that a replica has answered."),),
        (*REPLICA, "route", "exception_type"): (
            ("ray_serve_deployment_error_counter_total", "Requests that ended in an exception in a replica."),
        ),
        REPLICA: (
            ("ray_serve_deployment_replica_starts_total", "Starts of a replica."),
            ("ray_serve_health_check_failures_total", "Health checks of a replica that failed."),
        ),
        ("route", "method", "application", "status_code", *RAY): (
            ("ray_serve_num_http_requests_total", "HTTP requests that the proxy has answered."),
        ),
        ("route", "method", "application", "error_code", *RAY): (
            ("ray_serve_num_http_error_requests_total", "HTTP requests that the proxy has answered with an error."),
        ),
        RAY: (("ray_node_manager_unexpected_worker_failure_total", "Ray workers that exited unexpectedly."),),
        ("Type", "Name", *RAY): (
            ("ray_memory_manager_worker_eviction_total", "Workers that Ray killed for lack of memory."),
        ),
    },
    gauges={
        REPLICA: (
            ("ray_serve_deployment_replica_healthy", "1 for a replica that is healthy."),
            ("ray_serve_replica_processing_queries", "Requests in progress in a replica."),
            ("ray_serve_replica_utilization_percent", "Share of a replica's capacity in use, 0 to 100."),
        ),
        HANDLE: (
            ("ray_serve_deployment_queued_queries", "Requests that wait for a replica."),
            ("ray_serve_num_ongoing_requests_at_replicas", "Requests sent to a replica that have not ended."),
        ),
        ("deployment", "application", *RAY): (
            (
                "ray_serve_deployment_status",
                "Status of a deployment: 1 deploy failed, 2 unhealthy, 3 updating, 6 healthy.",
            ),
            ("ray_serve_autoscaling_target_replicas", "The autoscaler's target number of replicas."),
        ),
        ("application", *RAY): (
            (
                "ray_serve_application_status",
                "Status of an application: 1 deploy failed, 2 unhealthy, 5 deploying, 6 running.",
            ),
        ),
        ("node_id", "node_ip_address", *RAY): (
            ("ray_serve_proxy_status", "Status of a proxy: 1 starting, 2 healthy, 3 unhealthy, 4 draining."),
            ("ray_serve_num_ongoing_http_requests", "HTTP requests in a proxy."),
        ),
        ("actor_id", *RAY): (
            ("ray_serve_controller_num_control_loops", "Control loops of Serve's controller since its start."),
        ),
        NODE: (
            ("ray_node_cpu_utilization", "Utilisation of a node's CPUs, 0 to 100."),
            ("ray_node_cpu_count", "CPUs of a node."),
            ("ray_node_mem_used", "Used memory of a node."),
            ("ray_node_mem_total", "Memory of a node."),
            ("ray_node_mem_available", "Memory free on a node."),
            ("ray_node_disk_usage", "Disk space in use on a node."),
            ("ray_node_disk_free", "Disk space free on a node."),
            ("ray_node_disk_utilization_percentage", "Utilisation of a node's disk, 0 to 100."),
            ("ray_node_network_receive_speed", "Bytes that a node receives per second."),
            ("ray_node_network_send_speed", "Bytes that a node sends per second."),
        ),
        GPU: (
            ("ray_node_gpus_utilization", "Utilisation of a GPU, 0 to 100."),
            ("ray_node_gram_used", "Memory in use on a GPU, in MB."),
            ("ray_node_gram_available", "Memory free on a GPU, in MB."),
            ("ray_node_gpu_power_milliwatts", "Power that a GPU draws."),
            ("ray_node_gpu_temperature_celsius", "Temperature of a GPU."),
        ),
        ("ip", "pid", "Version", "Component", "SessionName", *SCOPE): (
            ("ray_component_cpu_percentage", "CPU that a component uses; 100 is one CPU."),
            ("ray_component_rss_bytes", "Resident memory of a component."),
        ),
        ("node_type", "Version", "SessionName", *SCOPE): (
            ("ray_cluster_active_nodes", "Active nodes."),
            ("ray_cluster_failed_nodes", "Failed nodes."),
            ("ray_cluster_pending_nodes", "Nodes that are starting."),
        ),
        # Ray omits the worker from these two, since one series per worker would be too many.
        ("State", "Name", "Source", "IsRetry", *PROCESS): (("ray_tasks", "Tasks, by state."),),
        ("State", "Name", "Source", *PROCESS): (("ray_actors", "Actors, by state."),),
        ("Name", "State", *RAY): (("ray_resources", "Ray's logical resources, used or available."),),
        ("Location", "ObjectState", *RAY): (("ray_object_store_memory", "Bytes in the object store, by location."),),
    },
    histograms={
        (*REPLICA, "route"): (("ray_serve_deployment_processing_latency_ms", "Duration of a request in a replica."),),
        ("method", "route", "application", "status_code", *RAY): (
            ("ray_serve_http_request_latency_ms", "Duration of a request, measured by the proxy."),
        ),
    },
    units={
        "ray_node_mem_used": "bytes",
        "ray_node_mem_total": "bytes",
        "ray_node_mem_available": "bytes",
        "ray_node_disk_usage": "bytes",
        "ray_node_disk_free": "bytes",
        "ray_node_network_receive_speed": "bytes",
        "ray_node_network_send_speed": "bytes",
        "ray_node_gram_used": "megabytes",
        "ray_node_gram_available": "megabytes",
        "ray_object_store_memory": "bytes",
    },
)
