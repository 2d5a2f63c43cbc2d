"""spec.ingress: HAProxy, its Service, its certificate, and an Ingress or HTTPRoute in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from chatoperator.api.fields import (
    AnnotationValue,
    Count,
    DnsName,
    Fields,
    Image,
    KindName,
    Network,
    ObjectName,
    Origin,
    RuleBroken,
    check_networks,
)
from chatoperator.api.pods import PodTemplate, Resources

Annotations = Annotated[Mapping[str, AnnotationValue], Meta(max_length=32)]

Networks = Annotated[tuple[Network, ...], Meta(max_length=64)]


class Service(Fields, frozen=True):
    """The Service in front of HAProxy.

    Attributes:
        proxy_protocol_from: Addresses and networks of load balancers that begin connections with a PROXY header.
    """

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    annotations: Annotations = field(default_factory=dict)
    proxy_protocol_from: Networks = ()

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            RuleBroken: A node port without a Service that has one, or something that is no network.
        """
        if self.node_port is not None and self.type == "ClusterIP":
            raise RuleBroken("nodePort", "it needs type NodePort or LoadBalancer")
        check_networks(self.proxy_protocol_from, "proxyProtocolFrom")


class Issuer(Fields, frozen=True):
    """The issuer with which cert-manager issues the certificate, as a Certificate's issuerRef names it."""

    name: ObjectName
    kind: KindName = "Issuer"
    group: ObjectName = "cert-manager.io"


class Tls(Fields, frozen=True):
    """Where HAProxy's certificate comes from. In mode SelfSigned the operator makes it."""

    mode: Literal["SelfSigned", "Secret", "CertManager"] = "SelfSigned"
    secret_name: ObjectName | None = None
    issuer_ref: Issuer | None = None

    def __post_init__(self) -> None:
        """Check that what belongs to the mode is set, and nothing that belongs to another one.

        Raises:
            RuleBroken: It is not so.
        """
        if (self.mode == "Secret") != (self.secret_name is not None):
            raise RuleBroken("secretName", "it belongs to mode Secret: set both, or neither")
        if (self.mode == "CertManager") != (self.issuer_ref is not None):
            raise RuleBroken("issuerRef", "it belongs to mode CertManager: set both, or neither")


class Front(Fields, frozen=True):
    """An Ingress or an HTTPRoute in front of HAProxy, whose controller terminates TLS.

    Attributes:
        kind: Which of the two.
        class_name: Of the Ingress; None for the cluster's default class.
        tls_secret_name: Certificate that the Ingress' controller serves; None for the controller's own.
        annotations: Of that object.
        parent_refs: Of the HTTPRoute: references to Gateways, as Kubernetes writes them.
    """

    kind: Literal["Ingress", "HTTPRoute"]
    class_name: ObjectName | None = None
    tls_secret_name: ObjectName | None = None
    annotations: Annotations = field(default_factory=dict)
    parent_refs: Annotated[tuple[Mapping[str, Any], ...], Meta(min_length=1, max_length=8)] = ()

    def __post_init__(self) -> None:
        """Check that what belongs to the kind is set, and nothing that belongs to the other one.

        Raises:
            RuleBroken: It is not so.
        """
        if (self.kind == "HTTPRoute") != bool(self.parent_refs):
            raise RuleBroken("parentRefs", "they belong to kind HTTPRoute: set both, or neither")
        for name, value in (("className", self.class_name), ("tlsSecretName", self.tls_secret_name)):
            if self.kind != "Ingress" and value is not None:
                raise RuleBroken(name, "it belongs to kind Ingress; Gateways have certificates of their own")


class AddressLimits(Fields, frozen=True):
    """Limits of one client address over all HAProxy pods; None is no limit.

    Attributes:
        requests_per_second_per_address: Measured over ten seconds.
        connections_per_address: Requests and WebSockets that are open at once.
        trusted_proxies: Addresses and networks whose X-Forwarded-For names the client.
    """

    requests_per_second_per_address: Count | None = field(default=None, name="requestsPerSecondPerIP")
    connections_per_address: Count | None = field(default=None, name="connectionsPerIP")
    trusted_proxies: Networks = ()

    def __post_init__(self) -> None:
        """Check the networks.

        Raises:
            RuleBroken: One is none.
        """
        check_networks(self.trusted_proxies, "trustedProxies")


class Ingress(Fields, frozen=True):
    """HAProxy. `front` is None where clients connect to its Service directly."""

    image: Image | None = None
    replicas: Annotated[int, Meta(ge=1, le=20)] = 2
    hostnames: Annotated[tuple[DnsName, ...], Meta(max_length=32)] = ()
    allowed_origins: Annotated[tuple[Origin, ...], Meta(max_length=32)] = ()
    service: Service = Service()
    tls: Tls = Tls()
    front: Front | None = None
    limits: AddressLimits = AddressLimits()
    resources: Resources = Resources()
    pod_template: PodTemplate = PodTemplate()

    def __post_init__(self) -> None:
        """Check that there are hostnames where something needs them.

        Raises:
            RuleBroken: There are none.
        """
        if self.hostnames:
            return
        if self.tls.mode == "CertManager":
            raise RuleBroken(
                "hostnames", "mode CertManager needs at least one: the certificate is issued for these names"
            )
        if self.front is not None:
            raise RuleBroken(
                "hostnames",
                "ingress.front needs at least one: without it the chat would receive the requests of all hosts",
            )

    @property
    def tls_secret_name(self) -> str | None:
        """Secret with the user's certificate; None where the certificate comes from elsewhere."""
        return self.tls.secret_name

    @property
    def issuer(self) -> Issuer | None:
        """Of a certificate by cert-manager; None where the certificate comes from elsewhere."""
        return self.tls.issuer_ref
