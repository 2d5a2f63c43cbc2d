"""The agent's work beside an instance that Patroni runs: it proves configurations, and keeps the epoch of cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postgresagent import configuration, epoch, member, monitor
from postgresagent.logs import log

if TYPE_CHECKING:
    from postgresagent.configuration import Places
    from postgresagent.member import Member, Patroni
    from postgresagent.server import Server

LOOK_BACK_BYTES = 64 * 1024
"""WAL before a switch of the timeline that is looked at: far more than its last two records."""

FAILED = "PostgreSQL does not start with it: the log of the container postgres says why"
"""The error of a configuration; what PostgreSQL logged is in another container's log."""

TIMELINE = "SELECT to_json(left(pg_walfile_name(pg_current_wal_lsn()), 8))"

STARTED_WITH = "SELECT to_json(pg_postmaster_start_time() > (pg_stat_file('{accepted}')).modification)"
"""Whether the server has started with what it reads now."""


class Instance:
    """The state of an instance, and the work that depends on it.

    Args:
        patroni: Patroni's REST API.
        places: Files of the configuration.
        server: PostgreSQL's programs.

    Attributes:
        member: As Patroni said last; None while it does not answer.
    """

    def __init__(self, patroni: Patroni, places: Places, server: Server) -> None:
        self.member: Member | None = None
        self._patroni = patroni
        self._places = places
        self._server = server
        self._kept_epoch_of: int | None = None

    def look(self) -> bool:
        """Read what Patroni says; returns whether this instance has become the leader since the last time."""
        was, self.member = self.member, self._patroni.member()
        return self.is_primary and (was is None or was.role != member.PRIMARY)

    @property
    def has_failed_to_start(self) -> bool:
        """Whether PostgreSQL ended when Patroni started it."""
        return self.member is not None and self.member.has_failed_to_start

    @property
    def is_primary(self) -> bool:
        """Whether this instance leads."""
        return self.member is not None and self.member.role == member.PRIMARY

    def prove(self) -> None:
        """Remember the configuration that PostgreSQL has started with, or restore it if another one keeps it down.

        Raises:
            ServerError: PostgreSQL does not answer, for another reason or for now.
            OSError: A file cannot be written.
        """
        accepted, proven = (configuration.read(path) for path in (self._places.accepted, self._places.proven))
        if accepted == proven or accepted is None:
            return
        if self.has_failed_to_start:
            revision = configuration.read(self._places.candidate / configuration.REVISION_KEY) or ""
            configuration.replace(self._places.accepted, proven or "")
            configuration.replace(self._places.refused, f"{revision.strip()}\n{FAILED}\n")
            log("error", "configuration reverted", refused=FAILED)
        elif self._server.query(STARTED_WITH.format(accepted=self._places.accepted)):
            configuration.replace(self._places.proven, accepted)

    def keep_epoch(self, database: str) -> None:
        """Say whether clients' cursors stay valid after a promotion: they do if nothing was lost by it.

        Args:
            database: The chat's.

        Raises:
            ServerError: It cannot be done now, or this is no leader.
            OSError: The timeline's history cannot be read.
        """
        # What Patroni has said is enough while nothing changes: this runs every second.
        said = self.member.timeline if self.member is not None else None
        if said is not None and said == self._kept_epoch_of:
            return
        name = self._server.query(TIMELINE)
        timeline = int(name, 16)
        if timeline == self._kept_epoch_of:
            return
        history = configuration.read(self._places.data / "pg_wal" / f"{name}.history")
        switch = epoch.switch(history or "")
        parent = None
        if switch is not None:
            start = epoch.before(switch.position, LOOK_BACK_BYTES)
            segment = self._places.data / "pg_wal" / epoch.segment(switch.timeline, start)
            records = self._server.wal(segment, start, switch.position)
            is_whole = epoch.is_whole(records)
            parent = switch.timeline if is_whole else None
            log("info", "promoted", timeline=name, cursors_stay_valid=is_whole)
        if parent is None and not self._server.read(epoch.HAS_ENTRY, role=monitor.ROLE, database=database):
            return
        self._server.write(epoch.statement(timeline, parent), role=monitor.ROLE, database=database)
        self._kept_epoch_of = timeline
