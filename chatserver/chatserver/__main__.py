"""The command ``chatserver``.

``serve`` runs a server, ``migrate`` updates the schema of the database, ``dev`` runs a server with its own database,
``probe`` sends messages through a chat and measures what becomes of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from chatserver.environment import PREFIX, SettingsError
from chatserver.errors import ServiceUnavailable
from chatserver.logs import configure_logs
from chatserver.probe.options import add_probe
from chatserver.settings import Settings, read_settings
from chatserver.storage import probe
from chatserver.storage.migrate import MigrationBlocked, SchemaRefused, migrate

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2


def _serve(settings: Settings) -> int:
    # Imported here: `migrate` does not need the web server.
    from chatserver.app import serve  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except OSError as error:
        structlog.get_logger().error("cannot_listen", reason=str(error))
        return EXIT_FAILED
    return 0


def _migrate(settings: Settings, probe_token_hashes: Sequence[bytes]) -> int:
    log = structlog.get_logger()

    async def run() -> list[str]:
        applied = await migrate(settings.read_listen_dsn, settings.migrate_wait_seconds)
        await probe.enrol(settings.read_listen_dsn, probe_token_hashes)
        return applied

    try:
        applied = asyncio.run(run())
    except ServiceUnavailable:
        log.error("database_unavailable", waited_seconds=settings.migrate_wait_seconds)  # noqa: TRY400 - as below
        return EXIT_FAILED
    except MigrationBlocked as error:
        log.error("migration_blocked", reason=str(error))  # noqa: TRY400 - as below
        return EXIT_FAILED
    except SchemaRefused as error:
        log.error("schema_refused", reason=str(error))  # noqa: TRY400 - the reason says everything
        return EXIT_FAILED
    log.info("schema_current", applied=applied)
    return 0


def _dev(options: argparse.Namespace) -> int:
    # Imported here: as in `_serve`.
    from chatserver.dev import command  # noqa: PLC0415

    return command.run(data=options.data, port=options.port, binaries=options.postgres)


def _probe(options: argparse.Namespace) -> int:
    # Imported here: as in `_serve`.
    from chatserver.probe import command  # noqa: PLC0415

    return command.run(options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chatserver", description="The chatserver of ChatCluster.", epilog=f"Settings: {PREFIX}* (see docs)."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run a server")
    commands.add_parser("migrate", help="update the schema of the database")
    command = commands.add_parser("dev", help="run a server with its own PostgreSQL, for developing clients")
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the database in this folder (default: a temporary folder)"
    )
    command.add_argument(
        "--port", type=int, help=f"port of the API; 0 picks a free one (default: {PREFIX}HTTP_PORT or 8080)"
    )
    command.add_argument(
        "--postgres", type=Path, metavar="DIR", help="folder with initdb and postgres (default: search for it)"
    )
    add_probe(commands)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the process's exit code."""
    options = _parse(arguments)
    command: str = options.command
    if command == "dev":
        return _dev(options)
    if command == "probe":
        return _probe(options)
    try:
        settings = read_settings(os.environ, needs_secret_key=command == "serve")
        probe_token_hashes = probe.read_token_hashes(os.environ)
    except SettingsError as error:
        print(f"chatserver: {error}", file=sys.stderr)  # noqa: T201 - logs are not configured yet
        return EXIT_USAGE
    configure_logs(settings.log_level, settings.server_name)
    return _serve(settings) if command == "serve" else _migrate(settings, probe_token_hashes)


if __name__ == "__main__":
    sys.exit(main())
