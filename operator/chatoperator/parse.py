"""parse(body): the one place that knows where a ChatCluster's fields are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from chatoperator.errors import SpecError
from chatoperator.fields import check_network, choice, integer, mapping, networks, optional
from chatoperator.spec import (
    LISTEN_CONNECTIONS_PER_SERVER,
    MAX_CONNECTIONS_DEFAULT,
    RESERVED_CONNECTIONS,
    AddressLimits,
    Auth,
    ChatCluster,
    Chatserver,
    Database,
    Front,
    ImageSource,
    Ingress,
    Issuer,
    Limits,
    NetworkPolicies,
    PodTemplate,
    Resources,
    Scaling,
    Service,
    Webhook,
    surge,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from chatoperator.spec import ScalingMode

POSTGRES_OWNED_PARAMETERS = frozenset(
    {
        "listen_addresses",
        "port",
        "data_directory",
        "config_file",
        "hba_file",
        "ident_file",
        "external_pid_file",
        "unix_socket_directories",
        "include",
        "include_dir",
        "include_if_exists",
        "archive_command",
        "archive_library",
        "restore_command",
        "ssl_passphrase_command",
        "password_encryption",
        # Without them what was acknowledged can be lost.
        "synchronous_commit",
        "fsync",
        "full_page_writes",
    }
)
"""Parameters that would break what the operator or the chat relies on, or run commands in the database's container."""


def parse(body: Mapping[str, Any]) -> ChatCluster:
    """Read a ChatCluster as the API server gives it.

    Defaults are repeated here for objects that were stored before a field existed.

    Args:
        body: The whole object: apiVersion, kind, metadata, spec.

    Raises:
        SpecError: A value cannot work; it names the field and the remedy.
    """
    metadata = body["metadata"]
    spec = mapping(body, "spec")
    cluster = ChatCluster(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 0)),
        created=str(metadata.get("creationTimestamp", "")),
        version=spec.get("version"),
        paused=bool(spec.get("paused", False)),
        retain=choice(spec, "deletionPolicy", ("Retain", "Delete"), "deletionPolicy") == "Retain",
        images=_images(mapping(spec, "images")),
        ingress=_ingress(mapping(spec, "ingress")),
        chatserver=_chatserver(mapping(spec, "chatserver")),
        database=_database(mapping(spec, "database")),
        auth=_auth(mapping(spec, "auth")),
        network_policies=_network_policies(mapping(spec, "networkPolicies")),
    )
    if cluster.pool_size < 1:
        raise _too_few_connections(cluster)
    return cluster


def _too_few_connections(cluster: ChatCluster) -> SpecError:
    ceiling = cluster.chatserver.scaling.ceiling
    needed = (1 + LISTEN_CONNECTIONS_PER_SERVER) * (ceiling + 2 * surge(ceiling))
    if cluster.database.external_secret_name is not None:
        return SpecError(
            "database.external.connectionBudget",
            f"{ceiling} chatservers need at least {needed} database connections during a rollout; "
            f"raise it to {needed} or lower chatserver.scaling.maxReplicas",
        )
    return SpecError(
        "chatserver.scaling.maxReplicas",
        f"{ceiling} chatservers need at least {needed} database connections during a rollout; lower it, or set "
        f'database.parameters.max_connections to "{needed + RESERVED_CONNECTIONS}" or more',
    )


def _images(raw: Mapping[str, Any]) -> ImageSource:
    registry = raw.get("registry")
    if registry is not None and not str(registry).endswith("/"):
        raise SpecError("images.registry", f"it goes before the images' names: write {registry}/")
    return ImageSource(registry=registry, pull_secrets=tuple(raw.get("pullSecrets") or ()))


def _ingress(raw: Mapping[str, Any]) -> Ingress:
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
        resources=_resources(raw),
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


def _chatserver(raw: Mapping[str, Any]) -> Chatserver:
    return Chatserver(
        image=raw.get("image"),
        target_connections_per_server=integer(
            raw, "targetConnectionsPerServer", 10_000, "chatserver.targetConnectionsPerServer", 1
        ),
        scaling=_scaling(mapping(raw, "scaling")),
        drain_seconds=integer(raw, "drainSeconds", 30, "chatserver.drainSeconds", 10),
        resources=_resources(raw),
        env={str(entry["name"]): str(entry.get("value", "")) for entry in raw.get("env") or ()},
        pod_template=_pod_template(mapping(raw, "podTemplate")),
    )


def _pod_template(raw: Mapping[str, Any]) -> PodTemplate:
    return PodTemplate(
        labels=dict(mapping(raw, "labels")),
        annotations=dict(mapping(raw, "annotations")),
        node_selector=dict(mapping(raw, "nodeSelector")),
        tolerations=tuple(raw.get("tolerations") or ()),
        affinity=dict(mapping(raw, "affinity")),
        topology_spread_constraints=tuple(raw.get("topologySpreadConstraints") or ()),
    )


