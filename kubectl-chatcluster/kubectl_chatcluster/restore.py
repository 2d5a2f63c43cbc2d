"""`restore`: returns the database of a chat to an earlier state in place, after a confirmation, or undoes that."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import requests
from kubectl_chatcluster.errors import NotConfirmed, NothingToUndo, NotRestored
from kubectl_chatcluster.names import RESTORE_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object

LATEST = "latest"

STEPS = {
    "Stopping": "the chatservers stop",
    "Restoring": "the data is copied from the repository, and WAL is replayed",
    "Starting": "the data is restored; the schema is migrated and chatservers start",
}
"""Phases of status.database.restore that follow automatically."""

MINUTE, HOUR, DAY = 60, 3600, 86_400


def restore(
    kubectl: Kubectl,
    body: Object,
    *,
    target: str | None,
    confirmed: bool,
    timeout_seconds: float,
    now: dt.datetime,
    say: Callable[[str], None],
    prompt: Callable[[str], str],
) -> None:
    """Request it of the operator by an annotation, and wait until it has ended.

    Args:
        kubectl: The cluster.
        body: The ChatCluster.
        target: A time in UTC, such as 2026-11-30T10:15:00Z, or `latest`; None to undo the last restore.
        confirmed: Require no confirmation.
        timeout_seconds: How long to wait.
        now: The time with its zone, which makes this request another one than the last.
        say: Gets each line.
        prompt: Shows a question and returns the answer.

    Raises:
        NoBackups: The ChatCluster has no repository.
        NothingToUndo: No restore has been made in place.
        NotConfirmed: The answer was another one than the name.
        NotRestored: It was refused, it failed, or it had not ended when the time was over.
        KubectlError: A right is missing, or the cluster does not answer.
    """
    name = body["metadata"]["name"]
    requests.backup_spec(body)
    made = {"id": requests.named(now), **({"targetTime": target} if target is not None else {"undo": undone(body)})}
    for line in consequences(body, target, made["id"], now):
        say(line)
    if not confirmed and prompt(f"Type the name of the chat ({name}) to continue: ").strip() != name:
        raise NotConfirmed("that is not the name of the chat; nothing was changed")
    requests.annotate(kubectl, body, RESTORE_ANNOTATION, json.dumps(made, separators=(",", ":")))
    say("requested the restore")
    _wait(kubectl, body, made["id"], timeout_seconds, say)


def undone(body: Object) -> str:
    """Id of the restore that is to be undone.

    Raises:
        NothingToUndo: There is none.
    """
    held = requests.database_status(body, "restore")
    if not held.get("id"):
        raise NothingToUndo(f"no restore in place has been made in ChatCluster {body['metadata']['name']}")
    return str(held["id"])


def consequences(body: Object, target: str | None, name: str, now: dt.datetime) -> list[str]:
    """What a restore does, for whoever has to confirm it."""
    backup = requests.database_status(body, "backup")
    kept = f"The present data is kept on the database's volume as pgdata.before-{name}, until you delete it."
    if target is None:
        held = requests.database_status(body, "restore")
        since = (
            f" What users have sent since {held['endedAt']} is no longer in the chat." if held.get("endedAt") else ""
        )
        first = f"Restore {held.get('id')} to {held.get('targetTime') or 'the data of before'} is undone.{since}"
    elif target == LATEST:
        first = "The database is made again from its repository, with everything that is archived."
    else:
        lost = now - dt.datetime.fromisoformat(target)
        first = (
            f"The chat returns to {target}: what users have sent or changed in the {spoken(lost)} since then is no "
            "longer in it."
        )
    oldest, newest = backup.get("oldestRestorableTime"), backup.get("newestRestorableTime")
    window = (
        f"It can be restored to times after {oldest}. WAL is archived until {newest or 'some minutes ago'}; the rest "
        "is archived when PostgreSQL stops."
        if oldest
        else "No restorable time is known yet."
    )
    return [
        first,
        *([window] if target is not None else []),
        "No user can read or send until it has ended; clients then sync from the beginning.",
        f"{kept} `kubectl chatcluster restore --undo` returns to it.",
    ]


def spoken(length: dt.timedelta) -> str:
    """A length of time in its two largest units: 93,780 s -> `1 d 2 h`."""
    seconds = max(int(length.total_seconds()), 0)
    if seconds >= DAY:
        return f"{seconds // DAY} d {seconds % DAY // HOUR} h"
    if seconds >= HOUR:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE} min"
    return f"{seconds // MINUTE} min {seconds % MINUTE} s"


def _wait(kubectl: Kubectl, body: Object, name: str, timeout_seconds: float, say: Callable[[str], None]) -> None:
    phase = ""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        held = requests.database_status(requests.live(kubectl, body), "restore")
        refused = held.get("refused") or {}
        if refused.get("id") == name:
            raise NotRestored(f"the restore was refused, and nothing was changed: {refused.get('message')}")
        if held.get("id") == name and held.get("phase") != phase:
            phase = str(held.get("phase"))
            if phase in STEPS:
                say(STEPS[phase])
        if held.get("id") == name and phase == "Failed":
            raise NotRestored(
                f"the restore failed: {held.get('message')}. The data of before is unchanged: restore to another time, "
                "or start the chat with it by `kubectl chatcluster restore --undo`"
            )
        if held.get("id") == name and phase == "Completed":
            say(_ended(held))
            return
        time.sleep(requests.POLL_SECONDS)
    raise NotRestored(
        f"the restore has not ended after {timeout_seconds:.0f} s; it continues. `kubectl chatcluster status "
        f"{body['metadata']['name']}` says how far it is"
    )


def _ended(held: dict[str, Any]) -> str:
    to = f", to the transaction of {held['restoredTo']}" if held.get("restoredTo") else ""
    kept = f"; the data of before is in {held['keptData']} on the volume" if held.get("keptData") else ""
    return f"restored{to}{kept}"
