"""ChatClusters with the same hostname: both serve, and the younger one reports it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from chatoperator.api.spec import ChatCluster

HTTPS_PORT = 443

Key = tuple[str, str]
"""(namespace, name) of a ChatCluster."""


@dataclass(frozen=True, order=True)
class Claim:
    """The hostnames that one ChatCluster claims, ordered by age.

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
    on_nodes = service.type == "NodePort" and cluster.ingress.front is None
    port = service.node_port if on_nodes else HTTPS_PORT
    hostnames = cluster.ingress.hostnames if port is not None else ()
    return Claim(
        created=cluster.created,
        namespace=cluster.namespace,
        name=cluster.name,
        addresses=frozenset((hostname, port or HTTPS_PORT) for hostname in hostnames),
    )


def conflict(own: Claim, others: Iterable[Claim]) -> str | None:
    """A sentence that names the hostnames which an older ChatCluster uses, and that one; None without one.

    One in another namespace is not named: status is read by who may read this namespace alone.
    """
    older = sorted(other for other in others if other < own and other.addresses & own.addresses)
    if not older:
        return None
    shared = sorted(hostname for hostname, _ in older[0].addresses & own.addresses)
    listed = ", ".join(shared)
    if older[0].namespace != own.namespace:
        return f"An older ChatCluster in another namespace already uses {listed}"
    return f"The older ChatCluster {older[0].name} in namespace {own.namespace} already uses {listed}"


class Claims:
    """The claims of all ChatClusters, found by address: a thousand of them need not look at each other."""

    def __init__(self) -> None:
        self._claims: dict[Key, Claim] = {}
        self._claimants: dict[tuple[str, int], set[Claim]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether a ChatCluster's claim is known."""
        return key in self._claims

    def put(self, claim: Claim) -> None:
        """Take a ChatCluster's claim in place of its last one."""
        key = (claim.namespace, claim.name)
        if self._claims.get(key) == claim:
            return
        self.remove(key)
        self._claims[key] = claim
        for address in claim.addresses:
            self._claimants.setdefault(address, set()).add(claim)

    def remove(self, key: Key) -> None:
        """Forget a ChatCluster that is gone, or whose spec claims nothing."""
        claim = self._claims.pop(key, None)
        for address in claim.addresses if claim else ():
            self._claimants[address] -= {claim}
            if not self._claimants[address]:
                del self._claimants[address]

    def keep(self, keys: Collection[Key]) -> None:
        """Forget all ChatClusters but these."""
        for key in self._claims.keys() - set(keys):
            self.remove(key)

    def conflict(self, own: Claim) -> str | None:
        """As the function of that name, with all that are known."""
        return conflict(own, set().union(*(self._claimants.get(address, ()) for address in own.addresses)))
