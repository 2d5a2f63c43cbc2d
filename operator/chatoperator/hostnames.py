"""Which ChatClusters want the same hostname: both serve, and the younger one is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatoperator.spec import ChatCluster

HTTPS_PORT = 443


@dataclass(frozen=True, order=True)
class Claim:
    """One ChatCluster's wish for its hostnames, ordered by age.

    Attributes:
        created: metadata.creationTimestamp, RFC 3339 in UTC, so that it sorts.
        namespace: Of the ChatCluster.
        name: Of the ChatCluster.
        addresses: (hostname, port) of each.
    """

    created: str
    namespace: str
    name: str
    addresses: frozenset[tuple[str, int]]


def claim(cluster: ChatCluster) -> Claim:
    """What a ChatCluster claims; nothing where Kubernetes picks the port, which then is its own."""
    service = cluster.ingress.service
    port = service.node_port if service.type == "NodePort" else HTTPS_PORT
    hostnames = cluster.ingress.hostnames if port is not None else ()
    return Claim(
        created=cluster.created,
        namespace=cluster.namespace,
        name=cluster.name,
        addresses=frozenset((hostname, port or HTTPS_PORT) for hostname in hostnames),
    )


def conflict(own: Claim, others: Iterable[Claim]) -> str | None:
    """The oldest of the older ChatClusters that want one of the same hostnames, in words; None where there is none."""
    older = sorted(other for other in others if other < own and other.addresses & own.addresses)
    if not older:
        return None
    shared = sorted(hostname for hostname, _ in older[0].addresses & own.addresses)
    return f"{', '.join(shared)} belongs to the older ChatCluster {older[0].name} in namespace {older[0].namespace}"
