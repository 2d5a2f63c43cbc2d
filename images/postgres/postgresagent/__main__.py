"""The commands.

`prepare` creates roles and database for the entrypoint, `patroni FOLDER` prints patroni.yml for it, and `run` keeps
roles and parameters as mounted. Patroni calls `role NAMESPACE SELECTOR POD ACTION ROLE SCOPE` when the role of this
instance has changed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postgresagent import archiving, configuration, metrics, monitor, patroni, replication, report, roles, volume
from postgresagent.configuration import Outcome, Places
from postgresagent.exporter import Exporter
from postgresagent.instance import Instance
from postgresagent.logs import log
from postgresagent.member import Patroni
from postgresagent.report import Page
from postgresagent.server import Server, ServerError
from postgresagent.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUND_SECONDS = 1.0
"""Seconds between checks of the mounted files."""

VERIFY_SECONDS = 30.0
"""Seconds between checks of the roles while no file has changed: changes by others in the database are reverted."""

SOCKETS = Path("/var/run/postgresql")

PORT = 8010
"""The port of the status, which the operator requests, and of the metrics."""

ROLE_ARGUMENTS = ("role", "NAMESPACE", "SELECTOR", "POD", "ACTION", "ROLE", "SCOPE")
"""The last three are Patroni's."""

LEADERS_ROLE = "primary"
"""Patroni's word."""


class Agent:
    """Applies the mounted files to the server, in rounds.

    Args:
        secret: Folder of the mounted Secret.
        places: Files of the configuration.
        server: PostgreSQL's programs.
        instance: The instance beside which it runs, where Patroni runs several; None for the only one.
    """

    def __init__(self, secret: Path, places: Places, server: Server, instance: Instance | None = None) -> None:
        self._instance = instance
        self.secret = secret
        self._places = places
        self._server = server
        self._seen: dict[str, Any] = {}
        self._verified_at = -VERIFY_SECONDS
        self._revision: str | None = None
        self._outcome: Outcome | None = None
        self._full: bool | None = None
        self._exporter = Exporter(secret, places.data, server, SOCKETS)

    def metrics(self, now: float) -> bytes:
        """Return the page of metrics. Safe in any thread, and beside `round`.

        Args:
            now: Seconds of a monotonic clock.
        """
        return self._exporter.page(now, refusing_writes=self._full)

    def status(self) -> dict[str, Any]:
        """Return the status for the operator.

        It has the applied revisions, PostgreSQL's error about a configuration, how much WAL waits to be archived, and
        what is on the volume.
        """
        outcome = self._outcome
        member = self._instance.member if self._instance else None
        return {
            "credentials": self._revision,
            "configuration": outcome.revision if outcome else None,
            "refused": outcome.refused if outcome else None,
            "volume_full": self._full,
            "archive": self._archive(),
            "volume": self._volume(),
            "member": asdict(member) if member else None,
        }

    def _archive(self) -> dict[str, Any] | None:
        try:
            on = archiving.is_on(configuration.read(self._places.accepted) or "")
            found = archiving.look(self._places.data, SOCKETS, time.time()) if on else None
        except OSError:
            return None
        return asdict(found) if found else None

    def _volume(self) -> dict[str, Any] | None:
        """Return the volume's space, and the folders in which restores have kept what they replaced."""
        folder = self._places.data.parent
        try:
            space = volume.look(folder)
            kept = sorted(path.name for path in folder.glob(f"{self._places.data.name}.before-*"))
        except OSError:
            return None
        return {"size_bytes": space.size, "free_bytes": space.free, "kept": kept}

    def round(self, now: float) -> None:
        """Run the steps that are due; a step that fails does not prevent the others.

        Args:
            now: Seconds of a monotonic clock.
        """
        # First: the other steps may write.
        self._tried("volume", (), self.watch_volume, again=True)
        promoted = self._instance is not None and self._instance.look()
        if promoted and self._revision is not None:
            # Before all that takes longer, since clients wait for it; its role is there.
            self._tried("epoch", (), self.keep_epoch, again=True)
        verify = promoted or now - self._verified_at >= VERIFY_SECONDS
        if self._tried("roles", (self.secret,), self.keep_roles, again=verify) and verify:
            self._verified_at = now
        self._tried("configuration", (self._places.candidate, self._places.refused), self.take_configuration)
        if self._instance is not None:
            files, again = (self._places.accepted, self._places.proven), verify or self._instance.has_failed_to_start
            self._tried("proof of the configuration", files, self._instance.prove, again=again)
            if self._instance.is_primary:
                self._tried("epoch", (), self.keep_epoch, again=True)

    def keep_epoch(self) -> None:
        """Say whether clients' cursors stay valid after a promotion; errors as of Instance.keep_epoch."""
        if self._instance is not None:
            self._instance.keep_epoch(roles.desired(self.secret).database)

    def watch_volume(self) -> None:
        """Make the server reject writes while the volume is nearly full.

        Raises:
            ServerError, OSError: It cannot be done now.
        """
        was = configuration.read(self._places.full) == volume.REFUSING
        full = volume.is_full(volume.look(self._places.data), was_full=was)
        if full == was and full == self._full:
            return
        if full != was:
            configuration.replace(self._places.full, volume.REFUSING if full else "")
        self._server.run(["SELECT pg_reload_conf()"])
        if full or was:
            log("error" if full else "info", "volume full" if full else "volume has room")
        self._full = full

    def keep_roles(self) -> None:
        """Create and change roles and database as the Secret requires.

        Raises:
            SecretIncomplete, ServerError: It cannot be done now.
        """
        desired = roles.desired(self.secret)
        found = roles.found(self._server.query(roles.QUERY))
        if found.is_replica:
            # What the leader does arrives here.
            self._revision = None if roles.statements(desired, found) else desired.revision
            return
        self._bring_up_to_date("roles", roles.statements(desired, found))
        self._revision = desired.revision
        if desired.replication is not None:
            self._bring_up_to_date("role of replication", replication.statements(desired.replication, found))
        # After it: a rotation does not wait for what only metrics need.
        self._bring_up_to_date("role of the metrics", monitor.statements(desired.database, found))

    def _bring_up_to_date(self, what: str, statements: Sequence[str]) -> None:
        if statements:
            self._server.run(statements)
            log("info", f"{what} brought up to date", statements=len(statements))

    def take_configuration(self) -> None:
        """Check a changed configuration, and have the server read it.

        Raises:
            ServerError: It cannot be done now.
        """
        # First: while the server starts, the entrypoint owns its file.
        self._server.run(["SELECT"])
        outcome = configuration.take(self._places, self._server)
        if outcome is None:
            return
        if outcome.refused is None:
            # Also if the file has not changed: the server may have missed the last signal.
            self._server.run(["SELECT pg_reload_conf()"])
        if outcome != self._outcome:
            log("error" if outcome.refused else "info", "configuration", refused=outcome.refused)
        self._outcome = outcome

    def _tried(self, what: str, paths: Sequence[Path], step: Callable[[], None], *, again: bool = False) -> bool:
        """Return whether a step has been done for the current content of its files, now or before."""
        seen = [_contents(path) for path in paths]
        if self._seen.get(what) == seen and not again:
            return True
        try:
            step()
        except (ServerError, roles.SecretIncomplete, OSError, UnicodeDecodeError) as error:
            if self._seen.get(f"{what} failed") != str(error):
                log("warning", f"{what} not done yet", error=str(error))
            self._seen[f"{what} failed"] = str(error)
            return False
        self._seen[what] = seen
        self._seen.pop(f"{what} failed", None)
        return True


