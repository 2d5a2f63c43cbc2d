"""Replaces the data of a chat by an earlier state of it, and keeps what it replaces.

The new data is made beside the old, which stays in its place until the new is complete; then both are renamed. Whenever
this is interrupted, it continues with the next start, and PGDATA is never something incomplete (docs/decisions/0080).
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postgresagent import volume
from postgresbackup import outcome, plan
from postgresbackup.logs import log
from postgresbackup.outcome import Record, ends, found, now, written
from postgresbackup.plan import FAILED, NOTHING_KEPT, CannotRestore
from postgresbackup.recovery import FETCH_NOTHING, Recovery
from postgresbackup.restore import make

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = Path("/etc/chatcluster/backup/client.conf")
"""The chat's own: it reads its repository as PostgreSQL's archive command does."""

STATE = Path("/etc/chatcluster/postgres/restore")
"""`ID pending` or `ID done`. What is done is never done again, even if somebody puts older data in PGDATA's place."""

STATE_SECONDS = 180.0
"""Longest wait for it: a node may have mounted an earlier one for a minute or two."""

UNDO = "undo"
"""As the target of a record."""

IMAGE = Path("/opt/postgres")

ACCEPTED = "accepted.conf"


def restore_in_place(environment: Mapping[str, str]) -> int:
    """Do what RESTORE_ID, RESTORE_TARGET and RESTORE_UNDO say, once; returns the process's exit code."""
    return ends(environment["RESTORE_ID"], lambda: _restore(environment))


def _restore(environment: Mapping[str, str]) -> Record | None:
    request, undone = environment["RESTORE_ID"], environment.get("RESTORE_UNDO", "")
    places = Places(Path(environment["PGDATA"]), request)
    if places.is_done():
        return _said(places.data)
    if _state(request) == "done":
        return None
    if not any(_is_made(one, request) for one in (places.new, places.kept_by(undone))):
        # Another restore may have been killed between its two renamings.
        if undone and (places.data.exists() or places.kept_by(undone).is_dir()):
            _put_back(places, undone, environment)
            if places.is_done():
                return _said(places.data)
        elif places.data.exists():
            _make(places, environment)
    source = next((one for one in (places.new, places.kept_by(undone)) if _is_made(one, request)), None)
    if source is None:
        raise CannotRestore(f"{places.data} is not there: restore the volume", plan.VOLUME_EMPTY)
    places.swap(source)
    return _said(places.data)


def _state(request: str) -> str:
    """Return whether a restore is `pending` or `done`."""
    end = time.monotonic() + STATE_SECONDS
    while time.monotonic() < end:
        found_id, _, state = (STATE.read_text(encoding="utf-8") if STATE.exists() else "").partition(" ")
        if found_id == request:
            return state
        time.sleep(1)
    raise CannotRestore(f"{STATE} does not say whether restore {request} is to be made", FAILED)


def _said(data: Path) -> Record:
    record = found(data)
    if record is None:
        raise CannotRestore(f"{data} has no record of its restore", FAILED)
    return record


def _is_made(folder: Path, request: str) -> bool:
    record = found(folder)
    return record is not None and record.id == request


def _make(places: Places, environment: Mapping[str, str]) -> None:
    target = environment.get("RESTORE_TARGET", "")
    desired = plan.request({"target_time": target, "begin": True})

    def check(decided: plan.Plan) -> None:
        space = volume.look(places.data.parent)
        plan.check_room(decided.backup, space.free, volume.reserve(space))

    try:
        record = make(
            desired, places.new, CONFIG, environment, request=places.request, replaces=places.data, check=check
        )
    except CannotRestore as error:
        # No try begins with it again, and it takes the room of a whole database.
        shutil.rmtree(places.new, ignore_errors=True)
        raise CannotRestore(str(error).replace("restore.targetTime", "the target time"), error.code) from error
    _reserve(places, places.new)
    written(places.new, dataclasses.replace(record, kept=places.kept.name))


def _put_back(places: Places, undone: str, environment: Mapping[str, str]) -> None:
    """Make what a restore has kept ready to be used again, or see that it has kept nothing."""
    kept = places.kept_by(undone)
    if not kept.is_dir():
        if _is_made(places.data, undone):
            raise CannotRestore(
                f"{kept.name} is not on the volume any more: the data from before restore {undone} cannot be restored. "
                "Restore to a time before it instead",
                NOTHING_KEPT,
            )
        # The restore had not replaced anything.
        written(places.data, Record(places.request, UNDO, None, now()))
        return
    recovery = Recovery(kept, environment)
    for known in (places.data, places.new):
        recovery.learn_timelines(known)
    try:
        # On a timeline of its own: the archive has another history after the position at which it ended.
        if not recovery.run(None, None, command=FETCH_NOTHING, timeline="current"):
            raise CannotRestore(f"PostgreSQL does not start with {kept.name}: {recovery.log()[-500:].strip()}", FAILED)
        timeline, position = recovery.promoted()
        recovery.own()
    finally:
        recovery.stop()
    recovery.hand_over()
    log("info", "undone", folder=kept.name, timeline=timeline, position=position)
    replaced = places.kept.name if places.data.exists() else ""
    written(kept, Record(places.request, UNDO, None, now(), kept=replaced))


def _reserve(places: Places, data: Path) -> None:
    """Allocate WAL files as the entrypoint does for a new database; without them it serves all the same."""
    config = Path("/tmp/first.conf")  # noqa: S108 - a volume of this pod alone
    text = (IMAGE / "postgresql.conf").read_text(encoding="utf-8")
    text = text.replace(str(places.data.parent / ACCEPTED), "/etc/chatcluster/postgres/postgresql.conf")
    config.write_text(text.replace(f"{places.data}/", f"{data}/"), encoding="utf-8")
    done = subprocess.run([str(IMAGE / "reserve-wal"), str(data), str(config)], capture_output=True, check=False)
    if done.returncode != 0:
        log("warning", "WAL has no reserve on the volume")


class Places:
    """The folders on the volume.

    Args:
        data: PGDATA.
        request: Id of the restore.
    """

    def __init__(self, data: Path, request: str) -> None:
        self.data, self.request = data, request
        self.new = data.with_name(f"{data.name}.new")
        self.kept = self.kept_by(request)

    def kept_by(self, request: str) -> Path:
        """Where a restore keeps the data of before."""
        return self.data.with_name(f"{self.data.name}.before-{request}")

    def is_done(self) -> bool:
        """Return whether PGDATA is what the restore has made."""
        return _is_made(self.data, self.request)

    def swap(self, source: Path) -> None:
        """Put a folder in PGDATA's place.

        Raises:
            OSError: The volume cannot be written.
        """
        # Everything is on the volume before any of it is found under its name.
        subprocess.run(["sync", "-f", str(source)], check=True)
        if self.data.exists():
            self.data.rename(self.kept)
        source.rename(self.data)
        subprocess.run(["sync", "-f", str(self.data)], check=True)
        log("info", "data replaced", kept=self.kept.name)


def repeat(environment: Mapping[str, str]) -> int:
    """Leave the record of an earlier restore for the pod's status, where PGDATA has been there before."""
    record = found(Path(environment["PGDATA"]))
    if record is not None:
        outcome.says(record)
    return 0
