"""The ChatCluster as frozen types, as parse() makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ScalingMode = Literal["Internal", "External", "Disabled"]

CONNECTION_CAP_STEP = 12_500
"""Connections. A server's hard cap is 1.25 times its target, rounded up to a multiple of this: 1.25 times the default
target of 10,000. The cap is part of the pod template; coarse steps keep a lowered target from restarting servers."""

MAX_CONNECTIONS_DEFAULT = 300
"""PostgreSQL's max_connections unless database.parameters sets it: enough for 10 servers with full pools. Fixed,
because following the number of servers would restart the database whenever the chat grows."""

RESERVED_CONNECTIONS = 20
"""PostgreSQL connections that no chatserver may use: migrations, superusers, monitoring."""

LISTEN_CONNECTIONS_PER_SERVER = 1
"""Each chatserver holds one connection beside its pool for LISTEN."""

POOL_SIZE_MAX = 16
"""Connections. More than this per server only queues inside PostgreSQL: writes go out in batches."""


@dataclass(frozen=True)
class Resources:
    """Quantities by resource name, as the user gave them; what is absent comes from the part's defaults."""

    requests: Mapping[str, str]
    limits: Mapping[str, str]


@dataclass(frozen=True)
class PodTemplate:
    """What the user adds to a part's pods, as Kubernetes writes it. Empty is as it comes."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, Any], ...]
    affinity: Mapping[str, Any]
    topology_spread_constraints: tuple[Mapping[str, Any], ...]
    priority_class_name: str | None

    def placed_like(self, other: PodTemplate) -> PodTemplate:
        """The same, on the nodes of another part where it says nothing of its own."""
        return replace(
            self,
            node_selector=self.node_selector or other.node_selector,
            tolerations=self.tolerations or other.tolerations,
            affinity=self.affinity or other.affinity,
            priority_class_name=self.priority_class_name or other.priority_class_name,
        )


@dataclass(frozen=True)
class Service:
    """The Service in front of HAProxy.

    Attributes:
        proxy_protocol_from: Addresses and networks of load balancers that begin connections with a PROXY header.
    """

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    node_port: int | None
    external_traffic_policy: Literal["Cluster", "Local"]
    annotations: Mapping[str, str]
    proxy_protocol_from: tuple[str, ...]


@dataclass(frozen=True)
class AddressLimits:
    """What one client address may do at all proxies together; None is no limit.

    Attributes:
        requests_per_second_per_address: Over ten seconds.
        connections_per_address: Requests and WebSockets that are open at once.
        trusted_proxies: Addresses and networks whose X-Forwarded-For names the client.
    """

    requests_per_second_per_address: int | None
    connections_per_address: int | None
    trusted_proxies: tuple[str, ...]


@dataclass(frozen=True)
class Issuer:
    """What cert-manager is to issue the certificate by, as its issuerRef names it."""

    name: str
    kind: str
    group: str


@dataclass(frozen=True)
class Front:
    """What stands in front of HAProxy: an Ingress or an HTTPRoute, whose controller ends TLS.

    Attributes:
        kind: Which of the two.
        annotations: Of that object.
        class_name: Of the Ingress; None for the cluster's default class.
        tls_secret_name: Certificate that the Ingress' controller serves; None where that is its own affair.
        parents: Of the HTTPRoute: references to Gateways, as Kubernetes writes them.
    """

    kind: Literal["Ingress", "HTTPRoute"]
    annotations: Mapping[str, str]
    class_name: str | None
    tls_secret_name: str | None
    parents: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Ingress:
    """HAProxy.

    Attributes:
        front: What clients meet before it; None where they come to its Service.
        tls_secret_name: The user's certificate; None where it comes from elsewhere.
        issuer: Of a certificate by cert-manager; None likewise. With neither the operator makes it.
    """

    image: str | None
    replicas: int
    hostnames: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    service: Service
    tls_secret_name: str | None
    issuer: Issuer | None
    front: Front | None
    limits: AddressLimits
    resources: Resources
    pod_template: PodTemplate


@dataclass(frozen=True)
class Scaling:
    """Who decides how many chatservers run. `replicas` is None in mode Internal."""

    mode: ScalingMode
    replicas: int | None
    min_replicas: int
    max_replicas: int
    scale_down_stabilization_seconds: int

    @property
    def ceiling(self) -> int:
        """Most chatservers that may be wanted."""
        return self.max_replicas if self.replicas is None else max(self.replicas, self.max_replicas)


@dataclass(frozen=True)
class Chatserver:
    """The chatservers. `env` holds further environment variables by name, `migration` is of the migrate Job's pods."""

    image: str | None
    target_connections_per_server: int
    scaling: Scaling
    drain_seconds: int
    resources: Resources
    env: Mapping[str, str]
    pod_template: PodTemplate
    migration: PodTemplate

    @property
    def max_connections(self) -> int:
        """Hard cap of WebSockets on one server: a target of 3 or 10,000 -> 12,500; 10,001 -> 25,000."""
        return CONNECTION_CAP_STEP * math.ceil(1.25 * self.target_connections_per_server / CONNECTION_CAP_STEP)


