"""The observed state of one ChatCluster, as frozen data from which decisions are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.metadata import workload_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest, ObjectKey, Part


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
class MemberReport:
    """What Patroni on one instance says of it, as the agent beside it passes it on.

    Attributes:
        role: `leader`, `replica` and others, as Patroni names them.
        state: `running`, `streaming`, `starting` and others, as Patroni names them.
        timeline: Of its WAL; None where that is not known.
        lag_bytes: WAL that it lacks; None where that is not known.
        synchronous: It counts for commits that wait for a replica; None where that is not known.
        pending_restart: It does not run with all parameters that Patroni sets.
        paused: Patroni changes nothing.
        leader: The member that leads; None where none does.
    """

    role: str
    state: str
    timeline: int | None = None
    lag_bytes: int | None = None
    synchronous: bool | None = None
    pending_restart: bool = False
    paused: bool = False
    leader: str | None = None

    @property
    def streams(self) -> bool:
        """Whether it is a replica that gets the leader's WAL as it is written."""
        return self.state == "streaming"


@dataclass(frozen=True)
class ArchiveReport:
    """How the archiving of WAL goes, as the agent beside PostgreSQL sees it.

    Attributes:
        failing: The last try to archive a file failed.
        waiting: Files that are not archived yet.
        lag_seconds: Age of the oldest of them; 0 where there is none.
        error: Words of the last failure; empty where they are not known.
    """

    failing: bool
    waiting: int
    lag_seconds: float
    error: str = ""


@dataclass(frozen=True)
class VolumeReport:
    """The database's volume, as the agent beside PostgreSQL sees it.

    Attributes:
        size_bytes: Of its file system.
        free_bytes: That can still be written.
        kept: Names of the folders in which restores in place have kept what they replaced.
    """

    size_bytes: int
    free_bytes: int
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreOutcome:
    """How the container that restores the database ended, as its termination message says.

    Attributes:
        id: Of the restore in place; empty for the first content of a chat.
        code: One word for programs: why it failed; None where it succeeded.
        text: For admins, likewise.
        ended: When it succeeded, as ISO 8601; None where it failed.
        restored_to: Time of the last commit that was replayed; None where there was none.
        backup: With which it began.
        kept: Name of the folder with the data of before; empty where there is none.
    """

    id: str
    code: str | None = None
    text: str = ""
    ended: str | None = None
    restored_to: str | None = None
    backup: str = ""
    kept: str = ""


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
class RepositoryReport:
    """Whether the repository can be read, and why not: an error for admins, and one word for programs."""

    reachable: bool
    error: str = ""
    code: str = ""


@dataclass(frozen=True)
class MadeBackup:
    """One backup of the repository; times are ISO 8601.

    Attributes:
        label: pgBackRest's name for it.
        type: `full` or `incremental`.
        stopped: When it was complete.
        error: Pages were found damaged while it was made.
        bytes: Of the database.
    """

    label: str
    type: str
    stopped: str
    error: bool = False
    bytes: int = 0


@dataclass(frozen=True)
class BackupError:
    """Why the last try of a backup failed: when, pgBackRest's words, and one word for programs."""

    at: str
    text: str
    code: str = "other"


@dataclass(frozen=True)
class VerifyReport:
    """What the last verification of the repository found, and when."""

    at: str
    ok: bool
    text: str = ""


@dataclass(frozen=True)
class DrillReport:
    """The last restore drill; times are ISO 8601.

    Attributes:
        at: When it ended.
        ok: Whether the database could be restored and was whole.
        seconds: How long it took.
        code, text: Why it failed: one word for programs, and an error for admins.
        good_at: When a drill succeeded last; None if none has.
        messages: How many it restored; None where it failed before they were counted.
        newest_message: When the newest of them was stored.
        restored_to: Time of the last commit that it restored.
    """

    at: str
    ok: bool
    seconds: float
    code: str = ""
    text: str = ""
    good_at: str | None = None
    messages: int | None = None
    newest_message: str | None = None
    restored_to: str | None = None


@dataclass(frozen=True)
class BackupReport:
    """What the backup pod says; times are ISO 8601.

    Attributes:
        repository: Whether it can be reached.
        backups: Those in it, the oldest first.
        oldest_restorable: The earliest moment that can be restored; None where none can.
        newest_archived: The last moment that can be restored; None likewise.
        last_backup_error: Of the last try; None where it succeeded.
        last_verify: None before the first verification.
        answered_request: Value of the annotation whose backup has ended last.
        phase: What it does now.
        last_drill: None before the first restore drill, and where there are none.
        answered_drill: Value of the annotation whose drill has ended last.
        drill_overdue_since: When a drill that is overdue should have begun; None where none is.
    """

    repository: RepositoryReport
    backups: tuple[MadeBackup, ...] = ()
    oldest_restorable: str | None = None
    newest_archived: str | None = None
    last_backup_error: BackupError | None = None
    last_verify: VerifyReport | None = None
    answered_request: str | None = None
    phase: str = "idle"
    last_drill: DrillReport | None = None
    answered_drill: str | None = None
    drill_overdue_since: str | None = None


@dataclass(frozen=True)
class AgentReport:
    """What the agent beside PostgreSQL says.

    Attributes:
        credentials: Revision of the passwords that PostgreSQL has; None before the first.
        configuration: Revision of the parameters that were checked last; None before the first.
        refused: PostgreSQL's words against them; None where they count.
        member: What Patroni says of the instance; None where there is one instance.
        archive: How the archiving of WAL goes; None where there is none.
        volume: What is on the volume; None where that is not known.
    """

    credentials: str | None
    configuration: str | None
    refused: str | None
    member: MemberReport | None = None
    archive: ArchiveReport | None = None
    volume: VolumeReport | None = None


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
