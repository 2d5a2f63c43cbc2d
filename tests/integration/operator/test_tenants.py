"""Somebody who may only make ChatClusters in one namespace: what they ask for beyond it is refused, with a remedy."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import rights
from tests.support.chart import render

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

EVERYBODY: dict[str, Any] = {"topologyKey": "kubernetes.io/hostname", "namespaceSelector": {}}
NAMED = {"topologyKey": "kubernetes.io/hostname", "namespaces": ["bank"]}
OWN = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


HOSTNAMES = ["chat.example.com"]


def pod(**fields: Any) -> dict[str, Any]:
    return {"chatserver": {"podTemplate": fields}}


def pods(**fields: Any) -> dict[str, dict[str, Any]]:
    """The same of each part in turn, by its field."""
    template = {"podTemplate": fields}
    return {
        "ingress": {"ingress": {"hostnames": HOSTNAMES, **template}},
        "chatserver": {"ingress": {"hostnames": HOSTNAMES}, "chatserver": template},
        "chatserver.migration": {"ingress": {"hostnames": HOSTNAMES}, "chatserver": {"migration": template}},
        "database": {"ingress": {"hostnames": HOSTNAMES}, "database": template},
    }


def service(name: str, value: str = "x") -> dict[str, Any]:
    return {"ingress": {"hostnames": HOSTNAMES, "service": {"annotations": {name: value}}}}


def front(name: str) -> dict[str, Any]:
    return {"ingress": {"hostnames": HOSTNAMES, "front": {"kind": "Ingress", "annotations": {name: "x"}}}}


REFUSED: dict[str, dict[str, Any]] = {
    "far from everybody's pods": pod(affinity={"podAntiAffinity": {REQUIRED: [EVERYBODY]}}),
    "far from a namespace's pods": pod(affinity={"podAntiAffinity": {REQUIRED: [OWN, NAMED]}}),
    "rather far from everybody's pods": pod(
        affinity={"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": EVERYBODY}]}}
    ),
    "near everybody's pods": pod(affinity={"podAffinity": {REQUIRED: [EVERYBODY]}}),
    "every taint": pod(tolerations=[{"operator": "Exists"}]),
    "every taint by an empty key": pod(tolerations=[{"operator": "Exists", "key": "", "effect": "NoSchedule"}]),
    "no AppArmor": pod(annotations={"container.apparmor.security.beta.kubernetes.io/chatserver": "unconfined"}),
    "no seccomp": pod(annotations={"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}),
    "no seccomp in a container": pod(annotations={"container.seccomp.security.alpha.kubernetes.io/chatserver": "x"}),
    "another network": pod(annotations={"k8s.v1.cni.cncf.io/networks": "host"}),
    "devices": pod(annotations={"cdi.k8s.io/disk": "example.com/disk=all"}),
    "devices by CRI-O": pod(annotations={"devices.crio.io": "/dev/sda"}),
    "the runtime": pod(annotations={"io.kubernetes.cri-o.userns-mode": "auto"}),
    "a virtual machine's settings": pod(annotations={"io.katacontainers.config.hypervisor.path": "/bin/sh"}),
    "a volume by a sidecar": pod(annotations={"sidecar.istio.io/userVolume": "[]"}),
    "Ambassador's configuration": service("getambassador.io/config"),
    "a snippet on the Service": service("haproxy.org/backend-config-snippet"),
    "a snippet": front("nginx.ingress.kubernetes.io/configuration-snippet"),
    "a server's snippet": front("nginx.ingress.kubernetes.io/server-snippet"),
    "NGINX Inc.'s snippets": front("nginx.org/location-snippets"),
    "HAProxy's snippet": front("haproxy.org/backend-config-snippet"),
    "haproxy-ingress' configuration": front("haproxy-ingress.github.io/config-backend"),
    "another host": front("nginx.ingress.kubernetes.io/server-alias"),
    "another namespace's Secret": front("nginx.ingress.kubernetes.io/auth-secret"),
    "another namespace's certificate": front("nginx.ingress.kubernetes.io/auth-tls-secret"),
    "requests to any address": front("nginx.ingress.kubernetes.io/auth-url"),
    "a copy of all requests": front("nginx.ingress.kubernetes.io/mirror-target"),
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "own pods": pod(affinity={"podAntiAffinity": {REQUIRED: [OWN]}}),
    "a named taint": pod(tolerations=[{"operator": "Exists", "key": "dedicated", "effect": "NoSchedule"}]),
    "a taint with a value": pod(tolerations=[{"key": "dedicated", "value": "chat"}]),
    "an injected proxy": pod(annotations={"sidecar.istio.io/inject": "true"}),
    "a cloud's load balancer": service("service.beta.kubernetes.io/aws-load-balancer-type", "nlb"),
    "a body size": front("nginx.ingress.kubernetes.io/proxy-body-size"),
    "an issuer": front("cert-manager.io/cluster-issuer"),
}


DNS = "external-dns.alpha.kubernetes.io/hostname"
INTERNAL_DNS = "external-dns.alpha.kubernetes.io/internal-hostname"

OF_THE_CLUSTER: dict[str, dict[str, Any]] = {
    "another's DNS name": service(DNS, "bank.example.com"),
    "another's among its own": service(DNS, "chat.example.com, bank.example.com"),
    "an internal one": service(INTERNAL_DNS, "bank.example.com"),
    "the control plane": pod(tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
}
"""What the chart's policy refuses unless its values allow it."""

