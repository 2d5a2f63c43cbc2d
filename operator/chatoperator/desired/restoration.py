"""A restore as status has it, and a request of one in place. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from chatoperator.metadata import RESTORE_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest

REQUEST_BYTES_MAX = 1024
"""Of the annotation; a longer value is no request."""

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
"""Of a request: it names a folder on the volume."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
"""A time with its zone."""

LATEST = "latest"

STOPPING, RESTORING, FAILED, STARTING, COMPLETED = "Stopping", "Restoring", "Failed", "Starting", "Completed"
"""Phases: chatservers stop; the container restores; it failed, and tries again; the schema is migrated; done."""

UNDER_WAY = frozenset({STOPPING, RESTORING, STARTING})


class Refusal(msgspec.Struct, frozen=True, rename="camel"):
    """A request that was refused, which changed nothing.

    Attributes:
        id: Of the request.
        reason: One word for programs.
        message: Why, and what to do.
    """

    id: str
    reason: str
    message: str


class Restoration(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """status.database.restore. Times are ISO 8601 in UTC.

    Attributes:
        id: Of the request; empty for the first content of a chat.
        phase: One of the phases; empty while there is nothing but a refusal.
        target_time: What was requested: a time, or `latest`; empty where another restore is undone.
        undoes: Id of the restore that is undone; empty where none is.
        reason: Why it failed, in one word; empty where it has not.
        message: The same for admins.
        began_at: When it was accepted; empty for the first content of a chat.
        ended_at: When the data was complete; empty before.
        restored_to: Time of the last commit that is in it; empty where that is not known.
        backup: With which it began.
        kept_data: Folder on the volume with the data of before; empty where there is none.
        left_from, left_until: Between these times the chat had a history that the present data does not continue.
        backup_request: Value of the annotation that requests backups, when the restore began.
        refused: The last request, if it was refused.
    """

    id: str = ""
    phase: str = ""
    target_time: str = ""
    undoes: str = ""
    reason: str = ""
    message: str = ""
    began_at: str = ""
    ended_at: str = ""
    restored_to: str = ""
    backup: str = ""
    kept_data: str = ""
    left_from: str = ""
    left_until: str = ""
    backup_request: str = ""
    refused: Refusal | None = None

    @property
    def in_place(self) -> bool:
        """Whether it replaces data of the chat."""
        return bool(self.id and self.phase)

    @property
    def under_way(self) -> bool:
        """Whether it proceeds automatically."""
        return self.phase in UNDER_WAY

    @property
    def holds_servers(self) -> bool:
        """Whether no chatserver may run."""
        return self.in_place and self.phase != COMPLETED

    @property
    def keeps_database(self) -> bool:
        """Whether the database stays as it is until all chatservers have stopped."""
        return self.in_place and self.phase == STOPPING

    @property
    def in_template(self) -> bool:
        """Whether the pod of the database has the container of this restore: to remove it would restart PostgreSQL."""
        return self.in_place and self.phase != STOPPING

    @property
    def state(self) -> str:
        """What its container may do: `ID pending` or `ID done`."""
        return f"{self.id} {'pending' if self.phase in {RESTORING, FAILED} else 'done'}"

    @property
    def identity(self) -> str:
        """Changes with the data: its schema may be an earlier one. Empty while it is that of before."""
        return self.id if self.in_place and self.phase in {STARTING, COMPLETED} else ""

    @property
    def requests_backup(self) -> bool:
        """Whether the history has just begun, so that a backup of it is due."""
        return self.in_place and self.phase == COMPLETED


class Request(msgspec.Struct, frozen=True):
    """The annotation: `{"id": "2026-11-30T12.00.00Z", "targetTime": "2026-11-30T10:15:00Z"}`, or with `undo`.

    Attributes:
        id: Distinguishes it from others.
        target_time: A time with its zone, or `latest`.
        undo: Id of the restore to be undone.
    """

    id: str
    target_time: str = msgspec.field(default="", name="targetTime")
    undo: str = ""


def held_in(body: Manifest) -> Restoration | None:
    """The restore in status; None where there is none."""
    raw = ((body.get("status") or {}).get("database") or {}).get("restore")
    try:
        return msgspec.convert(raw, Restoration) if raw else None
    except msgspec.ValidationError:
        return None


def begins(body: Manifest) -> bool:
    """Whether a chat may not have its first content yet, as far as status knows."""
    held = held_in(body)
    return held is None or (not held.id and held.phase != COMPLETED)


def shown(restoration: Restoration) -> dict[str, Any]:
    """The restore as status has it."""
    made: dict[str, Any] = msgspec.to_builtins(restoration)
    return made


def requested(text: str) -> tuple[Request | None, str]:
    """Read the annotation: the request, or what is wrong with it."""
    remedy = f"the annotation {RESTORE_ANNOTATION} is written by `kubectl chatcluster restore`"
    if len(text) > REQUEST_BYTES_MAX:
        return None, f"it is longer than {REQUEST_BYTES_MAX} characters: {remedy}"
    try:
        request = msgspec.convert(json.loads(text), Request)
    except (ValueError, RecursionError) as error:
        return None, f"it cannot be read ({error}): {remedy}"
    if not ID.fullmatch(request.id):
        return None, f"its id is not 1 to 40 letters, digits, dots and hyphens: {remedy}"
    if bool(request.target_time) == bool(request.undo):
        return None, f"it must have exactly one of targetTime and undo: {remedy}"
    if request.target_time not in {"", LATEST} and not MOMENT.fullmatch(request.target_time):
        return None, f"its targetTime is no time with its zone, such as 2026-11-30T10:15:00Z: {remedy}"
    return request, ""


def backup_request(request: str | None, restoration: Restoration | None) -> str | None:
    """The backup that is requested now: after a restore a full one, until an admin requests another.

    Args:
        request: The annotation of the ChatCluster.
        restoration: The restore.
    """
    if restoration is None or not restoration.requests_backup or (request or "") != restoration.backup_request:
        return request
    return f"{AFTER_RESTORE}{restoration.id}"


AFTER_RESTORE = "restored-"
"""What the backup pod answers with a full backup (postgresbackup.schedule)."""


def environment(restoration: Restoration) -> Mapping[str, str]:
    """Variables of the container that restores."""
    target = "" if restoration.target_time == LATEST else restoration.target_time
    return {"RESTORE_ID": restoration.id, "RESTORE_TARGET": target, "RESTORE_UNDO": restoration.undoes}
