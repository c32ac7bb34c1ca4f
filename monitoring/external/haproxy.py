"""Metrics of HAProxy's own exporter, in the version that Ray Serve installs."""

from __future__ import annotations

from monitoring.external.program import program

SERIES = program(
    "haproxy",
    counters={
        ("proxy",): (
            ("haproxy_frontend_http_requests_total", "Requests that a frontend took."),
            ("haproxy_backend_connection_errors_total", "Connections to a server that failed."),
            ("haproxy_backend_response_errors_total", "Answers of servers that were invalid."),
        ),
        ("proxy", "code"): (
            ("haproxy_frontend_http_responses_total", "Answers of a frontend, by class of status."),
            ("haproxy_backend_http_responses_total", "Answers of a backend, by class of status."),
        ),
    },
    gauges={
        ("proxy",): (
            ("haproxy_frontend_current_sessions", "Sessions of a frontend."),
            ("haproxy_backend_current_sessions", "Sessions of a backend."),
            ("haproxy_backend_current_queue", "Requests that wait for a server."),
            ("haproxy_backend_active_servers", "Servers of a backend that are up."),
        ),
        ("proxy", "state"): (("haproxy_backend_status", "1 for the state that a backend is in."),),
        ("proxy", "server", "state"): (("haproxy_server_status", "1 for the state that a server is in."),),
        (): (
            ("haproxy_process_current_connections", "Connections of HAProxy."),
            ("haproxy_process_max_connections", "Connections that HAProxy takes at most."),
            ("haproxy_process_uptime_seconds", "Time since HAProxy started."),
        ),
    },
)
