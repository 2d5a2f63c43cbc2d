"""The ChatCluster as frozen structs, as parse() makes them: each attribute is a field of the CRD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from chatoperator.api.auth import Auth
from chatoperator.api.bus import Bus
from chatoperator.api.chatserver import Chatserver, surge
from chatoperator.api.database import RESERVED_CONNECTIONS, Database
from chatoperator.api.fields import DnsName, Fields, ImagePrefix, RuleBroken, Version, check_networks
from chatoperator.api.ingress import Ingress
from chatoperator.api.monitoring import Monitoring
from chatoperator.api.retention import MessageRetention

LISTEN_CONNECTIONS_PER_SERVER = 1
"""Each chatserver holds one connection beside its pool for LISTEN."""

POOL_SIZE_MAX = 16
"""Connections. More than this per server only queues inside PostgreSQL: writes go out in batches."""


class ImageSource(Fields, frozen=True):
    """Where the release's images are pulled from.

    Attributes:
        registry: Their prefix with its last slash, such as `registry.example.com/chat/`; None for the chart's.
        pull_secrets: Names of the Secrets that all pods pull with.
    """

    registry: ImagePrefix | None = None
    pull_secrets: Annotated[tuple[DnsName, ...], Meta(max_length=16)] = ()

    def of(self, image: str) -> str:
        """An image of the release as this source has it: `one.example.com/a/chat:1` -> `two.example.com/b/chat:1`."""
        return image if self.registry is None else self.registry + image.rpartition("/")[2]


class NetworkPolicies(Fields, frozen=True):
    """Whether there are NetworkPolicies, and who beside the operator may read metrics (NetworkPolicyPeers)."""

    enabled: bool = True
    metrics_from: Annotated[tuple[Mapping[str, Any], ...], Meta(max_length=16)] = ()

    def __post_init__(self) -> None:
        """Check the peers.

        Raises:
            RuleBroken: One selects nothing, selects in two ways, or is no network.
        """
        for peer in self.metrics_from:
            block = peer.get("ipBlock")
            if (block is None) == (peer.get("podSelector") is None and peer.get("namespaceSelector") is None):
                remedy = "each entry needs a podSelector, a namespaceSelector or both, or an ipBlock alone"
                raise RuleBroken("metricsFrom", remedy)
            if block is not None:
                check_networks((block["cidr"], *(block.get("except") or ())), "metricsFrom")


class Spec(Fields, frozen=True):
    """The spec. A `version` of None is the release that the operator brought when it first saw the object."""

    version: Version | None = None
    paused: bool = False
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    images: ImageSource = ImageSource()
    ingress: Ingress = Ingress()
    chatserver: Chatserver = Chatserver()
    database: Database = Database()
    bus: Bus = Bus()
    auth: Auth = Auth()
    retention: MessageRetention = MessageRetention()
    network_policies: NetworkPolicies = NetworkPolicies()
    monitoring: Monitoring = Monitoring()

    def __post_init__(self) -> None:
        """Check that codes have a sender, and that the database's connections suffice for all servers.

        Raises:
            RuleBroken: It is not so.
        """
        if self.auth.otp.sender is None:
            raise RuleBroken("auth.otp.sender", "set it to Webhook, or to Log for development")
        if self.pool_size < 1:
            raise self._too_few_connections()

    @property
    def retain(self) -> bool:
        """Whether the volume and its credentials outlive the ChatCluster."""
        return self.deletion_policy == "Retain"

    @property
    def pool_size(self) -> int:
        """Database connections of one chatserver's pool: an equal share of a fixed budget.

        The share is made for the most servers that can exist at once: the ceiling, and during a rollout as many surge
        pods arriving as old ones are draining. Example: 280 connections, at most 10 servers, surge 3 -> 280 / 16 = 17,
        less one for LISTEN, is 16.
        """
        share = self.database.connection_budget // self._most_servers - LISTEN_CONNECTIONS_PER_SERVER
        return min(POOL_SIZE_MAX, share)

    @property
    def _most_servers(self) -> int:
        ceiling = self.chatserver.scaling.ceiling
        return ceiling + 2 * surge(ceiling)

    def _too_few_connections(self) -> RuleBroken:
        needed, ceiling = (1 + LISTEN_CONNECTIONS_PER_SERVER) * self._most_servers, self.chatserver.scaling.ceiling
        what = f"{ceiling} chatservers need at least {needed} database connections during a rollout"
        if self.database.external is not None:
            remedy = f"{what}; raise it to {needed} or lower chatserver.scaling.maxReplicas"
            return RuleBroken("database.external.connectionBudget", remedy)
        remedy = (
            f'{what}; lower it, or set database.parameters.max_connections to "{needed + RESERVED_CONNECTIONS}" or more'
        )
        return RuleBroken("chatserver.scaling.maxReplicas", remedy)


class ChatCluster(Spec, frozen=True, kw_only=True):
    """A parsed ChatCluster: its spec, and what identifies it. `created` is an ISO 8601 time, or empty."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
