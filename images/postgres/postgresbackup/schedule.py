"""Decides what a repository host does next. Pure: `now` is an argument; all times are UTC.

Only this file imports cronsim.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cronsim import CronSim, CronSimError

from postgresbackup.problems import Code
from postgresbackup.repository import FULL, INCREMENTAL, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from postgresbackup.drilled import Begun, Drilled
    from postgresbackup.repository import Repository

VERIFY, DRILL = "verify", "drill"
"""The kinds of work that read the whole repository, and restore from it; the other kinds are types of backups."""

OVERDUE_SECONDS = 2 * 3600.0
"""A backup that should have begun so long ago and is not there is overdue: one of a large database takes an hour."""

MISSING_WAL_PAUSE = dt.timedelta(minutes=10)
"""Between two backups because WAL is missing: a cause that one does not remove must not make them without end."""

AFTER_RESTORE = "restored-"
"""Beginning of the operator's own request after a restore in place, which a full backup answers."""

PAUSE_SECONDS, PAUSE_SECONDS_MAX = 30.0, 900.0
"""Before the first and the last of repeated tries."""

DRILL_TRIES, DRILL_PAUSE_SECONDS = 3, 3600.0
"""How often a scheduled drill is tried, and the time between two tries: each copies the whole database."""

DRILL_OVERDUE_SECONDS = 24 * 3600.0
"""A drill that should have begun so long ago and has no result is overdue: the longest may take as long."""

DRILL_SECONDS, DRILL_SECONDS_MAX = 4 * 3600, 24 * 3600
"""Longest run of a drill: the default, and the most that can be set. No backup is made meanwhile."""

LASTING = frozenset({Code.DAMAGED, Code.NO_CHAT})
"""Codes of drills that end as they did before if they are tried again."""


class InvalidSettings(ValueError):
    """backup.json is not what it should be; the text names the field."""


@dataclass(frozen=True)
class Drills:
    """When drills are made.

    Attributes:
        schedule: Five cron fields, UTC.
        request: Id of an administrator's request for a drill; empty if there is none.
        seconds: How long one may take.
    """

    schedule: str
    request: str = ""
    seconds: int = DRILL_SECONDS


@dataclass(frozen=True)
class Settings:
    """backup.json, which the operator renders.

    Attributes:
        full, incremental, verify: Five cron fields, UTC; empty if nothing is scheduled.
        request: Id of an administrator's request for a backup; empty if there is none.
        suspended: Whether WAL is not archived for now, so that no backup could be restored.
        drills: None if there are none.
    """

    full: str = ""
    incremental: str = ""
    verify: str = ""
    request: str = ""
    suspended: bool = False
    drills: Drills | None = None


@dataclass(frozen=True)
class Failures:
    """The last tries, if they failed: how many, and when the last one ended."""

    count: int = 0
    at: dt.datetime | None = None


@dataclass(frozen=True)
class Work:
    """What is due.

    Attributes:
        kind: FULL, INCREMENTAL, VERIFY or DRILL.
        since: When it should have begun.
        request: Id of the request that it answers; empty for none.
        tries: Of a drill: the number of this try.
    """

    kind: str
    since: dt.datetime
    request: str = ""
    tries: int = 1


def settings(data: Mapping[str, Any]) -> Settings:
    """Return the settings in backup.json.

    Raises:
        InvalidSettings: A field is wrong.
    """
    times = data.get("schedule") or {}
    for name in ("full", "incremental", "verify"):
        if times.get(name):
            _check(f"schedule.{name}", times[name])
    return Settings(
        full=times.get("full") or "",
        incremental=times.get("incremental") or "",
        verify=times.get("verify") or "",
        request=str(data.get("request") or ""),
        suspended=bool(data.get("suspended")),
        drills=_drills(data.get("drill")),
    )


def _drills(data: Mapping[str, Any] | None) -> Drills | None:
    if not data:
        return None
    expression, seconds = data.get("schedule"), data.get("timeoutSeconds", DRILL_SECONDS)
    _check("drill.schedule", expression)
    if not isinstance(seconds, int) or not 0 < seconds <= DRILL_SECONDS_MAX:
        raise InvalidSettings(f"drill.timeoutSeconds: {seconds!r} is not from 1 to {DRILL_SECONDS_MAX} seconds")
    return Drills(str(expression), str(data.get("request") or ""), seconds)


