"""A physical replica of a test's PostgreSQL, for which each commit of that one waits."""

from __future__ import annotations

import itertools
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "standby"

STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Standby(PostgresCluster):
    """A copy of another cluster, which follows it; use it as a context manager.

    Args:
        primary: the other one.
    """

    def __init__(self, primary: PostgresCluster) -> None:
        super().__init__()
        self._primary = primary

    def initialise(self, configuration: str, *, sync: bool) -> None:
        """Copy the primary's files and let this one follow it."""
        address = f"host=127.0.0.1 port={self._primary.port} user={self._primary.superuser} application_name={NAME}"
        mode = [] if sync else ["--no-sync"]
        self.run("pg_basebackup", "-D", str(self.data), "-d", address, "-c", "fast", "-X", "stream", *mode)
        (self.data / "standby.signal").touch()
        if self.user is not None:
            shutil.chown(self.data / "standby.signal", self.user.pw_uid)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"{configuration}\nprimary_conninfo = '{address}'\n")


@contextmanager
def followed(primary: PostgresCluster) -> Iterator[Standby]:
    """Have every commit of a cluster wait for a replica of its own, for the block."""
    with Standby(primary) as standby:
        primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")
        primary.sql("SELECT pg_reload_conf()")
        for _ in itertools.count():
            if primary.sql(STREAMS) == "1":
                break
        try:
            yield standby
        finally:
            standby.thaw()
            primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
            primary.sql("SELECT pg_reload_conf()")