LISTED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "images": ("registry.example.com/chat/", {"images": {"registry": "evil.example.com/"}}, {}),
    "an image": (
        "registry.example.com/chat/",
        {"chatserver": {"image": "registry.example.com/evil:1"}},
        {"database": {"image": "registry.example.com/chat/postgres:1"}},
    ),
    "hostnames": (
        ".example.com",
        {"ingress": {"hostnames": ["chat.example.com", "evilexample.com"]}},
        {"ingress": {"hostnames": ["chat.example.com"]}},
    ),
    "annotations": ("sidecar.istio.io/", service("alb.ingress.kubernetes.io/group.name"), {}),
    "tolerations": (
        "dedicated",
        pod(tolerations=[{"key": "gpu", "operator": "Exists"}]),
        pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]),
    ),
    "serviceTypes": (
        "ClusterIP",
        {"ingress": {"service": {"type": "NodePort"}}},
        {"ingress": {"service": {"type": "ClusterIP"}}},
    ),
}
"""A value of the chart's allow-list; what it refuses; what it admits."""


def tried(server: ApiServer, minimal: dict[str, Any], spec: dict[str, Any]) -> str:
    """The API server's refusal of a ChatCluster with this in its spec; empty where there is none."""
    made = {**minimal, "spec": {**minimal["spec"], **spec}}
    return server.admin(minimal["metadata"]["namespace"]).refusal(made, dryRun="All")


def test_what_acts_beyond_the_namespace_is_refused_by_the_schema(server: ApiServer, minimal: dict[str, Any]) -> None:
    told = {what: tried(server, minimal, spec) for what, spec in REFUSED.items()}
    # What is wrong, and what to do about it.
    assert {what: words for what, words in told.items() if "must" not in words} == {}
    assert {what: words for what, spec in ACCEPTED.items() if (words := tried(server, minimal, spec))} == {}


def test_what_a_cluster_shares_is_refused_by_the_charts_policy(server: ApiServer, minimal: dict[str, Any]) -> None:
    told = {what: tried(server, minimal, spec) for what, spec in OF_THE_CLUSTER.items()}
    assert {what: words for what, words in told.items() if "must name only" not in words} == {}
    assert tried(server, minimal, service(DNS, "chat.example.com")) == ""


