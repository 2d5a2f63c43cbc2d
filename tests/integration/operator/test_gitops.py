"""What docs/operations/gitops.md has in Git: applied as Argo CD and Flux do, it never differs and moves nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.metadata import KEPT_ANNOTATIONS
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "gitops.md"

SERVER_SIDE = ("--server-side", "--force-conflicts")

MANAGERS = {
    "Argo CD": (*SERVER_SIDE, "--field-manager=argocd-controller"),
    "Flux": (*SERVER_SIDE, "--field-manager=kustomize-controller"),
    "client-side": (),
}


def documents() -> list[dict[str, Any]]:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [document for block in blocks for document in yaml.load_all(block, yaml.CSafeLoader)]


def chatcluster(namespace: str) -> str:
    """The page's own, in the test's namespace and of the tests' release."""
    (found,) = [document for document in documents() if document["kind"] == "ChatCluster"]
    found["metadata"]["namespace"] = namespace
    found["spec"]["version"] = "1"
    return json.dumps(found)


@pytest.mark.parametrize("manager", MANAGERS)
async def test_what_is_in_git_never_differs_and_never_moves_what_others_set(operator: Operator, manager: str) -> None:
    in_git, flags = chatcluster(operator.namespace), MANAGERS[manager]
    operator.kubectl("create", "secret", "generic", "codes", "--from-literal=secret=0123456789abcdef")
    operator.kubectl("apply", *flags, "-f", "-", stdin=in_git)
    await operator.reconcile(2)
    await operator.migrated()
    await operator.reconcile(2)
    # As an HPA does, and an admin who rotates passwords.
    operator.kubectl("scale", "chatcluster/demo", "--replicas=4")
    operator.kubectl("annotate", "chatcluster/demo", "example.com/note=mine")
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 4
    before = operator.kubectl("get", "chatcluster/demo", "-o", "jsonpath={.metadata.generation}")

    different = operator.server.run_kubectl("diff", *flags, "-n", operator.namespace, "-f", "-", stdin=in_git)
    assert (different.returncode, different.stdout) == (0, ""), different.stderr
    operator.kubectl("apply", *flags, "-f", "-", stdin=in_git)

    live = json.loads(operator.kubectl("get", "chatcluster/demo", "-o", "json"))
    assert live["spec"]["chatserver"]["scaling"]["replicas"] == 4
    assert str(live["metadata"]["generation"]) == before


async def test_what_has_no_owner_is_kept_from_being_pruned(operator: Operator) -> None:
    await operator.brought_up()
    for kind in ("Secret", "PersistentVolumeClaim"):
        for child in await operator.kube.list(kind, operator.namespace):
            kept = not child["metadata"].get("ownerReferences")
            held = child["metadata"].get("annotations", {}).items()
            assert (KEPT_ANNOTATIONS.items() <= held) is kept, child["metadata"]["name"]
    operator.patch({"deletionPolicy": "Delete"})
    await operator.reconcile()
    claim = await operator.get("PersistentVolumeClaim", "demo-postgres-data")
    assert not KEPT_ANNOTATIONS.keys() & claim["metadata"].get("annotations", {}).keys()


async def test_what_a_restore_brings_back_without_owners_is_taken_over(operator: Operator) -> None:
    """Velero leaves owners out. What cannot be made twice is known by its labels; the rest, left out, is made anew."""
    await operator.brought_up()
    kinds = "secrets,configmaps,services,deployments,statefulsets,jobs,pdb,networkpolicies"
    chosen = ("-l", "app.kubernetes.io/instance=demo")
    saved = json.loads(operator.kubectl("get", "secrets", *chosen, "-o", "json"))["items"]
    for item in saved:
        meta = item["metadata"]
        item["metadata"] = {key: meta[key] for key in ("name", "namespace", "labels", "annotations") if key in meta}
    kept = {"demo-database", "demo-chatserver"}
    saved = [item for item in saved if item["metadata"]["name"] in kept]
    password = next(item["data"]["password"] for item in saved if item["metadata"]["name"] == "demo-database")
    operator.kubectl("delete", "chatcluster/demo")
    operator.kubectl("delete", kinds, *chosen, "--wait=false")
    operator.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": saved}))
    operator.create()
    operator.restart()
    await operator.reconcile(2)
    uid = (await operator.get("ChatCluster", "demo"))["metadata"]["uid"]
    for kind in ("Deployment", "StatefulSet", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"):
        for child in await operator.kube.list(kind, operator.namespace, "app.kubernetes.io/instance=demo"):
            assert [owner["uid"] for owner in child["metadata"].get("ownerReferences", [])] == [uid], child["metadata"]
    assert (await operator.get("Secret", "demo-database"))["data"]["password"] == password
