"""Who may talk to whom: one NetworkPolicy a part, which denies what it does not name, in both directions.

They act where the cluster's network enforces them. kubelet's probes always pass: what a node sends to its own pods is
allowed by definition. Policies add up, so that a user's own can allow more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatoperator.api import dsn
from chatoperator.metadata import metadata, part_name, selector
from chatoperator.parts.backup import access as backup_access
from chatoperator.parts.backup import host as backup_host
from chatoperator.parts.backup import restore as backup_restore
from chatoperator.parts.bus import access as bus_access
from chatoperator.parts.bus import valkey
from chatoperator.parts.chatserver import deployment as chatserver
from chatoperator.parts.database import statefulset as postgres
from chatoperator.parts.database.replication import patroni
from chatoperator.parts.ingress import haproxy
from chatoperator.parts.probe import deployment as probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatoperator.api.backup import Backup, Restore
    from chatoperator.api.spec import ChatCluster, NetworkPolicies
    from chatoperator.metadata import Manifest, Part
    from chatoperator.parts.bus.access import ServerBus

DNS_PORTS = (53, 5353)
"""To anywhere: DNS may be a pod, the node itself or a link-local address. Policies see the pod's port, and OpenShift's
DNS pods listen on 5353."""

HTTPS_PORT = 443
"""Of a webhook's URL without a port."""

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes itself sets it on every namespace."""

LISTEN_DSN_VARIABLE = "CHAT_DATABASE_LISTEN_DSN"
"""With a pooler in front, chatservers have a second address of the database, which may have another port."""


def policies(
    cluster: ChatCluster,
    *,
    operator_namespace: str,
    external_ports: Sequence[int],
    bus: ServerBus = bus_access.POSTGRESQL,
    replicated: bool = False,
    api_server_ports: Sequence[int] = (),
) -> list[Manifest]:
    """The policies of all parts; none where the spec disables them.

    Args:
        cluster: The ChatCluster.
        operator_namespace: Where the operator runs, which reads metrics and the status of PostgreSQL's agent.
        external_ports: Of the external database, empty where they are unknown.
        bus: That the chatservers may use now.
        replicated: Whether Patroni runs the database.
        api_server_ports: TCP ports of the API server, behind its Service.
    """
    if not cluster.network_policies.enabled:
        return []
    scrapers = _scrapers(cluster.network_policies, operator_namespace)
    database = _to_database(cluster, external_ports)
    front = [haproxy.FRONT_PORT] if cluster.ingress.front is not None else []
    made = [
        _policy(
            cluster,
            "ingress",
            ingress=[
                _rule("from", [], haproxy.HTTP_PORT, haproxy.HTTPS_PORT, *front),
                _rule("from", scrapers, haproxy.STATISTICS_PORT),
            ],
            egress=[_to_dns(), _rule("to", [_pods(cluster, "chatserver")], chatserver.HTTP_PORT)],
        ),
        _policy(
            cluster,
            "chatserver",
            ingress=[
                _rule("from", [_pods(cluster, "ingress")], chatserver.HTTP_PORT),
                _rule("from", scrapers, chatserver.METRICS_PORT),
            ],
            egress=[_to_dns(), *database, *_to_webhook(cluster), *_to_bus(cluster, bus)],
        ),
        _policy(cluster, "migrate", ingress=[], egress=[_to_dns(), *database]),
    ]
    if cluster.database.external_secret_name is None:
        clients = [_pods(cluster, "chatserver"), _pods(cluster, "migrate")]
        allowed = [
            _rule("from", clients, postgres.PORT),
            _rule("from", scrapers, postgres.AGENT_PORT),
        ]
        egress = []
        if replicated:
            members, ports = [_pods(cluster, "postgres")], (postgres.PORT, patroni.PORT)
            allowed.append(_rule("from", members, *ports))
            # The API server's address differs from cluster to cluster, and no selector finds it.
            egress = [_rule("to", members, *ports), _rule("to", [], *api_server_ports)]
        if cluster.database.backup is not None:
            backup = [_pods(cluster, "backup")]
            allowed.append(_rule("from", backup, backup_access.PORT))
            egress += [_to_dns(), _rule("to", backup, backup_access.PORT)]
            made.append(_backup(cluster, cluster.database.backup, scrapers))
        if cluster.database.restore is not None:
            egress += [_to_dns(), _to_source(cluster.database.restore)]
        made.append(_policy(cluster, "postgres", ingress=allowed, egress=egress))
    if cluster.bus.valkeys is not None:
        allowed = [
            _rule("from", [_pods(cluster, "chatserver")], bus_access.PORT),
            _rule("from", scrapers, valkey.METRICS_PORT),
        ]
        made.append(_policy(cluster, "bus", ingress=allowed, egress=[]))
    if cluster.monitoring.probe.enabled:
        made.append(
            _policy(
                cluster,
                "probe",
                ingress=[_rule("from", scrapers, probe.METRICS_PORT)],
                egress=[_to_dns(), _rule("to", [_pods(cluster, "ingress")], haproxy.HTTPS_PORT)],
            )
        )
    return made


def _backup(cluster: ChatCluster, spec: Backup, scrapers: Sequence[Manifest]) -> Manifest:
    """Of the backup pod: PostgreSQL's pods in both directions, and an object store anywhere, at its port."""
    database, port = [_pods(cluster, "postgres")], spec.repository.port
    # A chat of this namespace may be restored from this one: it has to have this one's certificate.
    readers = [{"podSelector": {"matchLabels": backup_restore.databases()}}]
    return _policy(
        cluster,
        "backup",
        ingress=[_rule("from", readers, backup_access.PORT), _rule("from", scrapers, backup_host.STATUS_PORT)],
        egress=[
            _to_dns(),
            _rule("to", database, backup_access.PORT),
            # Its address is a name, which policies do not know.
            *([_rule("to", [], port)] if port is not None else []),
        ],
    )


