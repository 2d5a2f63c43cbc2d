"""The commands.

`run` is the repository host, `serve` lends the files of an instance of PostgreSQL to it, `restore` makes a database
cluster from a repository, once, `restored` repeats what became of that, and `restore-in-place` replaces one.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postgresagent import report
from postgresagent.report import Page
from postgresbackup import metrics, status
from postgresbackup.agent import Agent
from postgresbackup.drill import Drill
from postgresbackup.inplace import repeat, restore_in_place
from postgresbackup.logs import log
from postgresbackup.pgbackrest import PgBackRest
from postgresbackup.restore import restore
from postgresbackup.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGURATION = Path("/etc/chatcluster/backup")

CERTIFICATES = Path("/etc/chatcluster/backup-tls")

REPOSITORY = Path("/repository")
"""Where the repository's volume is, if it has one."""

SCRATCH = Path("/drill")
"""Where drills restore to; nothing is mounted there if there are none."""

HEALTH_PATH = "/healthz"

ROUND_SECONDS = 2.0
"""Seconds between looks at the mounted files and at what is due."""

PORT = 9188
"""The port of the status, which the operator requests, and of the metrics."""


def run() -> int:
    """Run the repository host until a signal ends it."""
    config = CONFIGURATION / "pgbackrest.conf"
    looking, working = PgBackRest(config, os.environ), PgBackRest(config, os.environ)
    drill = Drill(config, SCRATCH, os.environ)
    agent = Agent(CONFIGURATION / "backup.json", looking, working, drill, REPOSITORY, dt.datetime.now(dt.UTC))
    server = Server(config, CERTIFICATES, os.environ)
    report.serve(
        PORT,
        {
            report.STATUS_PATH: Page("application/json", lambda: json.dumps(status.status(agent.state)).encode()),
            report.METRICS_PATH: Page(metrics.CONTENT_TYPE, lambda: metrics.page(agent.state)),
            HEALTH_PATH: Page("text/plain", lambda: b"ok\n"),
        },
        os.environ.get("LISTEN_ADDRESS", ""),
    )
    log("info", "serving", port=PORT)
    try:
        _forever(server.keep, lambda: agent.round(dt.datetime.now(dt.UTC)))
    finally:
        agent.stop()
        server.stop()
    return 0


def serve() -> int:
    """Run the server of an instance of PostgreSQL until a signal ends it."""
    server = Server(CONFIGURATION / "client.conf", CERTIFICATES, os.environ)
    try:
        _forever(server.keep)
    finally:
        server.stop()
    return 0


def _forever(*steps: Callable[[], None]) -> None:
    failed = ""
    while True:
        try:
            for step in steps:
                step()
            failed = ""
        except OSError as error:
            if str(error) != failed:
                log("error", "round failed", error=str(error))
            failed = str(error)
        time.sleep(ROUND_SECONDS)


def main(arguments: list[str]) -> int:
    """Run one of the commands; returns the process's exit code."""
    commands: dict[str, Callable[[], int]] = {
        "run": run,
        "serve": serve,
        "restore": lambda: restore(os.environ),
        "restored": lambda: repeat(os.environ),
        "restore-in-place": lambda: restore_in_place(os.environ),
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.stderr.write(f"usage: python3 -m postgresbackup {' | '.join(commands)}\n")
        return 2
    # A container's first process ignores signals that it does not handle.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    return commands[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
