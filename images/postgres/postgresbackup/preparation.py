"""What a repository needs of its database before backups: that it is the repository's own, and that it archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postgresbackup import problems, schedule
from postgresbackup.logs import log
from postgresbackup.pgbackrest import READ_SECONDS, PgBackRestError
from postgresbackup.problems import Code
from postgresbackup.schedule import Failures

if TYPE_CHECKING:
    import datetime as dt

    from postgresbackup.pgbackrest import PgBackRest
    from postgresbackup.problems import Problem

CHECK_SECONDS = 20
"""Longest wait for a WAL file that is to be archived."""


class Preparation:
    """The preparation of a repository for its database.

    Args:
        programs: pgBackRest.

    Attributes:
        is_done: Whether the repository is this database's.
    """

    def __init__(self, programs: PgBackRest) -> None:
        self._programs = programs
        self._failures = Failures()
        self._has_archived = False
        self.is_done = False

    def prepare(self) -> Problem | None:
        """Prepare the repository, once; it changes nothing where that has been done.

        Returns:
            Why the database does not let it; None if it is done.

        Raises:
            PgBackRestError: The repository does not let it.
        """
        if self.is_done:
            return None
        try:
            self._create_stanza()
        except PgBackRestError as error:
            if error.problem.code in problems.REPOSITORY:
                raise
            return error.problem
        self.is_done = True
        return None

    def check(self, now: dt.datetime) -> None:
        """Have the database archive a WAL file, once: only a newer one shows that others are missing.

        They are where there was no archive for a while. Until then a restore would be accepted that cannot be made.

        Args:
            now: The time. After a failure the next try comes later and later.
        """
        if self._has_archived or not self.is_done or not schedule.may_try(now, self._failures):
            return
        try:
            self._programs.run("check", f"--archive-timeout={CHECK_SECONDS}", seconds=READ_SECONDS)
        except PgBackRestError as error:
            log("warning", "WAL is not archived yet", code=error.problem.code, error=error.problem.text)
            self._failures = Failures(self._failures.count + 1, now)
            return
        self.archiving_seen()

    def archiving_seen(self) -> None:
        """A WAL file of now is in the repository, which needs no check."""
        self._has_archived, self._failures = True, Failures()

    def archiving_ended(self) -> None:
        """WAL is discarded for now, so that what comes afterwards is to be checked."""
        self._has_archived = False

    def _create_stanza(self) -> None:
        try:
            self._programs.run("stanza-create", seconds=READ_SECONDS)
        except PgBackRestError as error:
            if error.problem.code is not Code.OTHER_DATABASE:
                raise
            log("warning", "the database is another one than before", error=error.problem.text)
            self._programs.run("stanza-upgrade", seconds=READ_SECONDS)
