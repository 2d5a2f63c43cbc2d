"""Evaluates NetworkPolicies by their documented semantics: what the rules mean, not that a network obeys them."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Endpoint:
    """A pod, or with `namespace` None something outside the cluster.

    Attributes:
        address: Its IP address, which only an ipBlock looks at.
        namespace: Of a pod.
        labels: Of a pod.
        namespace_labels: Beside its name, which Kubernetes sets.
    """

    address: str = "192.0.2.1"
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def allowed(
    policies: Sequence[Mapping[str, Any]], source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the policies let a connection begin: the source's out, and the target's in."""
    return _passes(policies, "Egress", source, target, port, protocol) and _passes(
        policies, "Ingress", target, source, port, protocol
    )


def _passes(
    policies: Sequence[Mapping[str, Any]],
    direction: Literal["Ingress", "Egress"],
    subject: Endpoint,
    peer: Endpoint,
    port: int,
    protocol: str,
) -> bool:
    """One direction: open to a pod that no policy selects, else what any rule of any of its policies admits."""
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], subject.labels)
    ]
    peers_key = "from" if direction == "Ingress" else "to"
    return not selecting or any(
        _has_port(rule, port, protocol)
        and (not rule.get(peers_key) or any(_is(one, peer, str(subject.namespace)) for one in rule[peers_key]))
        for spec in selecting
        for rule in spec.get(direction.lower(), [])
    )


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    return not rule.get("ports") or any(
        (one.get("port", port), one.get("protocol", "TCP")) == (port, protocol) for one in rule["ports"]
    )


def _is(peer: Mapping[str, Any], endpoint: Endpoint, own_namespace: str) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(endpoint.address)
        block = peer["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(network) for network in block.get("except", [])
        )
    if endpoint.namespace is None:
        return False
    if "namespaceSelector" in peer:
        names = {"kubernetes.io/metadata.name": endpoint.namespace, **endpoint.namespace_labels}
        in_namespace = _selects(peer["namespaceSelector"], names)
    else:
        in_namespace = endpoint.namespace == own_namespace
    return in_namespace and _selects(peer.get("podSelector", {}), endpoint.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _meets(condition, labels) for condition in selector.get("matchExpressions", [])
    )


def _meets(condition: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = condition["key"], condition.get("values", [])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[condition["operator"]]
