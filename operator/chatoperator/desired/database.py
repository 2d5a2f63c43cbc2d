"""The database: its volume, its parameters, and whether an external one can be used. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import condemned, leaving, schema_of
from chatoperator.metadata import claim_name, part_name
from chatoperator.parts.database.configuration import digest_of, revision_of
from chatoperator.parts.database.external import judge
from chatoperator.parts.database.statefulset import config_digest
from chatoperator.parts.networkpolicy import live_database_ports
from chatoperator.parts.remembered import allowed

if TYPE_CHECKING:
    from chatoperator.api.database import ExternalDatabase
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.database.trouble import DatabaseTrouble


@dataclass(frozen=True)
class Volume:
    """A claim of the operator's own PostgreSQL, or of its backups, as it is.

    Attributes:
        size: That the API server has granted; None without a usable claim, which then gets the size in the spec.
        usable: False while an old claim is still being deleted.
        leaving: The claim is being deleted and is this ChatCluster's own, so that its Secret is kept.
    """

    size: str | None = None
    usable: bool = True
    leaving: bool = False


@dataclass(frozen=True)
class DesiredDatabase:
    """The database that the chatservers should use.

    Attributes:
        volume: Of the operator's own PostgreSQL.
        identity: Changes when the database does; None while there is none that can be used.
        ports: TCP ports of an external database; empty where they are not known.
        trouble: What is wrong with the Secrets of an external database; None where nothing is.
        revision: Of all parameters; None for an external database.
        config_digest: Changes with the parameters that restart PostgreSQL; None while the StatefulSet waits: until
            PostgreSQL has checked them, or its new image is known to be pullable.
        parameters_refused: The error of PostgreSQL about the parameters; None where it has none.
        parameters_checked: Whether PostgreSQL has checked them; True where no agent answers.
        begins: There may be a database of another content: there has been none yet.
        had_account: The pods of the only instance have, or had, a service account of their own.
    """

    volume: Volume
    identity: str | None
    ports: tuple[int, ...] = ()
    trouble: DatabaseTrouble | None = None
    revision: str | None = None
    config_digest: str | None = None
    parameters_refused: str | None = None
    parameters_checked: bool = True
    had_account: bool = False
    begins: bool = True


def decide(cluster: ChatCluster, observed: Observed, *, replicated: bool) -> DesiredDatabase:
    """Decide it from the claim, the user's Secrets and the report of PostgreSQL's agent.

    Args:
        cluster: The parsed spec.
        observed: Its children, the user's Secrets and the agents' reports.
        replicated: Whether Patroni runs it.

    Raises:
        SpecError: A quantity from which parameters are derived cannot be read.
    """
    claim, volume = observed.child("PersistentVolumeClaim", claim_name(cluster.name)), volume_of(cluster, observed)
    if cluster.database.external is not None:
        return _external(cluster, cluster.database.external, observed, volume)
    # Another volume is another database, whose schema has to be brought up to date.
    identity = f"claim:{claim['metadata']['uid']}" if claim is not None and volume.usable else None
    if replicated:
        return _replicated(cluster, observed, volume, identity)
    agent, revision = observed.agent, revision_of(cluster, volume.size, replicated=False)
    checked = agent is not None and agent.configuration == revision
    live = (observed.workload(cluster.name, "postgres") or {}).get("spec") or {}
    return DesiredDatabase(
        volume=volume,
        identity=identity,
        revision=revision,
        config_digest=digest_of(cluster, observed, agent, volume.size, revision),
        parameters_refused=agent.refused if agent is not None and checked else None,
        parameters_checked=agent is None or checked,
        had_account=bool(((live.get("template") or {}).get("spec") or {}).get("serviceAccountName")),
    )


def had_database(cluster_name: str, body: Manifest, observed: Observed) -> bool:
    """Whether chatservers have used a database of this ChatCluster, in place of which no other one may come."""
    # Its schema was made in it.
    return schema_of(observed.workload(cluster_name, "chatserver")) is not None and not allowed(body)


def volume_of(cluster: ChatCluster, observed: Observed, instance: int = 1) -> Volume:
    """The claim of an instance, as it is."""
    return claimed(observed.child("PersistentVolumeClaim", claim_name(cluster.name, instance)), cluster.uid)


def claimed(claim: Manifest | None, uid: str) -> Volume:
    """A claim of the ChatCluster with this uid, as it is."""
    usable = not leaving(claim, uid)
    return Volume(
        size=_size(claim) if usable else None,
        usable=usable,
        leaving=not usable and not condemned(claim, uid),
    )


def _replicated(cluster: ChatCluster, observed: Observed, volume: Volume, identity: str | None) -> DesiredDatabase:
    """Of several instances: they try new parameters by restarting, replicas first."""
    revision = revision_of(cluster, volume.size, replicated=True)
    seen = [report for report in observed.agents.values() if report is not None]
    refused = [report.refused for report in seen if report.configuration == revision and report.refused is not None]
    return DesiredDatabase(
        volume=volume,
        identity=identity,
        revision=revision,
        config_digest=config_digest(cluster, volume_size=volume.size or cluster.database.storage.size),
        parameters_refused=refused[0] if refused else None,
        parameters_checked=all(report.configuration == revision for report in seen),
    )


def _external(cluster: ChatCluster, external: ExternalDatabase, observed: Observed, volume: Volume) -> DesiredDatabase:
    judged = judge(cluster, external, observed.user_secrets)
    # If the URL cannot be read now, servers still use the ports of the last one that could be.
    live = observed.child("NetworkPolicy", part_name(cluster.name, "migrate"))
    return DesiredDatabase(volume, judged.identity, judged.ports or live_database_ports(live), judged.trouble)


def _size(claim: Manifest | None) -> str | None:
    """What the API server has granted: a request for more may have been refused."""
    return str(claim["spec"]["resources"]["requests"]["storage"]) if claim is not None else None
