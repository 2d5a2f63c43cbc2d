"""parse(body): the one place that knows where a ChatCluster's fields are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.api.auth import parse_auth
from chatoperator.api.chatserver import parse_chatserver
from chatoperator.api.database import parse_database
from chatoperator.api.fields import check_network, choice, mapping, without_nulls
from chatoperator.api.ingress import parse_ingress
from chatoperator.api.spec import (
    LISTEN_CONNECTIONS_PER_SERVER,
    RESERVED_CONNECTIONS,
    ChatCluster,
    ImageSource,
    NetworkPolicies,
    surge,
)
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(body: Mapping[str, Any]) -> ChatCluster:
    """Read a ChatCluster as the API server gives it.

    Defaults are repeated here for objects that were stored before a field existed.

    Args:
        body: The whole object: apiVersion, kind, metadata, spec.

    Raises:
        SpecError: A value cannot work; it names the field and the remedy.
    """
    metadata = body["metadata"]
    spec = without_nulls(mapping(body, "spec"))
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
        ingress=parse_ingress(mapping(spec, "ingress")),
        chatserver=parse_chatserver(mapping(spec, "chatserver")),
        database=parse_database(mapping(spec, "database")),
        auth=parse_auth(mapping(spec, "auth")),
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