def _check(field: str, expression: object) -> None:
    try:
        CronSim(str(expression), dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
    except CronSimError as error:
        raise InvalidSettings(f"{field}: {expression!r} is not five cron fields: {error}") from error


def last(expression: str, now: dt.datetime) -> dt.datetime | None:
    """Return the last time of a schedule that is not after `now`; None if there is none.

    "0 1 * * *" at 03:00 -> 01:00 of the same day.
    """
    if not expression:
        return None
    # cronsim looks at whole minutes that are before the one it begins with.
    begin = now.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    return next(CronSim(expression, begin, reverse=True), None)


@dataclass(frozen=True)
class Seen:
    """What was seen beside the repository's own list.

    Attributes:
        started: When this repository host began to look: what was scheduled before, while there was nothing to back up,
            is not made up for.
        missing_wal: Whether WAL is missing since the newest backup, so that only another one can be restored from.
        mended_at: When a backup began last.
        read_at: When everything was read last, whole or not; None if it was not since the start.
        damaged_at: When a verification found damage; None if the last one found none.
    """

    started: dt.datetime
    missing_wal: bool = False
    mended_at: dt.datetime | None = None
    read_at: dt.datetime | None = None
    damaged_at: dt.datetime | None = None


@dataclass(frozen=True)
class DrillSeen:
    """What was seen of drills beside the last one's result.

    Attributes:
        started: When this repository host began to look.
        interrupted: A drill that has begun and not ended, while none runs; None if there is none.
    """

    started: dt.datetime
    interrupted: Begun | None = None


def due(now: dt.datetime, desired: Settings, found: Repository, seen: Seen) -> Work | None:
    """Return the work that should have begun, the most important first; None if there is none.

    Args:
        now: The time.
        desired: backup.json.
        found: What is in the repository.
        seen: What is known beside that.
    """
    if desired.suspended:
        return None
    return next(_all_due(now, desired, found, seen), None)


def _all_due(now: dt.datetime, desired: Settings, found: Repository, seen: Seen) -> Iterator[Work]:
    newest, full = found.newest, found.newest_full
    request = "" if found.answered(desired.request) else desired.request
    if newest is None or full is None:
        yield Work(FULL, seen.started, request)
        return
    if (scheduled := last(desired.full, now)) is not None and scheduled > full.started:
        yield Work(FULL, scheduled, request)
    # An incremental one would need what is damaged.
    if seen.damaged_at is not None and seen.damaged_at > full.started:
        yield Work(FULL, seen.damaged_at, request)
    if request.startswith(AFTER_RESTORE):
        yield Work(FULL, now, request)
    if request or (seen.missing_wal and (seen.mended_at is None or now >= seen.mended_at + MISSING_WAL_PAUSE)):
        yield Work(INCREMENTAL, now, request)
    if (scheduled := last(desired.incremental, now)) is not None and scheduled > newest.started:
        yield Work(INCREMENTAL, scheduled)
    read = max(filter(None, (verified_at(found), seen.read_at)), default=found.backups[0].stopped)
    if (scheduled := last(desired.verify, now)) is not None and scheduled > read:
        yield Work(VERIFY, scheduled)


def drill_due(
    now: dt.datetime, desired: Settings, found: Repository, last_one: Drilled | None, seen: DrillSeen
) -> Work | None:
    """Return the drill that should have begun; None if there is none.

    The first one is due at once. One that failed is tried again, but for a request, which is answered by its failure.

    Args:
        now: The time.
        desired: backup.json.
        found: What is in the repository.
        last_one: The last drill; None if there was none.
        seen: What is known beside that.
    """
    drills = desired.drills
    if drills is None or desired.suspended or found.newest is None:
        return None
    if seen.interrupted is not None:
        return Work(DRILL, seen.interrupted.at, seen.interrupted.request, seen.interrupted.tries + 1)
    if drills.request and (last_one is None or last_one.request != drills.request):
        # The administrator decides whether to try again.
        return Work(DRILL, now, drills.request, DRILL_TRIES)
    if last_one is None:
        return Work(DRILL, seen.started)
    scheduled = last(drills.schedule, now)
    if scheduled is not None and scheduled > last_one.at:
        return Work(DRILL, scheduled)
    return _again(now, last_one)


def _again(now: dt.datetime, last_one: Drilled) -> Work | None:
    """Return the next try of a drill that failed; None if there is none yet."""
    if last_one.ok or last_one.tries >= DRILL_TRIES or last_one.code in LASTING:
        return None
    again = last_one.at + dt.timedelta(seconds=DRILL_PAUSE_SECONDS)
    return Work(DRILL, again, tries=last_one.tries + 1) if now >= again else None


def is_given_up(begun: Begun) -> bool:
    """Return whether a drill that was interrupted is not begun again: it may be what ends the container."""
    return begun.tries >= DRILL_TRIES


def drill_overdue_since(now: dt.datetime, work: Work | None) -> dt.datetime | None:
    """Return since when a drill is overdue; None while it is in time."""
    late = work is not None and now - work.since >= dt.timedelta(seconds=DRILL_OVERDUE_SECONDS)
    return work.since if work is not None and late else None


def next_due(now: dt.datetime, desired: Settings) -> dt.datetime | None:
    """Return the next time of a backup in the schedule; None if there is none."""
    following = (next(CronSim(one, now), None) for one in (desired.full, desired.incremental) if one)
    return min(filter(None, following), default=None)


def verified_at(found: Repository) -> dt.datetime | None:
    """Return when the repository was found to be whole last; None if it never was."""
    times = [
        dt.datetime.fromisoformat(one.annotations[VERIFIED]) for one in found.backups if VERIFIED in one.annotations
    ]
    return max(times, default=None)


def may_try(now: dt.datetime, failures: Failures) -> bool:
    """Return whether enough time has passed since a failure: after 30 s, then 60 s, and so on up to 15 minutes."""
    if failures.at is None or failures.count == 0:
        return True
    pause = min(PAUSE_SECONDS * 2.0 ** min(failures.count - 1, 10), PAUSE_SECONDS_MAX)
    return now >= failures.at + dt.timedelta(seconds=pause)


def overdue_since(now: dt.datetime, work: Work | None) -> dt.datetime | None:
    """Return since when a backup is overdue; None while it is in time."""
    if work is None or work.kind == VERIFY or now - work.since < dt.timedelta(seconds=OVERDUE_SECONDS):
        return None
    return work.since
