"""The chart's PodMonitors select every pod of a chat that has metrics, at a port that it has, and no other pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chart import render
from tests.support.completeness import objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.integration

ON = "monitoring.podMonitors.enabled=true"


def monitors(*values: str) -> dict[str, dict[str, Any]]:
    found = [document for document in render(*values) if document["kind"] == "PodMonitor"]
    return {document["metadata"]["name"]: document for document in found}


def pods(made: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [document["spec"]["template"] for document in made if document["kind"] in {"Deployment", "StatefulSet"}]


def selected(monitor: dict[str, Any], templates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    return [template for template in templates if wanted <= template["metadata"]["labels"].items()]


def ports(template: dict[str, Any]) -> set[str]:
    return {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", []) if port}


def test_there_is_a_monitor_only_where_it_is_wanted_or_its_kind_exists() -> None:
    assert not monitors()
    assert len(monitors(ON)) == 7
    assert not monitors("monitoring.podMonitors.enabled=false")


def test_each_monitor_selects_one_workload_at_a_port_that_it_has() -> None:
    chart = render(ON)
    templates = [*pods(objects()), *pods(chart)]
    names = {}
    for name, monitor in monitors(ON).items():
        (template,) = selected(monitor, templates)
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports(template), name
        fixed = [one["replacement"] for one in endpoint.get("relabelings", ()) if one["targetLabel"] == "component"]
        names[template["metadata"]["labels"]["app.kubernetes.io/component"]] = fixed
    assert names == {
        "backup": ["backup"],
        "bus": ["bus"],
        "chatserver": ["chatserver"],
        "ingress": ["ingress"],
        "postgres": ["database"],
        "probe": ["probe"],
        "operator": ["operator"],
    }


def test_a_chat_of_another_namespace_than_those_served_is_not_scraped() -> None:
    assert monitors(ON)["chatcluster-operator-ingress"]["spec"]["namespaceSelector"] == {"any": True}
    narrow = monitors(ON, "watchNamespaces={a,b}")
    assert narrow["chatcluster-operator-ingress"]["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}


def test_labels_and_interval_reach_every_monitor() -> None:
    made = monitors(ON, "monitoring.podMonitors.labels.release=kps", "monitoring.podMonitors.interval=30s")
    for monitor in made.values():
        assert monitor["metadata"]["labels"]["release"] == "kps"
        assert [endpoint["interval"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["30s"]