@dataclass(frozen=True)
class ExternalDatabase:
    """A PostgreSQL that the user runs.

    Attributes:
        secret_name: Secret with its URL.
        secret_key: The URL's key in it.
        ca_secret_name: Secret whose key ca.crt holds who issued the server's certificate; None where it is not checked.
    """

    secret_name: str
    secret_key: str
    ca_secret_name: str | None


@dataclass(frozen=True)
class Database:
    """PostgreSQL. `external` is None where the operator runs it."""

    image: str | None
    storage_size: str
    storage_class_name: str | None
    resources: Resources
    pod_template: PodTemplate
    parameters: Mapping[str, str]
    external: ExternalDatabase | None
    connection_budget: int

    @property
    def external_secret_name(self) -> str | None:
        """The Secret with the URL of a database that the user runs; None where the operator runs it."""
        return self.external.secret_name if self.external is not None else None


@dataclass(frozen=True)
class Webhook:
    """The service that takes sign-in codes, and the Secret whose key `secret` signs what is posted to it."""

    url: str
    secret_name: str


@dataclass(frozen=True)
class Limits:
    """Limits against abuse. `requests_per_address_per_minute` 0 is no limit."""

    codes_per_address_per_hour: int
    codes_per_number_per_hour: int
    codes_per_hour: int
    messages_per_user_per_minute: int
    stored_bytes_per_user_per_hour: int
    requests_per_device_per_minute: int
    requests_per_address_per_minute: int


@dataclass(frozen=True)
class Auth:
    """How people sign in.

    Attributes:
        webhook: Where codes go; None: by sender Log, which is for development.
        calling_codes: What phone numbers may begin with, after the +; empty: anything.
    """

    webhook: Webhook | None
    limits: Limits
    calling_codes: tuple[str, ...]
    session_days: int


@dataclass(frozen=True)
class ImageSource:
    """Where the release's images are pulled from.

    Attributes:
        registry: Their prefix with its last slash, such as `registry.example.com/chat/`; None for the chart's.
        pull_secrets: Names of the Secrets that all pods pull with.
    """

    registry: str | None
    pull_secrets: tuple[str, ...]

    def of(self, image: str) -> str:
        """An image of the release as this source has it: `one.example.com/a/chat:1` -> `two.example.com/b/chat:1`."""
        return image if self.registry is None else self.registry + image.rpartition("/")[2]


@dataclass(frozen=True)
class NetworkPolicies:
    """Whether there are NetworkPolicies, and who beside the operator may read metrics (NetworkPolicyPeers)."""

    enabled: bool
    metrics_from: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ChatCluster:
    """A parsed ChatCluster."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    version: str | None
    paused: bool
    retain: bool
    images: ImageSource
    ingress: Ingress
    chatserver: Chatserver
    database: Database
    auth: Auth
    network_policies: NetworkPolicies

    @property
    def pool_size(self) -> int:
        """Database connections of one chatserver's pool: an equal share of a fixed budget.

        The share is made for the most servers that can exist at once: the ceiling, and during a rollout as many surge
        pods arriving as old ones are draining. Example: 280 connections, at most 10 servers, surge 3 -> 280 / 16 = 17,
        less one for LISTEN, is 16.
        """
        ceiling = self.chatserver.scaling.ceiling
        servers = ceiling + 2 * surge(ceiling)
        return min(POOL_SIZE_MAX, self.database.connection_budget // servers - LISTEN_CONNECTIONS_PER_SERVER)


def surge(replicas: int) -> int:
    """Pods that a rollout of `replicas` chatservers adds at a time: a quarter, at least one (2 -> 1, 10 -> 3)."""
    return max(1, math.ceil(replicas / 4))
