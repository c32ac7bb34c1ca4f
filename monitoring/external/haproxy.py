"""Metrics of HAProxy's own exporter, in the version that Ray Serve installs."""

from __future__ import annotations

from monitoring.external.program import program

SERIES = program(
    "haproxy",
    counters={
        ("proxy",): (
            ("haproxy_frontend_http_requests_total", "Requests received by a frontend."),
            ("haproxy_backend_connection_errors_total", "Failed connections to a server."),
            ("haproxy_backend_response_errors_total", "Invalid responses of servers."),
        ),
        ("proxy", "code"): (
            ("haproxy_frontend_http_responses_total", "Responses of a frontend, by status class."),
            ("haproxy_backend_http_responses_total", "Responses of a backend, by status class."),
        ),
    },
    gauges={
        ("proxy",): (
            ("haproxy_frontend_current_sessions", "Sessions of a frontend."),
            ("haproxy_backend_current_sessions", "Sessions of a backend."),
            ("haproxy_backend_current_queue", "Requests that wait for a server."),
            ("haproxy_backend_active_servers", "Servers of a backend that are up."),
        ),
        ("proxy", "state"): (("haproxy_backend_status", "1 for the current state of a backend."),),
        ("proxy", "server", "state"): (("haproxy_server_status", "1 for the current state of a server."),),
        (): (
            ("haproxy_process_current_connections", "Connections of HAProxy."),
            ("haproxy_process_max_connections", "Maximum number of connections of HAProxy."),
            ("haproxy_process_uptime_seconds", "Time since HAProxy started."),
        ),
    },
)
