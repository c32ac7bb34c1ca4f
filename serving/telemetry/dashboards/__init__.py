"""The dashboards and alerts of the console: written by `monitoring`, evaluated by any Prometheus."""
