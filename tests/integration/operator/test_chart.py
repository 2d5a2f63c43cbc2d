"""The chart as Helm renders it: accepted by a real API server, refusing wrong values, naming the right images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator import settings
from tests.support.chart import CHART, KUBERNETES_VERSION, helm, render

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration


def one(kind: str, made: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [document for document in made if document["kind"] == kind]
    return found


def test_helm_finds_nothing_to_complain_about() -> None:
    done = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES_VERSION)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "value",
    [
        "images.registry=no-slash",
        "images.pullPolicy=Sometimes",
        "logLevel=LOUD",
        "unknown=1",
        "crd.keep=true",
        "replicas=0",
        "admission.operator=maybe",
        "admission.chatclusters.images={registry.example.com}",
        "admission.chatclusters.hostnames={it's.example.com}",
        "monitoring.podMonitors.enabled=maybe",
        "monitoring.podMonitors.interval=soon",
        "watchNamespace=chat",
        "watchNamespaces={Chat}",
        "watchNamespaces={chat,chat}",
    ],
)
def test_wrong_values_are_refused(value: str) -> None:
    assert helm("template", "x", str(CHART), "--kube-version", KUBERNETES_VERSION, "--set", value).returncode != 0


def environment(container: dict[str, Any]) -> dict[str, str]:
    """What the operator's process gets; what Kubernetes fills in is a limit of 1 GiB, or a name."""
    filled = {"resourceFieldRef": str(2**30), "fieldRef": "from-the-pod"}
    return {
        entry["name"]: entry["value"] if "value" in entry else filled[next(iter(entry["valueFrom"]))]
        for entry in container["env"]
    }


def test_the_environment_is_what_the_operator_reads() -> None:
    deployment = one("Deployment", render("images.registry=registry.example.com/chat/", "images.tag=2.0"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/chat/chatcluster-operator:2.0"
    read = settings.read(environment(container))
    assert (read.memory_bytes, read.cache_bytes_max) == (2**30, 3 * 2**27)
    assert read.version == "2.0"
    assert read.images.chatserver == "registry.example.com/chat/chatcluster-chatserver:2.0"
    assert read.images.postgres == "registry.example.com/chat/chatcluster-postgres:2.0"
    assert read.images.haproxy == "registry.example.com/chat/chatcluster-haproxy:2.0"
    assert read.watch_namespaces == ()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": read.health_port, "metrics": read.metrics_port}


def test_named_namespaces_need_no_cluster_role() -> None:
    made = render("watchNamespaces={chat,support}")
    kinds = {document["kind"] for document in made}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    for kind in ("Role", "RoleBinding"):
        found = {(role["metadata"]["name"], role["metadata"]["namespace"]) for role in made if role["kind"] == kind}
        assert found == {
            ("chatcluster-operator", "chat"),
            ("chatcluster-operator", "support"),
            ("chatcluster-operator-lease", "chatcluster-system"),
        }
    (container,) = one("Deployment", made)["spec"]["template"]["spec"]["containers"]
    read = settings.read(environment(container))
    assert read.watch_namespaces == ("chat", "support")


def test_one_operator_has_no_budget_and_two_are_kept_apart() -> None:
    assert "PodDisruptionBudget" not in {document["kind"] for document in render()}
    made = render("replicas=2")
    assert one("PodDisruptionBudget", made)["spec"]["maxUnavailable"] == 1
    deployment = one("Deployment", made)["spec"]
    assert deployment["replicas"] == 2
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]


def test_the_lease_has_the_name_that_the_role_allows() -> None:
    made = render()
    (container,) = one("Deployment", made)["spec"]["template"]["spec"]["containers"]
    read = settings.read(environment(container))
    assert one("Role", made)["rules"][1]["resourceNames"] == [read.lease_name]


def test_metrics_are_for_the_own_namespace_and_whom_the_values_name() -> None:
    made = render("networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=sre")
    policy = one("NetworkPolicy", made)["spec"]
    assert policy["podSelector"]["matchLabels"] == one("Deployment", made)["spec"]["selector"]["matchLabels"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"team": "sre"}}}]
    assert "NetworkPolicy" not in {document["kind"] for document in render("networkPolicy.enabled=false")}


def test_the_crd_can_be_left_out() -> None:
    assert "CustomResourceDefinition" not in {document["kind"] for document in render("crd.create=false")}


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_real_api_server_accepts_all_of_it_under_restricted(server: ApiServer, namespace: str, replicas: int) -> None:
    made = render(f"replicas={replicas}", namespace=namespace)
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    done = server.run_kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=items)
    assert done.returncode == 0, done.stderr
    template = one("Deployment", made)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": namespace}}
    pod["spec"] = template["spec"]
    tried = server.run_kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert tried.returncode == 0, tried.stderr


def test_admission_policies_bind_the_operators_account_and_can_be_left_out() -> None:
    made = render("watchNamespaces={chat,support}", namespace="other")
    about_others = {f"chatcluster-operator.other.{name}" for name in ("chatclusters", "members")}
    made = [document for document in made if document["metadata"]["name"] not in about_others]
    policies = [document for document in made if document["kind"] == "ValidatingAdmissionPolicy"]
    bindings = [document for document in made if document["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert policies
    assert [one["spec"]["policyName"] for one in bindings] == [one["metadata"]["name"] for one in policies]
    account = one("ServiceAccount", made)["metadata"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    for policy in policies:
        assert user in policy["spec"]["matchConditions"][0]["expression"]
        assert policy["spec"]["failurePolicy"] == "Fail"
        variables = {variable["name"]: variable["expression"] for variable in policy["spec"]["variables"]}
        assert variables["served"] == "['chat','support']"
    off = ("admission.operator=false", "admission.chatclusters.enabled=false")
    kinds = {document["kind"] for document in render(*off)}
    assert not {kind for kind in kinds if kind.startswith("Validating")}
