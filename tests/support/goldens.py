"""The golden manifests and the rendered chart, for tests that look at all of what would run."""

from collections.abc import Iterable
from typing import Any

import yaml

from tests.support.cluster import ROOT

GOLDENS = ROOT / "tests" / "operator" / "data"


def goldens() -> dict[str, list[dict[str, Any]]]:
    """All manifests of each golden file, by its name without `.yaml`."""
    return {
        path.stem: list(yaml.load_all(path.read_text(), yaml.CSafeLoader)) for path in sorted(GOLDENS.glob("*.yaml"))
    }


def pods(manifests: Iterable[dict[str, Any]], namespace: str) -> dict[str, dict[str, Any]]:
    """A Pod from each pod template, as a controller would make it, by the kind and name of what holds the template.

    Args:
        manifests: Deployments, StatefulSets, Jobs, and whatever else there is.
        namespace: Where the Pods are to be.
    """
    made = {}
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if template is not None:
            owner = f"{manifest['kind']}/{manifest['metadata']['name']}"
            metadata = {**template["metadata"], "name": manifest["metadata"]["name"], "namespace": namespace}
            made[owner] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return made
