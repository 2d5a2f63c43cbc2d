"""The command ``chatserver``: ``serve`` runs a server, ``migrate`` brings the database's schema up to date."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import structlog
import uvloop

from chatserver.errors import ServiceUnavailable
from chatserver.logs import configure_logs
from chatserver.settings import PREFIX, Settings, SettingsError, read_settings
from chatserver.storage.migrate import SchemaRefused, migrate

EXIT_FAILED = 1
EXIT_USAGE = 2


def _serve(settings: Settings) -> int:
    # Late: `migrate` needs none of the web server.
    from chatserver.app import serve  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except OSError as error:
        structlog.get_logger().error("cannot_listen", reason=str(error))
        return EXIT_FAILED
    return 0


def _migrate(settings: Settings) -> int:
    log = structlog.get_logger()
    try:
        applied = asyncio.run(migrate(settings.read_database_dsn, settings.migrate_wait_seconds))
    except ServiceUnavailable:
        log.error("database_away", waited_seconds=settings.migrate_wait_seconds)  # noqa: TRY400 - as below
        return EXIT_FAILED
    except SchemaRefused as error:
        log.error("schema_refused", reason=str(error))  # noqa: TRY400 - the reason is the whole story
        return EXIT_FAILED
    log.info("schema_current", applied=applied)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="chatserver", description="The chatserver of ChatCluster.", epilog=f"Settings: {PREFIX}* (see docs)."
    )
    parser.add_argument("command", choices=("serve", "migrate"))
    command = parser.parse_args(arguments).command
    try:
        settings = read_settings(os.environ, needs_secret_key=command == "serve")
    except SettingsError as error:
        print(f"chatserver: {error}", file=sys.stderr)  # noqa: T201 - logs are not configured yet
        return EXIT_USAGE
    configure_logs(settings.log_level, settings.server_name)
    return _serve(settings) if command == "serve" else _migrate(settings)


if __name__ == "__main__":
    sys.exit(main())
