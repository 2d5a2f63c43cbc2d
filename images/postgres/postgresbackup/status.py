"""What the operator gets of a repository host: `GET /status`. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postgresbackup.repository import DIFFERENTIAL, FULL, INCREMENTAL, NO_WINDOW, NOTHING, Repository, newest_restorable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postgresagent.volume import Space
    from postgresbackup.drilled import Drilled
    from postgresbackup.problems import Problem
    from postgresbackup.repository import Window

IDLE = "idle"

NAMES = {FULL: "full", DIFFERENTIAL: "differential", INCREMENTAL: "incremental"}
"""Of types of backups."""


@dataclass(frozen=True)
class Failure:
    """Work that failed: when, and why."""

    at: dt.datetime
    problem: Problem


@dataclass(frozen=True)
class Verified:
    """A verification: when, whether everything was whole, and what was not."""

    at: dt.datetime
    ok: bool
    text: str


@dataclass(frozen=True)
class State:
    """What a repository host knows.

    Attributes:
        phase: The kind of work that runs, or IDLE.
        looked_at: When the repository was read last; None until then.
        problem: Why it cannot be read; None if it can.
        found: What was in it.
        window: The times to which it can restore.
        newest_commit: Of its WAL; None while it is not known.
        settings_error: What is wrong with backup.json; None if nothing is.
        last_failure: Of a backup; None after one that succeeded.
        last_verify: None until the first one.
        overdue_since: When a backup that is overdue should have begun.
        next_due: When the next backup of the schedule is due; None if there is none.
        request: The administrator's present one.
        tried_request: The last one for which a backup has ended, well or not.
        runs: How often work has ended, by kind and result.
        volume: Space of the repository's volume; None for an object store.
        has_drills: Whether drills are made.
        last_drill: None until the first one.
        drill_overdue_since: When a drill that is overdue should have begun.
    """

    phase: str = IDLE
    looked_at: dt.datetime | None = None
    problem: Problem | None = None
    found: Repository = NOTHING
    window: Window = NO_WINDOW
    newest_commit: dt.datetime | None = None
    settings_error: str | None = None
    last_failure: Failure | None = None
    last_verify: Verified | None = None
    overdue_since: dt.datetime | None = None
    next_due: dt.datetime | None = None
    request: str = ""
    tried_request: str = ""
    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    volume: Space | None = None
    has_drills: bool = False
    last_drill: Drilled | None = None
    drill_overdue_since: dt.datetime | None = None


def status(state: State) -> dict[str, Any]:
    """Return the answer as JSON; all times are ISO 8601 in UTC, and None where there is none."""
    problem, failure, verified = state.problem, state.last_failure, state.last_verify
    oldest = state.window.oldest
    return {
        "phase": "backup" if state.phase in NAMES else state.phase,
        "repository": {
            "reachable": state.looked_at is not None and problem is None,
            "error": "" if problem is None else problem.text,
            "code": "" if problem is None else problem.code,
        },
        "stanza": state.found.has_stanza,
        "backups": [
            {
                "label": one.label,
                "type": NAMES.get(one.type, one.type),
                "started": _said(one.started),
                "stopped": _said(one.stopped),
                "bytes": one.bytes,
                "repository_bytes": one.repository_bytes,
                "error": one.error,
            }
            for one in state.found.backups
        ],
        "oldest_restorable": _said(oldest.stopped if oldest else None),
        "newest_archived": _said(newest_restorable(state.found, state.newest_commit)),
        "last_archived_wal": state.window.newest_wal,
        "gaps": list(state.window.gaps),
        "last_backup_error": failure
        and {"at": _said(failure.at), "text": failure.problem.text, "code": failure.problem.code},
        "last_verify": verified and {"at": _said(verified.at), "ok": verified.ok, "text": verified.text},
        "overdue_since": _said(state.overdue_since),
        "next_due": _said(state.next_due),
        "answered_request": state.request if _is_answered(state) else "",
        "settings_error": state.settings_error,
        "last_drill": _drill(state.last_drill) if state.has_drills and state.last_drill is not None else None,
        "answered_drill": state.last_drill.request if state.has_drills and state.last_drill is not None else "",
        "drill_overdue_since": _said(state.drill_overdue_since),
    }


def _drill(last: Drilled) -> dict[str, Any]:
    content = last.content
    return {
        "at": _said(last.at),
        "ok": last.ok,
        "seconds": round(last.seconds, 1),
        "code": last.code,
        "text": last.text,
        "backup": last.backup,
        "good_at": _said(last.good_at),
        "users": content.users if content else None,
        "chats": content.chats if content else None,
        "messages": content.messages if content else None,
        "newest_message": _said(content.newest_message) if content else None,
        "restored_to": _said(content.restored_to) if content else None,
    }


def _is_answered(state: State) -> bool:
    return bool(state.request) and (state.found.answered(state.request) or state.tried_request == state.request)


def _said(time: dt.datetime | None) -> str | None:
    return None if time is None else time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
