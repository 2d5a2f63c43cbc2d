"""What the API server itself says to ChatClusters: defaults, refusals in sentences, subresources."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.api.parse import parse
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration


def _merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(base)
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = _merged(made[key], value)
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


HOOK = {"url": "https://sms.example.com/codes", "secretName": "codes"}


def _server(**changed: Any) -> dict[str, Any]:
    return {"spec": {"chatserver": changed}}


def _hook(**changed: Any) -> dict[str, Any]:
    return {"spec": {"auth": {"otp": {"sender": "Webhook", "webhook": {**HOOK, **changed}}}}}


def _front(**front: Any) -> dict[str, Any]:
    return {"spec": {"ingress": {"hostnames": ["chat.example.com"], "front": front}}}


def _issuer(reference: dict[str, Any] | None, *, mode: str | None = "CertManager", **ingress: Any) -> dict[str, Any]:
    tls = {"mode": mode, "issuerRef": reference}
    return {"spec": {"ingress": {"hostnames": ["chat.example.com"], "tls": tls, **ingress}}}


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

ANYWAY = {"whenUnsatisfiable": "ScheduleAnyway"}

NEAR = {"topologyKey": "zone"}

EMPTY_IN = {"matchExpressions": [{"key": "a", "operator": "In"}]}

IN_MANY = {"key": "a", "operator": "In", "values": ["b"] * 65}


def _spread(**changed: Any) -> dict[str, Any]:
    return {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", **changed}


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        (
            {"spec": {"chatserver": {"scaling": {"minReplicas": 5, "maxReplicas": 2}}}},
            "must not be greater than maxReplicas",
        ),
        ({"spec": {"chatserver": {"scaling": {"minReplicas": 20}}}}, "must not be greater than maxReplicas"),
        ({"spec": {"chatserver": {"scaling": {"replicas": 3}}}}, "must be 1, its default, in mode Internal"),
        ({"spec": {"auth": {"otp": {"allowDevelopmentCodes": False}}}}, "set auth.otp.allowDevelopmentCodes to true"),
        ({"spec": {"auth": {"otp": {"allowDevelopmentCodes": None}}}}, "set auth.otp.allowDevelopmentCodes to true"),
        ({"spec": {"auth": {"otp": {"sender": None}}}}, "auth.otp.sender must be set"),
        ({"spec": {"auth": None}}, "auth.otp.sender must be set"),
        ({"spec": {"auth": {"otp": {"sender": "Pigeon"}}}}, "Unsupported value"),
        ({"spec": {"auth": {"otp": {"sender": "Webhook"}}}}, "webhook belongs to sender Webhook"),
        ({"spec": {"auth": {"otp": {"webhook": HOOK}}}}, "webhook belongs to sender Webhook"),
        (_hook(url="http://sms.example.com/"), "must be an https URL"),
        (_hook(url="https:///codes"), "must be an https URL"),
        (_hook(url="https://me:key@sms.example.com/"), "neither credentials nor a fragment"),
        (_hook(secretName=None), "secretName: Required value"),
        ({"spec": {"auth": {"limits": {"codesPerNumberPerHour": 0}}}}, "greater than or equal to 1"),
        ({"spec": {"ingress": {"service": {"nodePort": 30000}}}}, "nodePort needs type NodePort or LoadBalancer"),
        ({"spec": {"ingress": {"tls": {"mode": "Secret"}}}}, "secretName belongs to mode Secret"),
        ({"spec": {"ingress": {"tls": {"secretName": "mine"}}}}, "secretName belongs to mode Secret"),
        (_issuer(None), "issuerRef belongs to mode CertManager"),
        (_issuer({"name": "ours"}, mode="SelfSigned"), "issuerRef belongs to mode CertManager"),
        (_issuer({"name": "ours"}, mode=None), "issuerRef belongs to mode CertManager"),
        (_issuer({"kind": "Issuer"}), "issuerRef.name: Required value"),
        (_issuer({"name": "ours", "kind": "Notary"}), "kind must be Issuer or ClusterIssuer"),
        (_issuer({"name": "ours"}, hostnames=[]), "hostnames must have an entry in ingress.tls.mode CertManager"),
        (
            {"spec": {"ingress": {"front": {"kind": "Ingress"}}}},
            "must have an entry if ingress.front is set",
        ),
        (_front(kind="HTTPRoute"), "parentRefs belong to kind HTTPRoute"),
        (_front(kind="Ingress", parentRefs=[{"name": "public"}]), "parentRefs belong to kind HTTPRoute"),
        (_front(kind="HTTPRoute", parentRefs=[{"name": "a"}], className="b"), "belong to kind Ingress"),
        (_front(kind="HTTPRoute", parentRefs=[{"name": "a"}], tlsSecretName="b"), "belong to kind Ingress"),
        (_front(kind="HTTPRoute", parentRefs=[]), "should have at least 1 items"),
        (_front(className="a"), "front.kind: Required value"),
        ({"spec": {"images": {"registry": "registry.example.com/chat"}}}, "spec.images.registry in body should match"),
        ({"spec": {"images": {"registry": "https://registry.example.com/"}}}, "spec.images.registry in body should"),
        ({"spec": {"images": {"pullSecrets": ["mine", "mine"]}}}, "Duplicate value"),
        ({"spec": {"ingress": {"hostnames": ["Chat.example.com"]}}}, "hostnames"),
        ({"spec": {"chatserver": {"drainSeconds": 9}}}, "greater than or equal to 10"),
        (_server(env=[{"name": "CHAT_HTTP_PORT", "value": "1"}]), "must not set variables that the operator sets"),
        (_server(env=[{"name": "A"}, {"name": "A"}]), "Duplicate value"),
        (_server(podTemplate={"labels": {"app.kubernetes.io/name": "x"}}), "must not begin with app.kubernetes.io/"),
        (_server(podTemplate={"labels": {"a b": "x"}}), "podTemplate.labels must have names such as team"),
        (_server(podTemplate={"labels": {"Example.com/a": "x"}}), "podTemplate.labels must have names such as team"),
        (_server(podTemplate={"labels": {"a" * 64: "x"}}), "podTemplate.labels must have names such as team"),
        (_server(podTemplate={"labels": {"a": "no blanks"}}), "podTemplate.labels.a in body should match"),
        (_server(podTemplate={"annotations": {"a/b/c": "x"}}), "podTemplate.annotations must have names such as team"),
        (_server(podTemplate={"nodeSelector": {"a": "-"}}), "podTemplate.nodeSelector.a in body should match"),
        (_server(podTemplate={"nodeSelector": {"": "a"}}), "podTemplate.nodeSelector must name labels"),
        (_server(podTemplate={"tolerations": [{"operator": "Equal"}]}), "tolerations: key must be set"),
        (_server(podTemplate={"tolerations": [{"effect": "NoSchedule"}]}), "tolerations: key must be set"),
        (
            _server(podTemplate={"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
            "operator Exists takes no value",
        ),
        (_server(podTemplate={"tolerations": [{"key": "a", "tolerationSeconds": 1}]}), "belongs to effect NoExecute"),
        (_server(podTemplate={"tolerations": [{"key": "a b"}]}), "tolerations[0].key in body should match"),
        (_server(podTemplate={"topologySpreadConstraints": [_spread(topologyKey="")]}), "topologyKey in body should"),
        (
            _server(podTemplate={"topologySpreadConstraints": [{**_spread(), **ANYWAY, "minDomains": 2}]}),
            "minDomains belongs to whenUnsatisfiable DoNotSchedule",
        ),
        (
            _server(podTemplate={"affinity": {"podAffinity": {REQUIRED: [{**NEAR, "labelSelector": EMPTY_IN}]}}}),
            "operators In and NotIn need values",
        ),
        (_server(podTemplate={"priorityClassName": "system-node-critical"}), "must not begin with system-"),
        (_server(migration={"podTemplate": {"labels": {"a b": "x"}}}), "podTemplate.labels must have names"),
        ({"spec": {"ingress": {"podTemplate": {"labels": {"a b": "x"}}}}}, "podTemplate.labels must have names"),
        ({"spec": {"database": {"podTemplate": {"labels": {"a b": "x"}}}}}, "podTemplate.labels must have names"),
        (_server(image="chat:1\u001b[31m"), "chatserver.image in body should match"),
        (_server(image="chat:1 "), "chatserver.image in body should match"),
        ({"spec": {"ingress": {"image": "a\nb"}}}, "ingress.image in body should match"),
        ({"spec": {"database": {"image": "\u202eb"}}}, "database.image in body should match"),
        (_server(resources={"limits": {"cpu": "half"}}), "resources.limits.cpu in body should match"),
        (_server(resources={"limits": {"cpu": -1}}), "greater than or equal to 0"),
        (_server(resources={"limits": {"cpu": {"a": {}}}}), "resources.limits.cpu: Too many"),
        (_server(resources={"limits": {"cpu": [1]}}), "resources.limits.cpu: Too many"),
        (_server(resources={"limits": {"cpu": True}}), "must not validate the schema (not)"),
        (
            {"spec": {"database": {"external": {"secretName": "a", "secretKey": "a/b"}}}},
            "secretKey in body should match",
        ),
        (_server(podTemplate={"annotations": {"chatcluster.io/x": "y"}}), "must not begin with chatcluster.io/"),
        ({"spec": {"ingress": {"limits": {"trustedProxies": ["proxy.example.com"]}}}}, "trustedProxies"),
        ({"spec": {"ingress": {"service": {"proxyProtocolFrom": ["any"]}}}}, "proxyProtocolFrom"),
        ({"spec": {"ingress": {"limits": {"connectionsPerIP": 0}}}}, "greater than or equal to 1"),
        ({"spec": {"database": {"parameters": {"Work Mem": "1MB"}}}}, "names of PostgreSQL parameters"),
        ({"spec": {"database": {"storage": {"size": "0"}}}}, "size"),
        ({"metadata": {"name": "n" * 41}}, "at most 40 characters"),
        ({"metadata": {"name": "chat.one"}}, "must start with a letter and hold only"),
        ({"metadata": {"name": "1chat"}}, "must start with a letter and hold only"),
    ],
)
def test_wrong_is_refused_with_a_sentence(
    server: ApiServer, minimal: dict[str, Any], namespace: str, patch: dict[str, Any], sentence: str
) -> None:
    assert sentence in server.admin(namespace).refusal(_merged(minimal, patch))


def _nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


@pytest.mark.parametrize(
    "template",
    [
        {"affinity": _nested(900)},
        {"affinity": {"a": [{}] * 400_000}},
        {"tolerations": [{"key": "a", "operator": "Exists", "a": [{}] * 100_000}]},
        {"topologySpreadConstraints": [_spread(a=_nested(900))]},
        {"affinity": {"podAffinity": {"a": _nested(900)}}},
    ],
    ids=["deep", "wide", "wide toleration", "deep constraint", "deep below a field"],
)
def test_what_the_schema_does_not_name_is_not_kept(
    server: ApiServer, minimal: dict[str, Any], namespace: str, template: dict[str, Any]
) -> None:
    """Whatever it is: one object of a tenant would otherwise fill the operator's memory, or end its stack."""
    text = json.dumps(_merged(minimal, _server(podTemplate=template)))
    made = server.run_kubectl("create", "--validate=false", "-f", "-", stdin=text)
    assert made.returncode == 0, made.stderr
    stored = server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json", "--show-managed-fields").stdout
    assert len(stored) < 16_384


