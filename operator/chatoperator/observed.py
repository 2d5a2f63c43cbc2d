"""The observed state of one ChatCluster, as frozen data from which decisions are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.metadata import workload_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest, ObjectKey, Part
    from chatoperator.reports import AgentReport, BackupReport, RestoreOutcome


@dataclass(frozen=True)
class Reading:
    """The metrics of one chatserver.

    Attributes:
        connections: Open WebSockets.
        draining: It has begun to drain.
        login: The role in its DSN; None if it reports none.
        forced_closes: Connections that it closed because its drain ended; 0 if it does not report them.
        hears_bus: It receives the hints of the other servers at once; None if it does not report that.
    """

    connections: int
    draining: bool
    login: str | None = None
    forced_closes: int = 0
    hears_bus: bool | None = None


@dataclass(frozen=True)
class RestoreSource:
    """The ChatCluster from whose backups database.restore begins.

    Attributes:
        exists: It does.
        backed_up: Its spec has backups.
        certificate: The Secret is there with which its backup pod lets others read.
    """

    exists: bool = False
    backed_up: bool = False
    certificate: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of one real HTTPS request through the ingress Service.

    Attributes:
        ok: The chat works, writes included.
        message: For admins.
        volume_full: A server answered that its database's volume is full.
        seconds: How long it took; None where there was no request.
    """

    ok: bool
    message: str
    volume_full: bool = False
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Pod:
    """The part of a pod that decisions need.

    Attributes:
        started: Its container has passed the startup probe, so that it has been ready once.
        lost: It should have gone, and its node does not say that it has: nothing is known of it.
        trouble: Why a container that is not ready waits or died; None where nothing is known to be wrong.
        deletion_cost: The annotation's text; None where it is absent.
        outlived: The part's own container has ended with 0, and an injected one runs on.
        owner_uid: Of what controls the pod; None where nothing does.
        has_eviction_rule: An annotation says whether the cluster autoscaler may evict it.
        role: Of an instance of a replicated database, `primary` or `replica`; None where Patroni has written none.
        restores: Id of the restore in place that its template is for; None where it is for none.
        outcomes: Of its containers that restore, those that have ended.
    """

    name: str
    component: str
    address: str | None
    host_address: str | None
    ready: bool
    started: bool
    terminating: bool
    lost: bool
    trouble: str | None
    deletion_cost: str | None
    credentials_digest: str | None
    certificate_digest: str | None
    outlived: bool = False
    owner_uid: str | None = None
    has_eviction_rule: bool = False
    role: str | None = None
    restores: str | None = None
    outcomes: tuple[RestoreOutcome, ...] = ()


@dataclass(frozen=True)
class Observed:
    """One ChatCluster's children as the API server has them, the user's Secrets, and reports of the running parts.

    Attributes:
        children: By (kind, name).
        pods: Of every component.
        others: Objects that carry its labels or a name of its children and are somebody else's, by (kind, name).
        user_secrets: The Secrets that the spec names, by name; None for one that does not exist.
        agent: Report of PostgreSQL's agent, of several that of the leader's; None where it gives none.
        agents: Reports of all agents by pod name; None for one that gave none.
        readings: Of the chatservers by pod name, as they were read last; None for one that gave none.
        served: Kinds that not every cluster has and this one serves.
        backup: Report of the backup pod; None where it gives none.
        source: The ChatCluster that database.restore names; None where it names none.
    """

    children: Mapping[ObjectKey, Manifest]
    pods: tuple[Pod, ...]
    others: Mapping[ObjectKey, Manifest] = field(default_factory=dict)
    user_secrets: Mapping[str, Manifest | None] = field(default_factory=dict)
    agent: AgentReport | None = None
    agents: Mapping[str, AgentReport | None] = field(default_factory=dict)
    readings: Mapping[str, Reading | None] = field(default_factory=dict)
    served: frozenset[str] = frozenset()
    backup: BackupReport | None = None
    source: RestoreSource | None = None

    def child(self, kind: str, name: str) -> Manifest | None:
        """The child, or None where it does not exist."""
        return self.children.get((kind, name))

    def workload(self, cluster_name: str, part: Part) -> Manifest | None:
        """The Deployment or StatefulSet of a part."""
        return self.child(*workload_key(cluster_name, part))

    def component(self, part: Part) -> tuple[Pod, ...]:
        """The pods of a part, by name."""
        return tuple(pod for pod in self.pods if pod.component == part)

    def job_pods(self, job_name: str) -> tuple[Pod, ...]:
        """The pods of a migrate Job, which are named after it."""
        return tuple(pod for pod in self.component("migrate") if pod.name.startswith(f"{job_name}-"))