def live_database_ports(migrate: Manifest | None) -> tuple[int, ...]:
    """TCP ports that the live policy of migrations lets through to an external database; DNS' are no database's."""
    rules = ((migrate or {}).get("spec") or {}).get("egress") or []
    listed = [port for rule in rules if not rule.get("to") for port in rule.get("ports") or ()]
    found = {int(port["port"]) for port in listed if port.get("protocol") == "TCP" and port.get("port")}
    return tuple(sorted(found - set(DNS_PORTS)))


def _to_source(spec: Restore) -> Manifest:
    """To what a database is restored from: another chat's backup pod, or an object store anywhere, at its port."""
    chat, repository = spec.source.chat_cluster, spec.source.repository
    if chat is not None:
        return _rule("to", [{"podSelector": {"matchLabels": selector(chat.name, "backup")}}], backup_access.PORT)
    port = repository.port if repository is not None else None
    return _rule("to", [], port or HTTPS_PORT)


def _policy(cluster: ChatCluster, part: Part, *, ingress: Sequence[Manifest], egress: Sequence[Manifest]) -> Manifest:
    """A part's policy; a direction without rules is denied."""
    rules = {"ingress": list(ingress), "egress": list(egress)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(cluster, part_name(cluster.name, part), part),
        "spec": {
            "podSelector": {"matchLabels": selector(cluster.name, part)},
            "policyTypes": ["Ingress", "Egress"],
            # An empty list is not what the API server stores, so that each apply would be a change.
            **{direction: allowed for direction, allowed in rules.items() if allowed},
        },
    }


def _rule(direction: str, peers: Sequence[Manifest], *ports: int, protocols: Iterable[str] = ("TCP",)) -> Manifest:
    """One rule; no peers are all, no ports are all."""
    made: Manifest = {direction: list(peers)} if peers else {}
    if ports:
        made["ports"] = [{"protocol": protocol, "port": port} for port in ports for protocol in protocols]
    return made


def _pods(cluster: ChatCluster, part: Part) -> Manifest:
    """A part's pods, in the ChatCluster's namespace alone."""
    return {"podSelector": {"matchLabels": selector(cluster.name, part)}}


def _scrapers(spec: NetworkPolicies, operator_namespace: str) -> list[Manifest]:
    return [_namespace(operator_namespace), *(dict(peer) for peer in spec.metrics_from)]


def _namespace(name: str) -> Manifest:
    """All pods of a namespace."""
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: name}}}


def _to_dns() -> Manifest:
    return _rule("to", [], *DNS_PORTS, protocols=("UDP", "TCP"))


def _to_database(cluster: ChatCluster, external_ports: Sequence[int]) -> list[Manifest]:
    """To the database's port; nowhere while the port of an external one is unknown."""
    if cluster.database.external is None:
        return [_rule("to", [_pods(cluster, "postgres")], postgres.PORT)]
    # Anywhere: its address is a name, which policies do not know.
    ports = {*external_ports, *dsn.ports(cluster.chatserver.env.get(LISTEN_DSN_VARIABLE, ""))}
    return [_rule("to", [], *sorted(ports))] if ports else []


def _to_webhook(cluster: ChatCluster) -> list[Manifest]:
    """To anywhere, at the port of its URL: the address is a name, which policies do not know."""
    if cluster.auth.webhook is None:
        return []
    return [_rule("to", [], urlsplit(cluster.auth.webhook.url).port or HTTPS_PORT)]


def _to_bus(cluster: ChatCluster, bus: ServerBus) -> list[Manifest]:
    """To the Valkey pods that the servers use or are about to use; to an external Valkey anywhere, at its ports."""
    made = []
    if cluster.bus.valkeys is not None or bus.is_own(cluster.name):
        made.append(_rule("to", [_pods(cluster, "bus")], bus_access.PORT))
    if bus.ports and not bus.is_own(cluster.name):
        made.append(_rule("to", [], *bus.ports))
    return made
