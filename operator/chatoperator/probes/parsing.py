"""Parses what a chat's parts answer: metrics of chatservers, the agent's report, `/readyz`. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import replace
from typing import Any

import msgspec

from chatoperator.metrics.prometheus import parse
from chatoperator.observed import Answer, Reading
from chatoperator.reports import AgentReport, ArchiveReport, BackupReport, DrillReport, MemberReport, VolumeReport

READ_METRICS = (
    "chatserver_connections",
    "chatserver_draining",
    "chatserver_database_login",
    "chatserver_connections_closed_total",
    "chatserver_bus_connected",
)
"""Requested of a chatserver, which makes only these: its whole page takes 11 ms of its event loop's time. An older one
sends the whole page all the same."""

COUNTS = re.compile(
    rb"(# TYPE )?chatserver_(connections|draining|database_login|bus_connected)\b"
    rb"|(# TYPE chatserver_connections_closed_total\b|chatserver_connections_closed_total\{[^}]*reason=\"restart\")"
)
"""Lines of that page that are read; a page of other lines costs next to nothing."""

PATRONIS_WORD = re.compile(r"[A-Za-z0-9_. -]{0,128}")
"""A role, a state or the name of a pod."""

AGENT_WORDS_MAX = 500
"""Characters of PostgreSQL's words that are passed on."""

TIME_CHARS, YEARS = 40, range(1970, 9000)
"""Of a time as ISO 8601. Python cannot reckon beyond the years 1 to 9999, and Kubernetes shows no longer ones."""

BACKUP_TYPES, BYTES_MAX = frozenset({"full", "differential", "incremental"}), 2**62

KEPT_MAX = 1000
"""Folders with the data of before a restore."""

FILES_MAX, LAG_SECONDS_MAX = 10_000_000, 10 * 365 * 86_400
"""Of WAL that waits, and its age. More is no report."""

DRILL_SECONDS_MAX, MESSAGES_MAX = 10 * 86_400, 2**53
"""Of a restore drill, which ends after a day at the latest, and its database."""

CONNECTIONS_MAX = 10_000_000
"""Of one server. More than a machine has ports and memory for is no reading."""


def parse_answer(body: bytes) -> Answer:
    """What the good answer of a server says: it may serve and yet be unable to store anything."""
    try:
        writes = json.loads(body).get("writes")
    except (ValueError, AttributeError, RecursionError):
        writes = None
    if writes == "volume_full":
        message = "A request through the ingress was answered, but the volume of the database is full: nobody can send"
        return Answer(ok=False, message=message, volume_full=True)
    return Answer(ok=True, message="A request through the ingress was answered")


def parse_report(page: str) -> AgentReport | None:
    """Read what PostgreSQL's agent says; None where it is no report."""
    try:
        raw = _loaded(page)
        texts = [raw[key] for key in ("credentials", "configuration", "refused")]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(text is None or isinstance(text, str) for text in texts):
        return None
    credentials, configuration, refused = texts
    return AgentReport(
        credentials,
        configuration,
        refused,
        _member(raw.get("member")),
        _archive(raw.get("archive")),
        _volume(raw.get("volume")),
    )


def _member(raw: object) -> MemberReport | None:
    """Read what Patroni says of an instance; None where that cannot be read: the rest of the report counts."""
    try:
        member = msgspec.convert(raw, MemberReport)
    except msgspec.ValidationError:
        return None
    # Status shows some of it.
    plain = all(PATRONIS_WORD.fullmatch(text) for text in (member.role, member.state, member.leader or ""))
    return member if plain else None


def _archive(raw: object) -> ArchiveReport | None:
    """Read how the archiving of WAL goes; None where that cannot be read."""
    try:
        archive = msgspec.convert(raw, ArchiveReport)
    except msgspec.ValidationError:
        return None
    return archive if 0 <= archive.waiting <= FILES_MAX and 0 <= archive.lag_seconds <= LAG_SECONDS_MAX else None


def _volume(raw: object) -> VolumeReport | None:
    """Read what is on the volume; None where that cannot be read."""
    try:
        volume = msgspec.convert(raw, VolumeReport)
    except msgspec.ValidationError:
        return None
    return volume if len(volume.kept) <= KEPT_MAX and volume.free_bytes >= 0 else None


def parse_backup(page: str) -> BackupReport | None:
    """Read what the backup pod says; None where it is no report, or a time or figure in it is none."""
    try:
        report = msgspec.convert(_loaded(page), BackupReport)
    except (ValueError, RecursionError):
        return None
    error, verified, drill = report.last_backup_error, report.last_verify, report.last_drill
    times = [report.oldest_restorable, report.newest_archived, *(one.stopped for one in report.backups)]
    times += [one.at for one in (error, verified, drill) if one is not None]
    times += [report.drill_overdue_since]
    times += [drill.good_at, drill.newest_message, drill.restored_to] if drill is not None else []
    if not all(_is_time(text) for text in times if text is not None) or not _is_sensible(drill):
        return None
    if not all(one.type in BACKUP_TYPES and 0 <= one.bytes <= BYTES_MAX for one in report.backups):
        return None
    return replace(
        report, answered_request=report.answered_request or None, answered_drill=report.answered_drill or None
    )


def _loaded(page: str) -> Any:
    """Return what a page of JSON says, with each text as the API server takes it in a status: short, and Unicode.

    Raises:
        ValueError, RecursionError: It is no JSON.
    """
    return _short(json.loads(page))


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    # JSON can have halves of characters.
    return value[:AGENT_WORDS_MAX].encode(errors="replace").decode() if isinstance(value, str) else value


def _is_sensible(drill: DrillReport | None) -> bool:
    """Whether the figures of a drill can be shown in status."""
    return drill is None or (0 <= drill.seconds <= DRILL_SECONDS_MAX and 0 <= (drill.messages or 0) <= MESSAGES_MAX)


def _is_time(text: str) -> bool:
    """Whether a text is a time with its zone, with which one can reckon."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) <= TIME_CHARS and found.tzinfo is not None and found.year in YEARS


def parse_reading(page: str) -> Reading | None:
    """Read a chatserver's metrics page; None where it does not hold both figures."""
    values: dict[str, float] = {}
    login: str | None = None
    try:
        for family in parse(page):
            # A family can be announced without a sample: that is silence, not 0.
            if family.samples:
                values[family.name] = sum(sample.value for sample in family.samples)
            if family.samples and family.name == "chatserver_database_login":
                login = family.samples[0].labels.get("role") or None
        connections = int(values["chatserver_connections"])
        draining = values["chatserver_draining"] > 0
        forced_closes = int(values.get("chatserver_connections_closed", 0))
        hears = values.get("chatserver_bus_connected")
    except (KeyError, ValueError, OverflowError):
        return None
    if not (0 <= connections <= CONNECTIONS_MAX and 0 <= forced_closes <= CONNECTIONS_MAX):
        return None
    return Reading(
        connections,
        draining=draining,
        login=login,
        forced_closes=forced_closes,
        hears_bus=None if hears is None else hears > 0,
    )
