"""What is in a repository: its backups, its WAL, and the times to which both together can restore. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from postgresagent import epoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STANZA = "chat"

REQUEST = "request"
"""Annotation of a backup: the request that it answers."""

VERIFIED = "verified"
"""Annotation of a backup: when the repository was found to be whole, while it was the newest."""

FULL, DIFFERENTIAL, INCREMENTAL = "full", "diff", "incr"

SEGMENTS_OF_4_GIB = 256
"""WAL files of 16 MiB by the second third of their names."""

_SEGMENT = re.compile(r"(?:^|/)([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?$")
_HISTORY = re.compile(r"(?:^|/)([0-9A-F]{8})\.history$")
_SWITCH = re.compile(r"^(\d+)\t([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)


@dataclass(frozen=True)
class Backup:
    """One backup.

    Attributes:
        label: pgBackRest's name of it.
        type: `full`, `diff` or `incr`.
        started, stopped: When; after `stopped` the database can be restored to.
        first_wal, last_wal: Names of the WAL files that are needed to restore it at all.
        bytes: Of the database.
        repository_bytes: Which this backup added to the repository.
        error: Whether pages with a wrong checksum are in it.
        annotations: Ours.
        stop_position: Where in the WAL it ended, as PostgreSQL writes it; empty if pgBackRest does not say.
    """

    label: str
    type: str
    started: dt.datetime
    stopped: dt.datetime
    first_wal: str
    last_wal: str
    bytes: int
    repository_bytes: int
    error: bool
    annotations: Mapping[str, str]
    stop_position: str = ""


@dataclass(frozen=True)
class Archive:
    """The WAL of one history of the database.

    Attributes:
        folder: Its name in the archive, such as `17-1`.
        segments: Names of its WAL files, in their order.
        files: Of each, the path below the folder of all archives.
        timeline: The newest one.
        switches: By the number of each timeline that led to it, the position at which it was left.
    """

    folder: str
    segments: tuple[str, ...]
    files: Mapping[str, str]
    timeline: int = 1
    switches: Mapping[int, str] = field(default_factory=dict)

    @property
    def newest(self) -> str | None:
        """The last WAL file."""
        return self.segments[-1] if self.segments else None


@dataclass(frozen=True)
class Repository:
    """A repository.

    Attributes:
        has_stanza: Whether it was prepared for the database.
        is_encrypted: Whether its files are encrypted.
        backups: Those that are complete, oldest first.
        archive_folder: Of the database's present history; None without a stanza.
    """

    has_stanza: bool
    is_encrypted: bool
    backups: tuple[Backup, ...]
    archive_folder: str | None

    @property
    def newest(self) -> Backup | None:
        """The last backup."""
        return self.backups[-1] if self.backups else None

    @property
    def newest_full(self) -> Backup | None:
        """The last backup that needs no other."""
        return next((one for one in reversed(self.backups) if one.type == FULL), None)

    def answered(self, request: str) -> bool:
        """Whether a backup answers a request."""
        return any(one.annotations.get(REQUEST) == request for one in self.backups)


NOTHING = Repository(has_stanza=False, is_encrypted=False, backups=(), archive_folder=None)


def repository(info: Sequence[Mapping[str, Any]]) -> Repository:
    """Return what `pgbackrest info --output=json` says.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    stanza = next((one for one in info if one.get("name") == STANZA), None)
    if stanza is None or not stanza.get("db"):
        return NOTHING
    backups = sorted((_backup(one) for one in stanza.get("backup", ())), key=lambda one: one.stopped)
    newest = max(stanza["db"], key=lambda one: int(one["id"]))
    return Repository(
        has_stanza=True,
        is_encrypted=stanza.get("cipher", "none") != "none",
        backups=tuple(backups),
        archive_folder=f"{newest['version']}-{newest['id']}",
    )


