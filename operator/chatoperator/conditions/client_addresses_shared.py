"""Whether limits for an address hold for each client, or for all that share one on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster

KIND = "ClientAddressesShared"


def condition(cluster: ChatCluster) -> Condition:
    """ClientAddressesShared."""
    ingress, limits = cluster.ingress, cluster.auth.limits
    meaning = (
        f"limits for an address hold for all of them together: auth.limits.codesPerAddressPerHour "
        f"({limits.codes_per_address_per_hour}), requestsPerAddressPerMinute, ingress.limits"
    )
    if ingress.front is not None and not ingress.limits.trusted_proxies:
        message = (
            f"All clients have the addresses of the {ingress.front.kind}'s controller, and {meaning}. Set "
            "ingress.limits.trustedProxies to the network of the controller's pods"
        )
        return Condition(KIND, "True", "FrontNotTrusted", message)
    service = ingress.service
    translated = service.type != "ClusterIP" and service.external_traffic_policy == "Cluster"
    if ingress.front is None and translated and not service.proxy_protocol_from:
        message = (
            f"With ingress.service.externalTrafficPolicy Cluster nodes may put their own address in place of clients', "
            f"and {meaning}. Set it to Local, or have the load balancer send addresses "
            "(ingress.service.proxyProtocolFrom)"
        )
        return Condition(KIND, "True", "TrafficPolicyCluster", message)
    return Condition(KIND, "False", "AddressesKept", "HAProxy sees each client's own address, as far as the spec tells")
