"""What the running parts report: PostgreSQL's agents, the backup pod, a restore. Frozen data."""

from __future__ import annotations

from dataclasses import dataclass


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