@pytest.mark.parametrize(
    "template",
    [
        {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}] * 17}}}},
        {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "zone"}] * 17}}},
        {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "zone", "namespaces": ["a"] * 33}]}}},
        {"tolerations": [{"key": "a", "operator": "Exists"}] * 33},
        {"topologySpreadConstraints": [_spread(labelSelector={"matchExpressions": [IN_MANY]})]},
    ],
    ids=["node terms", "pod terms", "namespaces", "tolerations", "values"],
)
def test_more_than_a_scheduler_needs_is_refused(
    server: ApiServer, minimal: dict[str, Any], namespace: str, template: dict[str, Any]
) -> None:
    assert "Too many" in server.admin(namespace).refusal(_merged(minimal, _server(podTemplate=template)))


@pytest.mark.parametrize(
    ("first", "then", "sentence"),
    [
        ({"storage": {"size": "10Gi"}}, {"storage": {"size": "9Gi"}}, "must not shrink"),
        ({"storage": {"size": "20Gi"}}, {}, "must not shrink"),
        ({"storage": {"storageClassName": "fast"}}, {"storage": {"storageClassName": "slow"}}, "immutable"),
        ({"storage": {"storageClassName": "fast"}}, {}, "immutable"),
        ({}, {"storage": {"storageClassName": "fast"}}, "immutable"),
        ({}, {"external": {"secretName": "mine"}}, "cannot be added or removed"),
        ({"external": {"secretName": "mine"}}, {}, "cannot be added or removed"),
    ],
)
def test_changes_that_would_lose_data_are_refused(
    server: ApiServer, minimal: dict[str, Any], first: dict[str, Any], then: dict[str, Any], sentence: str
) -> None:
    """By replacing the whole object: removing a field must not get around a rule."""
    created = server.run_kubectl("create", "-f", "-", stdin=json.dumps(_merged(minimal, {"spec": {"database": first}})))
    assert created.returncode == 0, created.stderr
    changed = _merged(minimal, {"spec": {"database": then}} if then else {})
    refused = server.run_kubectl("replace", "-f", "-", stdin=json.dumps(changed))
    assert refused.returncode != 0
    assert sentence in refused.stderr


