"""Runs ``chatserver probe``: what its options mean, and its exit codes."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from chatserver.environment import PREFIX
from chatserver.logs import configure_logs
from chatserver.probe import runner
from chatserver.probe.accounts import DevelopmentCodes, NoAccount, TokenFile
from chatserver.probe.certificate import Trust, TrustUnusable
from chatserver.settings import LOG_LEVELS

if TYPE_CHECKING:
    import argparse

    from chatserver.probe.accounts import TokenSource

EXIT_FAILED = 1
EXIT_USAGE = 2


def run(options: argparse.Namespace) -> int:
    """Run the command and return the exit code."""
    accounts: TokenSource
    try:
        if options.token_file is None:
            accounts = DevelopmentCodes(tuple(options.phone_numbers))
        else:
            accounts = tokens = TokenFile(options.token_file)
            if options.once:
                tokens.read()
        trust = Trust(authorities=options.ca_file, certificate=options.certificate_file, insecure=options.insecure)
    except (NoAccount, TrustUnusable) as error:
        print(f"chatserver probe: {error}", file=sys.stderr)  # noqa: T201 - as for other errors of usage
        return EXIT_USAGE
    level = os.environ.get(PREFIX + "LOG_LEVEL") or ("ERROR" if options.once else "INFO")
    configure_logs(
        level if level in LOG_LEVELS else "INFO", os.environ.get(PREFIX + "SERVER_NAME") or socket.gethostname()
    )
    what = runner.Options(options.url, options.every, options.metrics_host, options.metrics_port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        if options.once:
            result = loop.run(runner.run_once(what, accounts, trust))
            print(f"ok: {result.text}" if result.step is None else f"failed: {result.step}: {result.text}")  # noqa: T201
            return 0 if result.step is None else EXIT_FAILED
        try:
            loop.run(runner.run(what, accounts, trust))
        except OSError as error:
            structlog.get_logger().error("cannot_listen", reason=str(error))
            return EXIT_FAILED
    return 0