def trouble(info: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why `pgbackrest info` could not read the repository; None if it could."""
    for stanza in info:
        for one in stanza.get("repo", ()):
            status = one.get("status", {})
            if status.get("code") == OTHER_TROUBLE:
                return " ".join(str(status.get("message", "")).split())
    return None


OTHER_TROUBLE = 99
"""Status of a repository that cannot be read."""


def _backup(one: Mapping[str, Any]) -> Backup:
    info = one["info"]
    return Backup(
        label=str(one["label"]),
        type=str(one["type"]),
        started=_time(one["timestamp"]["start"]),
        stopped=_time(one["timestamp"]["stop"]),
        first_wal=str(one["archive"]["start"]),
        last_wal=str(one["archive"]["stop"]),
        bytes=int(info["size"]),
        repository_bytes=int(info["repository"]["delta"]),
        error=bool(one.get("error")),
        annotations={str(key): str(value) for key, value in (one.get("annotation") or {}).items()},
        stop_position=str((one.get("lsn") or {}).get("stop") or ""),
    )


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def archive(folder: str, names: Iterable[str]) -> Archive:
    """Return the WAL of one history.

    Args:
        folder: The history's.
        names: Paths of all files below the folder of all archives, as `pgbackrest repo-ls --recurse` lists them.
    """
    found = ((match[1], name) for name in names if name.startswith(f"{folder}/") and (match := _SEGMENT.search(name)))
    files = dict(sorted(found, key=lambda one: (number(one[0]), one[0])))
    # The first history of a timeline is the one of a database that was promoted before it was backed up: it is nowhere.
    return Archive(folder, tuple(files), files, max((_timeline(name) for name in files), default=1))


def newest_history(folder: str, names: Iterable[str]) -> str | None:
    """Return the path of the history of the newest timeline; None while there is only the first.

    Args:
        folder: As of `archive`.
        names: Likewise.
    """
    found = [name for name in names if name.startswith(f"{folder}/") and _HISTORY.search(name)]
    return max(found, key=lambda name: name.rpartition("/")[2], default=None)


def on_newest_timeline(wal: Archive, path: str, history: str) -> Archive:
    """Return the WAL that leads to the newest timeline, without what a restore or a failover has left behind.

    Only this is the present history of the database, and only to this a recovery leads.

    Args:
        wal: All of it.
        path: Of the newest timeline's history.
        history: Its content, whose lines are `1<TAB>0/3000000<TAB>reason`.
    """
    match = _HISTORY.search(path)
    timeline = int(match[1], 16) if match else 1
    if timeline < wal.timeline:
        # Nothing says where that of the newest files began, so that only those lead to it.
        switches = {}
    else:
        switches = {int(number): position for number, position in _SWITCH.findall(history)}
    left = replace(wal, timeline=max(timeline, wal.timeline), switches=switches)
    kept = tuple(one for one in wal.segments if _leads_on(left, one, ""))
    return replace(left, segments=kept, files={one: wal.files[one] for one in kept})


def on_timeline_of(found: Repository, wal: Archive) -> Repository:
    """Return the repository with those backups alone from which a recovery leads to the newest timeline."""
    return replace(
        found, backups=tuple(one for one in found.backups if _leads_on(wal, one.last_wal, one.stop_position))
    )


def _leads_on(wal: Archive, segment: str, position: str) -> bool:
    """Whether a WAL file, and a position in it, was written before its timeline was left."""
    timeline = _timeline(segment)
    if timeline == wal.timeline:
        return True
    switch = wal.switches.get(timeline)
    if switch is None:
        return False
    if position:
        return offset(position) <= offset(switch)
    return number(segment) <= number(epoch.segment(timeline, switch))


def _timeline(segment: str) -> int:
    return int(segment[:8], 16)


def offset(position: str) -> int:
    """Return a position as a number of bytes: "1/10" -> 4294967312."""
    high, _, low = position.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def number(segment: str) -> int:
    """Return the place of a WAL file on its timeline: "000000020000000100000003" -> 259."""
    return int(segment[8:16], 16) * SEGMENTS_OF_4_GIB + int(segment[16:24], 16)


def named(timeline: str, place: int) -> str:
    """Return the name of a WAL file: ("00000002", 259) -> "000000020000000100000003"."""
    return f"{timeline}{place // SEGMENTS_OF_4_GIB:08X}{place % SEGMENTS_OF_4_GIB:08X}"


def gaps(found: Archive, first: str) -> list[str]:
    """Return the first name of each run of WAL files that are missing after another one.

    A timeline begins where the one before it ended, so that a place counts once, on whichever timeline.
    What comes after the newest file is not missing: it is not archived yet.
    """
    places = sorted({number(one) for one in found.segments if number(one) >= number(first)})
    expected, missing = number(first), []
    for place in places:
        if place != expected:
            before = [one[:8] for one in found.segments if number(one) < place]
            missing.append(named(before[-1] if before else first[:8], expected))
        expected = place + 1
    if not places:
        missing.append(first)
    return missing


@dataclass(frozen=True)
class Window:
    """The times to which a restore is possible without a gap.

    Attributes:
        oldest: The end of the first backup from which all WAL is there; None if there is none.
        newest_wal: The last WAL file.
        gaps: First names of missing WAL files since the oldest backup.
    """

    oldest: Backup | None
    newest_wal: str | None
    gaps: tuple[str, ...]


NO_WINDOW = Window(None, None, ())


def window(found: Repository, wal: Archive) -> Window:
    """Return the last stretch of time without a gap."""
    if not found.backups:
        return Window(None, wal.newest, ())
    whole = next((one for one in found.backups if not gaps(wal, one.first_wal)), None)
    return Window(whole, wal.newest, tuple(gaps(wal, found.backups[0].first_wal)))


def newest_restorable(found: Repository, newest_commit: dt.datetime | None) -> dt.datetime | None:
    """Return the last time up to which the repository has every commit; None without a backup.

    It stands still while nothing is committed: nothing shows whether there is more that is not archived yet.

    Args:
        found: What is in the repository.
        newest_commit: Time of the last commit in its WAL; None if none was found.
    """
    if found.newest is None:
        return None
    # What was committed before a backup began is in its WAL.
    return max(found.newest.started, newest_commit or found.newest.started)
