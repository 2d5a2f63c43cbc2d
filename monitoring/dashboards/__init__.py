"""Grafana dashboards as data; `python -m monitoring.dashboards` writes the JSON files that the chart contains."""
