"""The page `/status`: our dashboards without Grafana, drawn from any Prometheus."""
