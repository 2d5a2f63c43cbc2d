"""Every pod that the operator or the chart can make, tried on a real API server whose namespace is `restricted`."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.desired import manifests
from tests.support.chart import render
from tests.support.chatclusters import desired
from tests.support.cluster import ROOT
from tests.support.goldens import goldens, pods

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

PARTS = {"backup", "bus", "ingress", "chatserver", "postgres", "migrate", "probe"}


def everything(namespace: str) -> dict[str, dict[str, Any]]:
    """A Pod from each template, by where the template comes from."""
    sources = goldens()
    for path in (ROOT / "examples").glob("*.yaml"):
        for number, document in enumerate(yaml.load_all(path.read_text(), yaml.CSafeLoader)):
            if document["kind"] == "ChatCluster":
                document["metadata"] |= {"uid": "0000-demo", "generation": 1}
                sources[f"{path.name} {number}"] = list(manifests.render(desired(parse(document))))
    for values in ((), ("replicas=2",), ("watchNamespaces={chat}",)):
        sources[f"chart {' '.join(values)}"] = render(*values)
    return {
        f"{source}: {owner}": pod
        for source, manifests in sources.items()
        for owner, pod in pods(manifests, namespace).items()
    }


def tried(server: ApiServer, made: dict[str, dict[str, Any]]) -> str:
    """What the API server has against the Pods; nothing where it would take all of them."""
    # Numbered, since one name may only be tried once.
    items = [
        {**pod, "metadata": {**pod["metadata"], "name": f"try-{number}", "annotations": {"from": source}}}
        for number, (source, pod) in enumerate(made.items())
    ]
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = server.run_kubectl("create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", stdin=stdin)
    accepted = done.stdout.split()
    return done.stderr if done.returncode or len(accepted) != len(items) else ""


def test_every_pod_is_admitted_where_pod_security_is_restricted(server: ApiServer, namespace: str) -> None:
    # Which a golden file and an example name.
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "chat"}, "value": 1}
    assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(priority)).returncode == 0
    # That of a database of several instances.
    assert server.run_kubectl("create", "serviceaccount", "demo-postgres", "-n", namespace).returncode == 0
    made = everything(namespace)
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in made.values()}
    assert parts == PARTS | {"operator"}
    assert tried(server, made) == ""


@pytest.mark.parametrize(
    ("weakened", "complaint"),
    [
        ({"hostNetwork": True}, "hostNetwork=true"),
        ({"securityContext": {"runAsNonRoot": True, "runAsUser": 1}}, "seccompProfile"),
        ({"hostIPC": True}, "hostIPC=true"),
    ],
)
def test_a_pod_that_may_more_is_refused(
    server: ApiServer, namespace: str, weakened: dict[str, Any], complaint: str
) -> None:
    """Otherwise the test above would show nothing."""
    source, manifests = next(iter(goldens().items()))
    pod = next(iter(pods(manifests, namespace).values()))
    worse = copy.deepcopy(pod)
    worse["spec"] |= weakened
    refused = tried(server, {source: worse})
    assert 'violates PodSecurity "restricted:latest"' in refused
    assert complaint in refused