def test_the_volume_may_grow(server: ApiServer, minimal: dict[str, Any]) -> None:
    for size in ("1000Mi", "1Gi", "1Ti"):
        changed = _merged(minimal, {"spec": {"database": {"storage": {"size": size}}}})
        assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(changed)).returncode == 0


TOLERATION = {"key": "a", "operator": "Exists", "value": None, "effect": None, "tolerationSeconds": None}

EMPTY: dict[str, Any] = {
    "version": None,
    "images": {"registry": None, "pullSecrets": None},
    "ingress": {
        "image": None,
        "replicas": None,
        "hostnames": None,
        "service": {"type": None, "nodePort": None, "annotations": None},
        "tls": {"mode": None, "secretName": None, "issuerRef": None},
        "front": None,
        "limits": {"connectionsPerIP": None},
        "resources": {"requests": None, "limits": {"cpu": None}},
        "podTemplate": {"labels": None, "affinity": None, "priorityClassName": None},
    },
    "chatserver": {
        "image": None,
        "scaling": {"mode": None, "replicas": None},
        "podTemplate": {
            "tolerations": [TOLERATION],
            "affinity": {"nodeAffinity": None, "podAffinity": {REQUIRED: None}},
        },
        "migration": None,
    },
    "database": {"external": None, "image": None, "storage": {"storageClassName": None, "size": None}},
    "networkPolicies": None,
}


