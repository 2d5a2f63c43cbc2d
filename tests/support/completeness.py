"""What belongs to each part of the product besides its code, and what of that a part lacks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import yaml

from chatoperator.desired import manifests
from monitoring.rules import ALERTS
from tests.support import scrapes
from tests.support.chatclusters import cluster, desired
from tests.support.cluster import ROOT
from tests.support.runbooks import runbooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OPERATIONS = ROOT / "docs" / "operations"
CHART = ROOT / "charts" / "chatcluster-operator"

PARTS_FOLDER = ROOT / "operator" / "chatoperator" / "parts"

WITHOUT_MONITORING = {
    "migrate": "a Job that ends; its result is the condition Progressing, on which ChatChangeStuck acts",
}
"""Pod labels of what has no metrics, with the reason."""


WITH_EVERYTHING = {
    "monitoring": {"probe": {"enabled": True}},
    "bus": {"type": "Valkey"},
    "database": {"backup": {"repository": {"volume": {}}, "drill": {}}},
}
"""Fields of the spec without which a part is left out."""


@dataclass(frozen=True)
class Part:
    """One part, as users of Prometheus and readers of the pages know it.

    Attributes:
        component: Label of its series, and in the table of failures.
        pod: Label app.kubernetes.io/component of its pods.
        prefix: Beginning of the names of its metrics.
        title: Of its rows in the table of sizes.
    """

    component: str
    pod: str
    prefix: str
    title: str


PARTS = (
    Part("chatserver", "chatserver", "chatserver_", "chatserver"),
    Part("ingress", "ingress", "haproxy_", "HAProxy"),
    Part("database", "postgres", "chatpostgres_", "PostgreSQL"),
    Part("probe", "probe", "chatprobe_", "probe"),
    Part("bus", "bus", "valkey_", "Valkey"),
    Part("backup", "backup", "chatbackup_", "backups"),
    Part("operator", "operator", "chatcluster_", "operator"),
)


def folders() -> set[str]:
    """Packages of parts in the operator."""
    return {path.parent.name for path in PARTS_FOLDER.glob("*/__init__.py")}


def objects() -> list[Mapping[str, Any]]:
    """All objects of a chat that has every part."""
    return list(manifests.render(desired(cluster(**WITH_EVERYTHING))))


def templates(made: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Pod templates by their label app.kubernetes.io/component."""
    found = [one["spec"]["template"] for one in made if one["kind"] in {"Deployment", "StatefulSet", "Job"}]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in found}


def missing(part: Part, made: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a part lacks, as sentences; empty where it is complete."""
    return [*_monitoring(part), *_pages(part), *(_operator() if part.pod == "operator" else _safety(part, made))]


def _monitoring(part: Part) -> Iterator[str]:
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    if f"| `{part.prefix}" not in reference and f"{part.title}'s metrics are described in" not in reference:
        yield f"no metric in docs/reference/metrics.md begins with {part.prefix}"
    alerts = {alert.name for alert in ALERTS if part.prefix in alert.expr}
    if not alerts:
        yield f"no alert of monitoring/rules uses a metric that begins with {part.prefix}"
    yield from (f"no case of tests/monitoring/cases makes {name} fire" for name in sorted(alerts - _fired()))
    yield from (f"docs/runbooks has no page {name}.md" for name in sorted(alerts - {book.name for book in runbooks()}))
    dashboards = [path.read_text() for path in (CHART / "monitoring" / "dashboards").glob("*.json")]
    if not any(part.prefix in text for text in dashboards):
        yield f"no dashboard queries a metric that begins with {part.prefix}"
    if not any(part.pod in json.dumps(job["relabel_configs"]) for job in scrapes.documented()):
        yield "the scrape configuration in docs/operations/monitoring.md leaves out its pods"


def _fired() -> set[str]:
    """Alerts that a case makes fire."""
    names = sorted(path.stem for path in (ROOT / "tests" / "monitoring" / "cases").glob("*.py"))
    modules = [import_module(f"tests.monitoring.cases.{name}") for name in names]
    return {case.alert for module in modules for case in module.CASES}


def _pages(part: Part) -> Iterator[str]:
    rows = {
        "monitoring.md": ("what is scraped", f"`{part.component}`"),
        "failures.md": ("what its failure causes", f"`{part.component}`"),
        "sizing.md": ("its size", part.title),
    }
    for name, (subject, cell) in rows.items():
        if f"\n| {cell}" not in (OPERATIONS / name).read_text():
            yield f"docs/operations/{name} has no row on {subject}, which begins with {cell}"


def _safety(part: Part, made: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    template = templates(made).get(part.pod)
    if template is None:
        yield f"the operator makes no pod with the label {part.pod}"
        return
    labels = template["metadata"]["labels"].items()
    policies = [one for one in made if one["kind"] == "NetworkPolicy"]
    if not any(one["spec"]["podSelector"]["matchLabels"].items() <= labels for one in policies):
        yield "no NetworkPolicy selects its pods"
    for container in template["spec"]["containers"]:
        if {"cpu", "memory"} - container["resources"].get("limits", {}).keys():
            yield f"its container {container['name']} has no limit of CPU and memory"


def _operator() -> Iterator[str]:
    """The same of the operator's own pod, which the chart makes."""
    values = yaml.load((CHART / "values.yaml").read_text(), yaml.CSafeLoader)
    if {"cpu", "memory"} - values["resources"]["limits"].keys():
        yield "the chart's resources.limits has no CPU and memory"
    if not values["networkPolicy"]["enabled"]:
        yield "the chart's networkPolicy is not enabled"
