"""The work of a repository host, in rounds: it looks at the repository, and does what is due, one at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import subprocess
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from postgresagent import volume
from postgresbackup import drilled, problems, repository, schedule, wal
from postgresbackup.drill import DrillFailed
from postgresbackup.drilled import Begun, Drilled
from postgresbackup.logs import log
from postgresbackup.pgbackrest import READ_SECONDS, PgBackRestError
from postgresbackup.preparation import Preparation
from postgresbackup.problems import Code, Problem
from postgresbackup.schedule import Drills, DrillSeen, Failures, InvalidSettings, Seen, Settings
from postgresbackup.status import IDLE, Failure, State, Verified

if TYPE_CHECKING:
    from pathlib import Path

    from postgresbackup.drill import Drill
    from postgresbackup.drilled import Content
    from postgresbackup.pgbackrest import PgBackRest
    from postgresbackup.schedule import Work

LOOK_SECONDS, UNPREPARED_LOOK_SECONDS = 30.0, 5.0
"""Between looks at the repository: each lists all backups and WAL. Nothing is archived before it is prepared."""

CHECKED = "checked"
"""Annotation of a backup: when it was read after it had been made."""


class Agent:
    """The work of one repository host.

    Args:
        settings: backup.json.
        looking: pgBackRest, for what is read while other work runs.
        working: pgBackRest, for the work.
        drill: Restores into the scratch volume.
        volume: Where the repository's volume is mounted; nothing is there for an object store.
        started: The time.
    """

    def __init__(
        self, settings: Path, looking: PgBackRest, working: PgBackRest, drill: Drill, volume: Path, started: dt.datetime
    ) -> None:
        self._settings_file = settings
        self._looking = looking
        self._working = working
        self._drill = drill
        self._volume = volume
        self._started = started
        self._settings = Settings()
        self._failures = Failures()
        self._worker: Thread | None = None
        self._look_again = True
        self._preparation = Preparation(looking)
        self._unprepared: Failure | None = None
        self._commit_of: str | None = None
        self._read_at: dt.datetime | None = None
        self._mended_at: dt.datetime | None = None
        self._interrupted: Begun | None = None
        self._is_stopping = False
        self._noting = Lock()
        with contextlib.suppress(OSError):
            self._interrupted = drill.interrupted(started)
        self.state = State()

    def round(self, now: dt.datetime) -> None:
        """Take over what has changed, and begin what is due. Nothing here takes longer than a look at the repository.

        Args:
            now: The time, UTC.
        """
        self._read_settings()
        looked_at = self.state.looked_at
        seconds = LOOK_SECONDS if self._preparation.is_done else UNPREPARED_LOOK_SECONDS
        if self._look_again or looked_at is None or now >= looked_at + dt.timedelta(seconds=seconds):
            self._look_again = False
            self._look(now)
        is_working = self._worker is not None and self._worker.is_alive()
        if is_working and self.state.phase != schedule.DRILL:
            return
        work, drill = self._due(now), self._due_drill(now)
        self._note(overdue_since=schedule.overdue_since(now, work), next_due=schedule.next_due(now, self._settings))
        if is_working:
            return
        self._note(drill_overdue_since=schedule.drill_overdue_since(now, drill))
        if self.state.problem is not None or self.state.settings_error is not None:
            return
        if work is not None and self._preparation.is_done and schedule.may_try(now, self._failures):
            self._begin(work, now)
        elif drill is not None:
            # Also between two tries of a backup that fails: then it is needed most.
            self._begin(drill, now)

    def _begin(self, work: Work, now: dt.datetime) -> None:
        self._note(phase=work.kind)
        if work.kind not in {schedule.VERIFY, schedule.DRILL}:
            self._mended_at = now
        target = self._do_drill if work.kind == schedule.DRILL else self._do
        self._worker = Thread(target=target, args=(work,), name=work.kind, daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """End the work; the next backup takes over what was copied, and a drill begins again."""
        self._is_stopping = True
        self._working.stop()
        self._drill.stop()

    def _note(self, **changes: Any) -> None:
        # The rounds and the work are in threads of their own.
        with self._noting:
            self.state = dataclasses.replace(self.state, **changes)

    def _read_settings(self) -> None:
        try:
            self._settings = schedule.settings(json.loads(self._settings_file.read_text(encoding="utf-8")))
        except (InvalidSettings, ValueError, OSError) as error:
            if self.state.settings_error != str(error):
                log("error", "backup.json is wrong", error=str(error))
            self._note(settings_error=str(error))
            return
        if self._settings.request != self.state.request:
            self._failures = Failures()
        if self._settings.suspended:
            self._preparation.archiving_ended()
        has_drills = self._settings.drills is not None and self._drill.is_possible
        self._note(settings_error=None, request=self._settings.request, has_drills=has_drills)

    def _due(self, now: dt.datetime) -> Work | None:
        missing = self.state.found.newest is not None and self.state.window.oldest is None
        verified = self.state.last_verify
        damaged_at = verified.at if verified is not None and not verified.ok else None
        seen = Seen(self._started, missing, self._mended_at, self._read_at, damaged_at)
        return schedule.due(now, self._settings, self.state.found, seen)

    def _due_drill(self, now: dt.datetime) -> Work | None:
        if not self.state.has_drills:
            return None
        seen = DrillSeen(self._started, self._interrupted)
        return schedule.drill_due(now, self._settings, self.state.found, self.state.last_drill, seen)

    def _look(self, now: dt.datetime) -> None:
        """Read the repository."""
        try:
            self._prepare(now)
            found = self._looking.repository()
            if found.newest is not None and not self._settings.suspended:
                self._preparation.check(now)
            archive = self._looking.archive(found.archive_folder or "")
            window = repository.window(repository.on_timeline_of(found, archive), archive)
            if window.newest_wal != self._commit_of:
                commit = wal.newest_commit(self._looking, archive) or self.state.newest_commit
                self._note(newest_commit=commit)
                self._commit_of = window.newest_wal
        except PgBackRestError as error:
            self._note(looked_at=now, problem=self._reported(error.problem))
            return
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            self._note(looked_at=now, problem=self._reported(Problem(Code.OTHER, str(error))))
            return
        if self.state.problem is not None:
            log("info", "repository can be read again")
        verified = self.state.last_verify
        if verified is None and (at := schedule.verified_at(found)) is not None:
            verified = Verified(at, ok=True, text="")
        self._note(looked_at=now, problem=None, found=found, window=window, last_verify=verified, volume=self._space())
        if self.state.last_drill is None:
            self._note(last_drill=drilled.remembered(found))
        if self._interrupted is not None and schedule.is_given_up(self._interrupted):
            self._give_up(self._interrupted, now)

    def _space(self) -> volume.Space | None:
        return volume.look(self._volume) if self._volume.is_mount() else None

    def _reported(self, problem: Problem) -> Problem:
        if self.state.problem != problem:
            log("warning", "repository cannot be read", code=problem.code, error=problem.text)
        return problem

    def _prepare(self, now: dt.datetime) -> None:
        """Prepare the repository, and report why the database does not let it: it can be read all the same.

        Raises:
            PgBackRestError: The repository does not let it.
        """
        problem = self._preparation.prepare()
        if problem is not None:
            if self.state.last_failure is None or self.state.last_failure.problem != problem:
                log("warning", "repository not prepared yet", code=problem.code, error=problem.text)
            self._unprepared = Failure(now, problem)
            self._note(last_failure=self._unprepared)
        elif self._unprepared is not None and self.state.last_failure is self._unprepared:
            # No backup may be due that would show that the database can be reached.
            self._note(last_failure=None)

    def _do(self, work: Work) -> None:
        log("info", f"{work.kind} begins", request=work.request)
        verify = work.kind == schedule.VERIFY
        try:
            if not verify:
                self._back_up(work)
            self._verify(whole=verify)
            result = "ok"
        except PgBackRestError as error:
            result = self._failed(work, problems.explained(error.problem, self._space()), verify=verify)
        except (OSError, ValueError, KeyError, TypeError) as error:
            result = self._failed(work, Problem(Code.OTHER, str(error)), verify=verify)
        if work.request:
            self._note(tried_request=work.request)
        runs = self.state.runs
        self._note(phase=IDLE, runs={**runs, (work.kind, result): runs.get((work.kind, result), 0) + 1})
        self._look_again = True

    def _back_up(self, work: Work) -> None:
        annotations = [f"--annotation={repository.REQUEST}={work.request}"] if work.request else []
        if self.state.last_drill is not None:
            annotations.append(_annotation(self.state.last_drill))
        self._working.run("backup", f"--type={work.kind}", *annotations)
        # It ends after its WAL has been archived.
        self._preparation.archiving_seen()
        self._failures = Failures()
        self._note(last_failure=None)
        log("info", "backup done", type=work.kind)

    def _failed(self, work: Work, problem: Problem, *, verify: bool) -> str:
        now = _now()
        log("error", f"{work.kind} failed", code=problem.code, error=problem.text)
        if problem.code is Code.OTHER_DATABASE:
            self._preparation.is_done = False
        self._failures = Failures(self._failures.count + 1, now)
        if not verify:
            self._note(last_failure=Failure(now, problem))
        return problem.code

    def _verify(self, *, whole: bool) -> None:
        """Read the newest backup, or everything, and compare it with the checksums.

        Raises:
            PgBackRestError: It cannot be read.
        """
        newest = self._working_newest()
        if newest is None:
            return
        selected = [] if whole else [f"--set={newest}"]
        said = self._working.run("verify", "--output=text", *selected).decode(errors="replace")
        now = _now()
        if whole:
            self._read_at = now
        wrong = problems.damaged(said)
        self._note(last_verify=Verified(now, ok=wrong is None, text=wrong or ""))
        if wrong is not None:
            log("error", "the repository is damaged", error=wrong)
            return
        name = repository.VERIFIED if whole else CHECKED
        self._working.run("annotate", f"--set={newest}", f"--annotation={name}={now.isoformat(timespec='seconds')}")
        log("info", "verified", whole=whole, backup=newest)

    def _working_newest(self) -> str | None:
        newest = self._working.repository().newest
        return newest.label if newest else None

    def _do_drill(self, work: Work) -> None:
        log("info", "drill begins", request=work.request, try_number=work.tries)
        began, begun = time.monotonic(), Begun(_now(), work.tries, work.request)
        if self._interrupted is not None:
            begun, self._interrupted = dataclasses.replace(begun, at=self._interrupted.at), None
        drills, content, problem, backup = self._settings.drills or Drills(""), None, None, ""
        try:
            found = self._working.repository()
            backup = found.newest.label if found.newest else ""
            archive = self._working.archive(found.archive_folder or "")
            content = self._drill.run(begun, found, archive, drills.seconds)
        except (DrillFailed, PgBackRestError) as error:
            problem = error.problem
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            problem = Problem(Code.OTHER, str(error))
        if self._is_stopping:
            return
        self._drilled(begun, backup, time.monotonic() - began, content, problem)
        self._note(phase=IDLE)
        self._look_again = True

    def _give_up(self, begun: Begun, now: dt.datetime) -> None:
        """Report a drill that was interrupted for the last time."""
        self._interrupted = None
        said = f"the backup pod ended while a drill ran, {begun.tries} times; the last one began at {begun.at}"
        self._drilled(begun, "", (now - begun.at).total_seconds(), None, Problem(Code.INTERRUPTED, said))

    def _drilled(
        self, begun: Begun, backup: str, seconds: float, content: Content | None, problem: Problem | None
    ) -> None:
        """Report how a drill ended, and remember it in the repository."""
        before, now = self.state.last_drill, _now()
        good_at, answered = (before.good_at, before.request) if before else (None, "")
        result = Drilled(
            at=now,
            seconds=seconds,
            backup=backup,
            tries=0 if problem is None else begun.tries,
            request=begun.request or answered,
            good_at=now if problem is None else good_at,
            code="" if problem is None else problem.code,
            text="" if problem is None else problem.text,
            content=content,
        )
        if problem is None:
            log("info", "drill succeeded", backup=backup, seconds=round(seconds, 1))
        else:
            log("error", "drill failed", code=problem.code, error=problem.text)
        runs, key = self.state.runs, (schedule.DRILL, result.code or "ok")
        self._note(last_drill=result, runs={**runs, key: runs.get(key, 0) + 1})
        try:
            if (newest := self._working_newest()) is not None:
                self._working.run("annotate", f"--set={newest}", _annotation(result), seconds=READ_SECONDS)
        except PgBackRestError as error:
            # The next backup remembers it; until then a restart of the pod forgets it, and a drill is made again.
            log("warning", "the result of the drill is not in the repository", error=error.problem.text)
        self._drill.forget()


def _annotation(result: Drilled) -> str:
    return f"--annotation={drilled.ANNOTATION}={drilled.written(result)}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