@pytest.mark.parametrize("way", ["client-side", "server-side"])
def test_a_field_that_a_file_leaves_empty_is_absent(
    server: ApiServer, minimal: dict[str, Any], namespace: str, way: str
) -> None:
    spec = {**EMPTY, "auth": {**minimal["spec"]["auth"], "limits": None}}
    apply = ["apply", "-f", "-", *(["--server-side"] if way == "server-side" else [])]
    applied = server.run_kubectl(*apply, stdin=json.dumps({**minimal, "spec": spec}))
    assert applied.returncode == 0, applied.stderr
    got = json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout)
    template = {"podTemplate": {"tolerations": [{"key": "a", "operator": "Exists"}], "affinity": {"podAffinity": {}}}}
    assert parse(got) == parse({**got, "spec": {**minimal["spec"], "chatserver": template}})


@pytest.mark.parametrize("way", ["client-side", "server-side"])
def test_numbers_and_no_storage_class_are_taken_as_pods_and_claims_take_them(
    server: ApiServer, minimal: dict[str, Any], namespace: str, way: str
) -> None:
    resources = {"requests": {"cpu": 0.5, "memory": 1073741824}, "limits": {"cpu": 2, "memory": "2Gi"}}
    database = {"resources": resources, "storage": {"storageClassName": ""}}
    apply = ["apply", "-f", "-", *(["--server-side"] if way == "server-side" else [])]
    for _ in range(2):
        applied = server.run_kubectl(*apply, stdin=json.dumps(_merged(minimal, {"spec": {"database": database}})))
        assert applied.returncode == 0, applied.stderr
    got = parse(json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout))
    assert got.database.storage.storage_class_name == ""
    assert dict(got.database.resources.requests) == {"cpu": "0.5", "memory": "1073741824"}


def test_every_default_is_filled_in(server: ApiServer, minimal: dict[str, Any], namespace: str) -> None:
    assert server.run_kubectl("create", "-f", "-", stdin=json.dumps(minimal)).returncode == 0
    got = json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout)
    scaling = got["spec"]["chatserver"]["scaling"]
    assert scaling == {
        "mode": "Internal",
        "replicas": 1,
        "minReplicas": 2,
        "maxReplicas": 10,
        "scaleDownStabilizationSeconds": 300,
    }
    # The operator's own defaults are the same: what it reads from the filled-in object equals what it reads without.
    bare = {**got, "spec": minimal["spec"]}
    assert parse(got) == parse(bare)


def test_the_scale_subresource_belongs_to_external_mode(
    server: ApiServer, minimal: dict[str, Any], namespace: str
) -> None:
    assert server.run_kubectl("create", "-f", "-", stdin=json.dumps(minimal)).returncode == 0
    refused = server.run_kubectl("scale", "cc/demo", "-n", namespace, "--replicas=4")
    assert refused.returncode != 0
    assert "must be 1, its default, in mode Internal" in refused.stderr
    external = _merged(minimal, {"spec": {"chatserver": {"scaling": {"mode": "External", "replicas": 2}}}})
    assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(external)).returncode == 0
    scaled = server.run_kubectl("scale", "chat/demo", "-n", namespace, "--replicas=4")
    assert scaled.returncode == 0, scaled.stderr
    got = json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout)
    assert got["spec"]["chatserver"]["scaling"]["replicas"] == 4


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_accepted(server: ApiServer, namespace: str, path: Any) -> None:
    for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
        if document["kind"] == "Namespace":
            continue
        document["metadata"]["namespace"] = namespace
        created = server.run_kubectl("create", "-f", "-", stdin=json.dumps(document))
        assert created.returncode == 0, created.stderr


def test_get_shows_the_columns_an_admin_needs(server: ApiServer, minimal: dict[str, Any], namespace: str) -> None:
    assert server.run_kubectl("create", "-f", "-", stdin=json.dumps(minimal)).returncode == 0
    header = server.run_kubectl("get", "chatclusters", "-n", namespace).stdout.splitlines()[0]
    assert header.split() == ["NAME", "READY", "SERVERS", "CONNECTIONS", "URL", "AGE"]
