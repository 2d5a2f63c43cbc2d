"""Writes the chart's dashboards: part of `make docs`. A test compares them."""

from __future__ import annotations

from pathlib import Path

from monitoring.dashboards.chatservers import CHATSERVERS
from monitoring.dashboards.database import DATABASE
from monitoring.dashboards.fleet import FLEET
from monitoring.dashboards.grafana import render
from monitoring.dashboards.ingress import INGRESS
from monitoring.dashboards.overview import OVERVIEW
from monitoring.dashboards.replication import REPLICATION

DASHBOARDS = (OVERVIEW, CHATSERVERS, INGRESS, DATABASE, REPLICATION, FLEET)
"""In the order in which somebody looks at them in an incident."""

FOLDER = Path(__file__).parents[2] / "charts" / "chatcluster-operator" / "monitoring" / "dashboards"


def made() -> dict[str, str]:
    """The files by name, such as `overview.json`."""
    return {f"{dashboard.name}.json": render(dashboard) for dashboard in DASHBOARDS}


def main() -> None:
    """Write all files, and delete those of dashboards that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = made()
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