def _contents(path: Path) -> dict[str, bytes]:
    """Return the content of a file, or of a mounted folder's files; kubelet's own entries begin with two dots."""
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files if file.is_file() and file.name[0] != "."}


def make(environment: Mapping[str, str]) -> Agent:
    """Return an agent for the image's paths; libpq's variables in the environment may name another server."""
    data = Path(environment["PGDATA"])
    places = Places(
        candidate=Path("/etc/chatcluster/postgres"),
        base=Path("/opt/postgres/postgresql.conf"),
        accepted=data.parent / "accepted.conf",
        full=data.parent / "full.conf",
        refused=SOCKETS / "refused",
        data=data,
        proven=data.parent / "proven.conf",
    )
    server = Server({"PGHOST": str(SOCKETS), "PGUSER": "postgres", "PGDATABASE": "postgres", **environment})
    instance = None
    if environment.get("PATRONI_SCOPE"):
        instance = Instance(Patroni(environment["PATRONI_NAME"], environment["POD_IP"]), places, server)
    return Agent(Path("/etc/chatcluster/database"), places, server, instance)


def main(arguments: list[str]) -> int:
    """Run one of the commands; returns the process's exit code."""
    if arguments[:1] == ["role"] and len(arguments) == len(ROLE_ARGUMENTS):
        _, namespace, selector, leader, _, role, _ = arguments
        return 0 if role != LEADERS_ROLE or take_over(namespace, selector, leader, os.environ) else 1
    agent = make(os.environ)
    if arguments == ["prepare"]:
        try:
            agent.keep_roles()
        except (ServerError, roles.SecretIncomplete) as error:
            log("error", "roles and database were not made", error=str(error))
            return 1
        return 0
    if arguments[:1] == ["patroni"] and len(arguments) == len(["patroni", "FOLDER"]):
        try:
            passwords = roles.passwords_of_instances(agent.secret)
            size = volume.look(Path(os.environ["PGDATA"]).parent).size
            settings = patroni.settings(os.environ, arguments[1], passwords, volume_bytes=size)
        except (roles.SecretIncomplete, KeyError, OSError) as error:
            log("error", "no configuration for Patroni", error=str(error))
            return 1
        # YAML can be written as JSON.
        sys.stdout.write(json.dumps(settings, indent=1))
        return 0
    if arguments != ["run"]:
        sys.stderr.write(
            f"usage: python3 -m postgresagent prepare | patroni FOLDER | {' '.join(ROLE_ARGUMENTS)} | run\n"
        )
        return 2
    # A container's first process ignores signals that it does not handle.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    report.serve(
        PORT,
        {
            report.STATUS_PATH: Page("application/json", lambda: json.dumps(agent.status()).encode()),
            report.METRICS_PATH: Page(metrics.CONTENT_TYPE, lambda: agent.metrics(time.monotonic())),
        },
        os.environ.get("LISTEN_ADDRESS", ""),
    )
    log("info", "serving", port=PORT)
    while True:
        agent.round(time.monotonic())
        time.sleep(ROUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