def test_pods_of_every_part_are_bound_alike(server: ApiServer, minimal: dict[str, Any]) -> None:
    """By the schema, and by the chart's policy as it is without values."""
    refused = {
        "affinity": pods(affinity={"podAntiAffinity": {REQUIRED: [EVERYBODY]}}),
        "every taint": pods(tolerations=[{"operator": "Exists"}]),
        "no AppArmor": pods(annotations={"container.apparmor.security.beta.kubernetes.io/x": "unconfined"}),
        "the control plane": pods(tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        "another's DNS name": pods(annotations={DNS: "bank.example.com"}),
        "an internal one": pods(annotations={INTERNAL_DNS: "chat.example.com,bank.example.com"}),
    }
    told = {
        (what, part): tried(server, minimal, spec) for what, parts in refused.items() for part, spec in parts.items()
    }
    assert {where: words for where, words in told.items() if "must" not in words} == {}
    accepted = pods(tolerations=[{"key": "dedicated", "value": "chat"}], annotations={DNS: "chat.example.com"})
    assert {part: tried(server, minimal, spec) for part, spec in accepted.items()} == dict.fromkeys(accepted, "")


def test_allow_lists_of_the_chart_bind_the_namespaces_that_it_serves(
    server: ApiServer, namespace: str, minimal: dict[str, Any]
) -> None:
    values = [f"watchNamespaces={{{namespace}}}"]
    values += [
        f"admission.chatclusters.{what}={{{allowed}}}" for what, (allowed, _, _) in LISTED.items() if " " not in what
    ]
    made = [one for one in render(*values, namespace=namespace) if one["metadata"]["name"].endswith(".chatclusters")]
    rights.apply(server, made)
    try:
        until_refused(server, minimal)
        told = {what: tried(server, minimal, refused) for what, (_, refused, _) in LISTED.items()}
        assert {what: words for what, words in told.items() if LISTED[what][0] not in words} == {}
        assert {what: tried(server, minimal, accepted) for what, (_, _, accepted) in LISTED.items()} == dict.fromkeys(
            LISTED, ""
        )
        gpu = pods(tolerations=[{"key": "gpu", "operator": "Exists"}])
        sidecar = pods(annotations={"linkerd.io/inject": "enabled"})
        of_each_part = {
            part: (tried(server, minimal, gpu[part]), tried(server, minimal, sidecar[part])) for part in gpu
        }
        assert {
            part: words
            for part, words in of_each_part.items()
            if "dedicated" not in words[0] or "sidecar.istio.io/" not in words[1]
        } == {}
        elsewhere = {**minimal, "metadata": {"name": "demo", "namespace": "default"}}
        assert tried(server, elsewhere, LISTED["images"][1]) == ""
    finally:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
        assert server.run_kubectl("delete", "-f", "-", stdin=text).returncode == 0


def until_refused(server: ApiServer, minimal: dict[str, Any]) -> None:
    """Wait until the API server has taken the policy up."""
    deadline = time.monotonic() + rights.IN_FORCE_SECONDS
    while not tried(server, minimal, LISTED["images"][1]):
        assert time.monotonic() < deadline, "the policy is not in force"


def test_what_was_admitted_before_can_be_labelled_but_not_extended(server: ApiServer, minimal: dict[str, Any]) -> None:
    """A ChatCluster from before the policy goes on until somebody changes its spec."""
    policy = "validatingadmissionpolicybinding/chatcluster-operator.chatcluster-system.chatclusters"
    saved = server.run_kubectl("get", policy, "-o", "json").stdout
    made = {**minimal, "spec": {**minimal["spec"], **OF_THE_CLUSTER["another's DNS name"]}}
    assert server.run_kubectl("delete", policy).returncode == 0
    deadline = time.monotonic() + rights.IN_FORCE_SECONDS
    while server.run_kubectl("create", "-f", "-", stdin=json.dumps(made)).returncode:
        assert time.monotonic() < deadline, "the policy is still in force"
    binding = json.loads(saved)
    for field in ("resourceVersion", "uid", "creationTimestamp", "generation"):
        binding["metadata"].pop(field, None)
    rights.apply(server, [binding])
    # Without it the API server refuses another one of that name, too.
    while "must name only hosts" not in tried(server, minimal, OF_THE_CLUSTER["another's DNS name"]):
        assert time.monotonic() < deadline, "the policy is not in force"
    chat, here = "chatcluster/demo", ("-n", minimal["metadata"]["namespace"])
    assert server.run_kubectl("label", chat, "team=a", *here).returncode == 0
    patch = ("patch", chat, "--type=merge", *here, "-p")
    refused = server.run_kubectl(*patch, '{"spec": {"paused": true}}')
    assert "must name only hosts" in refused.stderr
    mended = {"spec": {"paused": True, "ingress": {"service": {"annotations": {DNS: "chat.example.com"}}}}}
    assert server.run_kubectl(*patch, json.dumps(mended)).returncode == 0
