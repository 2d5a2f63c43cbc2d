"""Scrape configurations of Prometheus: the documented one, those of PodMonitors, and what each finds among pods."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

PAGE = ROOT / "docs" / "operations" / "monitoring.md"

_ports = itertools.count(1)


def block(beginning: str) -> str:
    """The YAML block of the page of monitoring that begins so.

    Raises:
        AssertionError: There is none, or several.
    """
    found: list[str] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (one,) = (text for text in found if text.startswith(beginning))
    return one


def documented() -> list[dict[str, Any]]:
    """The jobs for a plain Prometheus."""
    jobs: list[dict[str, Any]] = yaml.load(block("scrape_configs:"), yaml.CSafeLoader)["scrape_configs"]
    return jobs


def of_monitor(monitor: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The jobs that the Prometheus Operator makes from a PodMonitor, as its pkg/prometheus/promcfg.go does.

    Only the parts that the chart uses: labels to match, namespaces, a named port, parameters and relabelings.
    """
    spec, own = monitor["spec"], monitor["metadata"]
    chosen = spec.get("namespaceSelector", {})
    names = [] if chosen.get("any") else chosen.get("matchNames", [own["namespace"]])
    assert set(spec["selector"]) == {"matchLabels"}
    for number, endpoint in enumerate(spec["podMetricsEndpoints"]):
        relabelings: list[dict[str, Any]] = [
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
        ]
        for label, value in sorted(spec["selector"]["matchLabels"].items()):
            meta = _identifier(label)
            sources = [f"__meta_kubernetes_pod_label_{meta}", f"__meta_kubernetes_pod_labelpresent_{meta}"]
            relabelings.append({"source_labels": sources, "regex": f"({value});true", "action": "keep"})
        port = ["__meta_kubernetes_pod_container_port_name"]
        relabelings.append({"source_labels": port, "regex": endpoint["port"], "action": "keep"})
        relabelings += [
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            *map(_snake, endpoint.get("relabelings", ())),
        ]
        yield {
            "job_name": f"podMonitor/{own['namespace']}/{own['name']}/{number}",
            "honor_labels": endpoint.get("honorLabels", False),
            **({"metrics_path": endpoint["path"]} if "path" in endpoint else {}),
            **({"params": endpoint["params"]} if "params" in endpoint else {}),
            "kubernetes_sd_configs": [{"role": "pod", **({"namespaces": {"names": names}} if names else {})}],
            "relabel_configs": relabelings,
            "metric_relabel_configs": list(map(_snake, endpoint.get("metricRelabelings", ()))),
        }


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text)


def _snake(relabeling: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"(?=[A-Z])", "_", name).lower(): value for name, value in relabeling.items()}


def with_files(jobs: Iterable[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], folder: Path) -> list[Any]:
    """Jobs that find pods in files, with the labels that Kubernetes' discovery gives, which Debian's Prometheus lacks.

    Args:
        jobs: With `kubernetes_sd_configs` of role pod.
        pods: Pod templates with a name and a namespace in their metadata.
        folder: Where the files go.
    """
    found = [target for pod in pods for target in _targets(pod)]
    made = []
    for job in jobs:
        kept = {name: value for name, value in job.items() if name != "kubernetes_sd_configs"}
        (discovery,) = job["kubernetes_sd_configs"]
        assert set(discovery) <= {"role", "namespaces", "selectors"}
        assert discovery["role"] == "pod"
        names = discovery.get("namespaces", {}).get("names", ())
        here = [one for one in found if not names or one["labels"]["__meta_kubernetes_namespace"] in names]
        for selector in discovery.get("selectors", ()):
            assert selector["role"] == "pod"
            label, _, value = selector["label"].partition("=")
            meta = f"__meta_kubernetes_pod_label_{_identifier(label)}"
            here = [one for one in here if one["labels"].get(meta) == value]
        path = folder / f"{_identifier(job['job_name'])}.json"
        path.write_text(json.dumps(here))
        made.append({**kept, "file_sd_configs": [{"files": [str(path)]}]})
    return made


def _targets(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """As Kubernetes' discovery with role pod: a target for each port of a container, one for a container without."""
    metadata = pod["metadata"]
    labels = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_pod_name": metadata["name"],
        "__meta_kubernetes_pod_phase": "Running",
    }
    for label, value in metadata["labels"].items():
        meta = _identifier(label)
        labels |= {f"__meta_kubernetes_pod_label_{meta}": value, f"__meta_kubernetes_pod_labelpresent_{meta}": "true"}
    for container in pod["spec"]["containers"]:
        of_container = {**labels, "__meta_kubernetes_pod_container_name": container["name"]}
        ports: list[dict[str, Any]] = container.get("ports", [])
        for port in ports:
            name = {"__meta_kubernetes_pod_container_port_name": port["name"]}
            # Nothing listens there, so that a scrape reaches nobody.
            yield {"targets": [f"127.0.0.1:{next(_ports)}"], "labels": {**of_container, **name}}
        if not ports:
            yield {"targets": ["127.0.0.1"], "labels": of_container}