def _scaling(raw: Mapping[str, Any]) -> Scaling:
    path = "chatserver.scaling"
    mode = cast("ScalingMode", choice(raw, "mode", ("Internal", "External", "Disabled"), f"{path}.mode"))
    replicas = raw.get("replicas")
    if mode == "Internal" and replicas is not None:
        raise SpecError(f"{path}.replicas", "it must be absent in mode Internal; use External or Disabled to set it")
    if mode != "Internal":
        if replicas is None:
            raise SpecError(f"{path}.replicas", f"it is required in mode {mode}")
        replicas = integer(raw, "replicas", 1, f"{path}.replicas", 1)
    scaling = Scaling(
        mode=mode,
        replicas=replicas,
        min_replicas=integer(raw, "minReplicas", 2, f"{path}.minReplicas", 1),
        max_replicas=integer(raw, "maxReplicas", 10, f"{path}.maxReplicas", 1),
        scale_down_stabilization_seconds=integer(
            raw, "scaleDownStabilizationSeconds", 300, f"{path}.scaleDownStabilizationSeconds", 0
        ),
    )
    if scaling.min_replicas > scaling.max_replicas:
        raise SpecError(f"{path}.minReplicas", f"it must be at most maxReplicas ({scaling.max_replicas})")
    return scaling


def _database(raw: Mapping[str, Any]) -> Database:
    storage = mapping(raw, "storage")
    external = raw.get("external")
    parameters = {str(name): str(value) for name, value in mapping(raw, "parameters").items()}
    for name, value in parameters.items():
        if name in POSTGRES_OWNED_PARAMETERS:
            raise SpecError(f"database.parameters.{name}", "the operator sets it itself; remove it")
        if "\n" in value or "\r" in value:
            raise SpecError(f"database.parameters.{name}", "it must be one line")
    if external is not None and not external.get("secretName"):
        raise SpecError("database.external.secretName", "name the Secret whose key dsn holds the database's URL")
    return Database(
        image=raw.get("image"),
        storage_size=str(storage.get("size", "10Gi")),
        storage_class_name=storage.get("storageClassName"),
        resources=_resources(raw),
        parameters=parameters,
        external_secret_name=external["secretName"] if external is not None else None,
        connection_budget=(
            _max_connections(parameters) - RESERVED_CONNECTIONS
            if external is None
            else integer(external, "connectionBudget", 80, "database.external.connectionBudget", 1)
        ),
    )


def _max_connections(parameters: Mapping[str, str]) -> int:
    raw = parameters.get("max_connections", str(MAX_CONNECTIONS_DEFAULT))
    if not raw.isdecimal():
        raise SpecError("database.parameters.max_connections", "it must be a whole number, such as 300")
    return int(raw)


def _auth(raw: Mapping[str, Any]) -> Auth:
    return Auth(
        webhook=_webhook(mapping(raw, "otp")),
        limits=_limits(mapping(raw, "limits")),
        session_days=integer(raw, "sessionDays", 90, "auth.sessionDays", 1),
    )


def _webhook(otp: Mapping[str, Any]) -> Webhook | None:
    """None for sender Log."""
    sender, webhook = otp.get("sender"), otp.get("webhook")
    if sender not in {"Webhook", "Log"}:
        raise SpecError("auth.otp.sender", "set it to Webhook, or to Log for development")
    if (sender == "Webhook") != bool(webhook):
        raise SpecError("auth.otp.webhook", "it belongs to sender Webhook: set both, or neither")
    if sender == "Log" and otp.get("allowDevelopmentCodes") is not True:
        raise SpecError(
            "auth.otp.allowDevelopmentCodes", "sender Log hands codes to anybody: set it to true to accept that"
        )
    if not webhook:
        return None
    url = str(webhook.get("url", ""))
    if not url.startswith("https://") or "@" in url or not _has_usable_port(url):
        raise SpecError("auth.otp.webhook.url", "it must be an https URL without credentials")
    if not webhook.get("secretName"):
        raise SpecError("auth.otp.webhook.secretName", "name the Secret whose key secret signs the requests")
    return Webhook(url=url, secret_name=str(webhook["secretName"]))


def _has_usable_port(url: str) -> bool:
    """Whether a URL names no port, or one up to 65535."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _limits(raw: Mapping[str, Any]) -> Limits:
    def limit(key: str, default: int, minimum: int = 1) -> int:
        return integer(raw, key, default, f"auth.limits.{key}", minimum)

    return Limits(
        codes_per_address_per_hour=limit("codesPerAddressPerHour", 100),
        codes_per_number_per_hour=limit("codesPerNumberPerHour", 5),
        messages_per_user_per_minute=limit("messagesPerUserPerMinute", 600),
        requests_per_device_per_minute=limit("requestsPerDevicePerMinute", 1200),
        requests_per_address_per_minute=limit("requestsPerAddressPerMinute", 0, minimum=0),
    )


def _network_policies(raw: Mapping[str, Any]) -> NetworkPolicies:
    path = "networkPolicies.metricsFrom"
    peers = tuple(raw.get("metricsFrom") or ())
    for peer in peers:
        block = peer.get("ipBlock")
        if (block is None) != bool(peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None):
            raise SpecError(path, "each entry needs a podSelector, a namespaceSelector or both, or an ipBlock alone")
        for network in (block["cidr"], *(block.get("except") or ())) if block else ():
            check_network(network, path)
    return NetworkPolicies(enabled=bool(raw.get("enabled", True)), metrics_from=peers)


def _resources(raw: Mapping[str, Any]) -> Resources:
    resources = mapping(raw, "resources")
    return Resources(
        requests={name: str(value) for name, value in mapping(resources, "requests").items()},
        limits={name: str(value) for name, value in mapping(resources, "limits").items()},
    )
