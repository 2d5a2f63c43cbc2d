"""The token of a database's instances in a thief's hands: what Patroni needs works, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.desired import manifests
from chatoperator.metadata import ROLE_LABEL
from tests.support import rights
from tests.support.chatclusters import THREE, body, desired
from tests.support.thief import Thief

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apiserver import ApiServer

    Manifest = dict[str, Any]

pytestmark = pytest.mark.integration

REFUSED = "ValidatingAdmissionPolicy"

MEMBER, SERVER = "demo-postgres-2-0", "demo-chatserver-0"


@pytest.fixture
def database(server: ApiServer, namespace: str) -> dict[tuple[str, str], Manifest]:
    """A chat with three instances of its database, and pods of two of its parts."""
    chatcluster = parse(body(namespace=namespace, database={"instances": 3}))
    made = {
        (one["kind"], one["metadata"]["name"]): one for one in manifests.render(desired(chatcluster, replication=THREE))
    }
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Secret"}
    rights.apply(server, [one for (kind, _), one in made.items() if kind in kinds])
    workloads = {MEMBER: ("StatefulSet", "demo-postgres-2"), SERVER: ("Deployment", "demo-chatserver")}
    rights.apply(server, [_pod(made[key], name, namespace) for name, key in workloads.items()])
    return made


def _pod(workload: Manifest, name: str, namespace: str) -> Manifest:
    template = workload["spec"]["template"]
    metadata = {**template["metadata"], "name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.fixture
def thief(server: ApiServer, namespace: str, database: dict[tuple[str, str], Manifest]) -> Iterator[Thief]:
    """With the token that is mounted in an instance."""
    assert database
    token = server.run_kubectl("create", "token", "demo-postgres", "-n", namespace).stdout.strip()
    with Thief(server, token) as stolen:
        yield stolen


def metadata(**fields: Any) -> Manifest:
    return {"metadata": fields}


def test_what_patroni_writes_is_accepted(thief: Thief, namespace: str) -> None:
    selected = "labelSelector=app.kubernetes.io%2Finstance%3Ddemo"
    told = {
        "role": thief.patch("Pod", namespace, MEMBER, metadata(labels={ROLE_LABEL: "primary"})),
        "no role": thief.patch("Pod", namespace, MEMBER, metadata(labels={ROLE_LABEL: None})),
        "state": thief.patch("Pod", namespace, MEMBER, metadata(annotations={"status": '{"state":"running"}'})),
        "pods": thief.call("GET", f"/api/v1/namespaces/{namespace}/pods?{selected}"),
        "ConfigMaps": thief.call("GET", f"/api/v1/namespaces/{namespace}/configmaps?{selected}"),
        "leader": thief.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/demo-postgres-leader"),
    }
    for key, written in {
        "leader": {"leader": MEMBER, "ttl": "20", "renewTime": "a", "optime": "1", "failsafe": "{}"},
        "config": {"initialize": "7000", "history": "[]"},
        "failover": {"leader": None, "member": None},
        "sync": {"leader": MEMBER, "sync_standby": None, "quorum": "0"},
    }.items():
        told[f"{key}, written"] = thief.patch(
            "ConfigMap", namespace, f"demo-postgres-{key}", metadata(annotations=written)
        )
    assert told == dict.fromkeys(told, "")


def test_more_is_refused_by_the_policy(thief: Thief, namespace: str, database: dict[tuple[str, str], Manifest]) -> None:
    containers = database["StatefulSet", "demo-postgres-2"]["spec"]["template"]["spec"]["containers"]
    owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0000"}]
    for change in (
        metadata(labels={"app.kubernetes.io/component": "chatserver"}),
        metadata(labels={"app.kubernetes.io/instance": "other"}),
        metadata(labels={"app.kubernetes.io/name": None}),
        metadata(labels={"chatcluster.io/database-instance": "3"}),
        metadata(annotations={"chatcluster.io/credentials-hash": "0"}),
        metadata(annotations={"k8s.v1.cni.cncf.io/networks": "host"}),
        metadata(annotations={"config": "{}"}),
        metadata(finalizers=["example.com/never"]),
        metadata(ownerReferences=owners),
        {"spec": {"containers": [{**containers[0], "image": "evil"}, containers[1]]}},
        {"spec": {"activeDeadlineSeconds": 1}},
    ):
        assert REFUSED in thief.patch("Pod", namespace, MEMBER, change), change
    for change in (
        metadata(annotations={"config": '{"postgresql":{"parameters":{"archive_command":"sh"}}}'}),
        metadata(annotations={"config": None}),
        metadata(annotations={"chatcluster.io/switchover": "a"}),
        metadata(labels={ROLE_LABEL: "primary"}),
        metadata(labels={"app.kubernetes.io/managed-by": None}),
        metadata(finalizers=["example.com/never"]),
        metadata(ownerReferences=owners),
        {"data": {"a": "b"}},
        {"binaryData": {"a": "YQ=="}},
    ):
        assert REFUSED in thief.patch("ConfigMap", namespace, "demo-postgres-config", change), change


def test_everything_else_is_refused_by_the_role(thief: Thief, namespace: str) -> None:
    here, labels = f"/api/v1/namespaces/{namespace}", metadata(labels={ROLE_LABEL: "primary"})
    new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more", "namespace": namespace}}
    told = {
        "another part's pod": thief.patch("Pod", namespace, SERVER, labels),
        "another part's ConfigMap": thief.patch("ConfigMap", namespace, "demo-ingress", labels),
        "PostgreSQL's configuration": thief.patch("ConfigMap", namespace, "demo-postgres", labels),
        "Secrets": thief.call("GET", f"{here}/secrets"),
        "its own Secret": thief.call("GET", f"{here}/secrets/demo-database"),
        "a new ConfigMap": thief.create(new),
        "a deletion": thief.delete("ConfigMap", namespace, "demo-postgres-leader"),
        "a pod's end": thief.delete("Pod", namespace, MEMBER),
        "a command": thief.call("POST", f"{here}/pods/{MEMBER}/exec?command=sh"),
        "logs": thief.call("GET", f"{here}/pods/{MEMBER}/log"),
        "status": thief.call("PATCH", f"{here}/pods/{MEMBER}/status", {}),
        "a token": thief.call("POST", f"{here}/serviceaccounts/demo-postgres/token", {}),
        "workloads": thief.call("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets"),
        "ChatClusters": thief.call("GET", f"/apis/chatcluster.io/v1alpha1/namespaces/{namespace}/chatclusters"),
        "other namespaces": thief.call("GET", "/api/v1/namespaces/kube-system/pods"),
        "nodes": thief.call("GET", "/api/v1/nodes"),
    }
    assert {what: words for what, words in told.items() if not words.startswith("403")} == {}
