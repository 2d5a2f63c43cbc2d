"""ClientAddressesShared: whether one per-address limit covers many clients, because they share an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition

TRAFFIC_POLICY_CLUSTER = Reason(
    "TrafficPolicyCluster",
    ("True",),
    "`ingress.service.externalTrafficPolicy` is Cluster: nodes replace the addresses of clients with their own, so "
    "that one per-address limit covers many clients. Set it to Local, or let the load balancer send client addresses "
    "(`proxyProtocolFrom`)",
    Level.WARNING,
)
FRONT_NOT_TRUSTED = Reason(
    "FrontNotTrusted",
    ("True",),
    "`ingress.front` is set without `ingress.limits.trustedProxies`: all clients appear with the addresses of the "
    "controller, so that one per-address limit covers all of them. Set it to the network of the controller's pods",
    Level.WARNING,
)
ADDRESSES_KEPT = Reason("AddressesKept", ("False",), "HAProxy sees the addresses of clients, as far as the spec shows")

TYPE = ConditionType(
    "ClientAddressesShared",
    bad="True",
    summary="Many clients appear with the same address, so that limits per address apply to all of them together.",
    reasons=(TRAFFIC_POLICY_CLUSTER, FRONT_NOT_TRUSTED, ADDRESSES_KEPT),
)


def condition(cluster: ChatCluster) -> Condition:
    """ClientAddressesShared."""
    ingress, limits = cluster.ingress, cluster.auth.limits
    effect = (
        "Many clients together therefore share one of each limit per address: auth.limits.codesPerAddressPerHour "
        f"({limits.codes_per_address_per_hour}), auth.limits.requestsPerAddressPerMinute and those of ingress.limits"
    )
    if ingress.front is not None and not ingress.limits.trusted_proxies:
        message = (
            f"HAProxy sees all clients with the addresses of the {ingress.front.kind} controller. {effect}. Set "
            "ingress.limits.trustedProxies to the network of the controller's pods"
        )
        return TYPE.condition(FRONT_NOT_TRUSTED, message)
    service = ingress.service
    translated = service.type != "ClusterIP" and service.external_traffic_policy == "Cluster"
    if ingress.front is None and translated and not service.proxy_protocol_from:
        message = (
            "With ingress.service.externalTrafficPolicy: Cluster, nodes may replace the addresses of clients with "
            f"their own. {effect}. Set externalTrafficPolicy to Local, or let the load balancer send client addresses "
            "(ingress.service.proxyProtocolFrom)"
        )
        return TYPE.condition(TRAFFIC_POLICY_CLUSTER, message)
    return TYPE.condition(ADDRESSES_KEPT, "HAProxy sees the address of each client, as far as the spec shows")
