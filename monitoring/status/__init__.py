"""The page `/status`: Headrace's dashboards without Grafana, drawn from any Prometheus."""
