"""spec.ingress: HAProxy, its Service, its certificate and what stands in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from chatoperator.api import pods
from chatoperator.api.fields import choice, integer, mapping, networks, optional
from chatoperator.api.spec import AddressLimits, Front, Ingress, Issuer, Service
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal


def parse_ingress(raw: Mapping[str, Any]) -> Ingress:
    """The fields of spec.ingress.

    Raises:
        SpecError: A value cannot work.
    """
    service = mapping(raw, "service")
    tls = mapping(raw, "tls")
    hostnames = tuple(raw.get("hostnames") or ())
    issuer = _issuer(tls, hostnames)
    service_type = choice(service, "type", ("ClusterIP", "NodePort", "LoadBalancer"), "ingress.service.type")
    node_port = service.get("nodePort")
    if node_port is not None and service_type == "ClusterIP":
        raise SpecError("ingress.service.nodePort", "it needs type NodePort or LoadBalancer")
    return Ingress(
        image=raw.get("image"),
        replicas=integer(raw, "replicas", 2, "ingress.replicas", 1),
        hostnames=hostnames,
        allowed_origins=tuple(raw.get("allowedOrigins") or ()),
        service=Service(
            type=cast("Literal['ClusterIP', 'NodePort', 'LoadBalancer']", service_type),
            node_port=node_port,
            external_traffic_policy=cast(
                "Literal['Cluster', 'Local']",
                choice(
                    service,
                    "externalTrafficPolicy",
                    ("Cluster", "Local"),
                    "ingress.service.externalTrafficPolicy",
                ),
            ),
            annotations=dict(mapping(service, "annotations")),
            proxy_protocol_from=networks(service, "proxyProtocolFrom", "ingress.service"),
        ),
        tls_secret_name=tls.get("secretName"),
        issuer=issuer,
        front=_front(mapping(raw, "front"), hostnames),
        limits=_address_limits(mapping(raw, "limits")),
        resources=pods.resources(raw, "ingress"),
        pod_template=pods.pod_template(raw),
    )


def _issuer(tls: Mapping[str, Any], hostnames: tuple[str, ...]) -> Issuer | None:
    """What belongs to the certificate's mode has to be there, and nothing that belongs to another one."""
    mode = choice(tls, "mode", ("SelfSigned", "Secret", "CertManager"), "ingress.tls.mode")
    if (mode == "Secret") != bool(tls.get("secretName")):
        raise SpecError("ingress.tls.secretName", "it belongs to mode Secret: set both, or neither")
    reference = mapping(tls, "issuerRef")
    if (mode == "CertManager") != bool(reference.get("name")):
        raise SpecError("ingress.tls.issuerRef", "it belongs to mode CertManager: set both, or neither")
    if mode != "CertManager":
        return None
    if not hostnames:
        raise SpecError("ingress.hostnames", "mode CertManager needs at least one: the certificate is made out to them")
    return Issuer(
        name=str(reference["name"]),
        kind=str(reference.get("kind") or "Issuer"),
        group=str(reference.get("group") or "cert-manager.io"),
    )


def _front(raw: Mapping[str, Any], hostnames: tuple[str, ...]) -> Front | None:
    if not raw:
        return None
    path = "ingress.front"
    kind = cast("Literal['Ingress', 'HTTPRoute']", choice(raw, "kind", ("Ingress", "HTTPRoute"), f"{path}.kind"))
    if (kind == "HTTPRoute") != bool(raw.get("parentRefs")):
        raise SpecError(f"{path}.parentRefs", "they belong to kind HTTPRoute: set both, or neither")
    for name in ("className", "tlsSecretName"):
        if kind != "Ingress" and raw.get(name) is not None:
            raise SpecError(f"{path}.{name}", "it belongs to kind Ingress; Gateways have certificates of their own")
    if not hostnames:
        raise SpecError("ingress.hostnames", "ingress.front needs one: without it the chat would get all that comes")
    return Front(
        kind=kind,
        annotations=dict(mapping(raw, "annotations")),
        class_name=raw.get("className"),
        tls_secret_name=raw.get("tlsSecretName"),
        parents=tuple(dict(parent) for parent in raw.get("parentRefs") or ()),
    )


def _address_limits(raw: Mapping[str, Any]) -> AddressLimits:
    path = "ingress.limits"
    return AddressLimits(
        requests_per_second_per_address=optional(raw, "requestsPerSecondPerIP", path),
        connections_per_address=optional(raw, "connectionsPerIP", path),
        trusted_proxies=networks(raw, "trustedProxies", path),
    )
