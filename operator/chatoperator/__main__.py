"""`chatoperator run | simulate`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chatoperator.autoscaling.autoscaler import Policy
from chatoperator.autoscaling.simulation import Delays, simulate, traces
from chatoperator.autoscaling.simulation.plot import as_svg, as_text
from chatoperator.errors import SettingsError, TraceError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_MISUSE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `chatoperator`."""
    parser = argparse.ArgumentParser(
        prog="chatoperator",
        description="The ChatCluster operator. The Helm chart starts it in a pod; `simulate` runs anywhere.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator until it is stopped (only in a pod)")
    _add_simulate(
        commands.add_parser(
            "simulate", help="show what the autoscaler would do with recorded or generated connection counts"
        )
    )
    parsed = parser.parse_args(arguments)
    if parsed.command == "run":
        _run()
    else:
        _simulate(parsed)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--trace", type=Path, metavar="FILE", help="recorded connection counts: CSV with the header seconds,connections"
    )
    source.add_argument("--synthetic", choices=["day"], help="generated connection counts of 24 hours")
    parser.add_argument(
        "--peak", type=_count, default=60_000, help="highest connection count of the generated day (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise of the generated day (%(default)s)")
    # The defaults of the fields below spec.chatserver.
    parser.add_argument(
        "--target", type=_count, default=10_000, help="spec.chatserver.targetConnectionsPerServer (%(default)s)"
    )
    parser.add_argument("--min", type=_count, default=2, help="spec.chatserver.scaling.minReplicas (%(default)s)")
    parser.add_argument("--max", type=_count, default=10, help="spec.chatserver.scaling.maxReplicas (%(default)s)")
    parser.add_argument(
        "--window-seconds",
        type=int,
        default=300,
        help="spec.chatserver.scaling.scaleDownStabilizationSeconds (%(default)s)",
    )
    parser.add_argument("--drain-seconds", type=int, default=30, help="spec.chatserver.drainSeconds (%(default)s)")
    parser.add_argument(
        "--start-seconds", type=int, default=20, help="seconds until a new chatserver is ready (%(default)s)"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the chart to this SVG file")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1; use a whole number from 1")
    return value


def _simulate(parsed: argparse.Namespace) -> None:
    if parsed.min > parsed.max:
        _refuse(f"--min {parsed.min} is greater than --max {parsed.max}; lower --min or raise --max")
    policy = Policy(parsed.target, parsed.min, parsed.max, parsed.window_seconds)
    try:
        if parsed.trace is not None:
            trace = traces.read(parsed.trace.read_text())
        else:
            trace = traces.synthetic_day(parsed.peak, random.Random(parsed.seed))  # noqa: S311 - noise, no secret
    except (TraceError, OSError, UnicodeDecodeError) as error:
        _refuse(f"{parsed.trace}: {error}")
    steps = simulate(trace, policy, Delays(parsed.start_seconds, parsed.drain_seconds))
    sys.stdout.write(as_text(steps, policy) + "\n")
    if parsed.svg is not None:
        parsed.svg.write_text(as_svg(steps, policy))


def _run() -> None:
    # Here, so that the simulator needs none of the operator's libraries.
    from chatoperator import logs, operate, settings  # noqa: PLC0415
    from chatoperator.metrics import prometheus  # noqa: PLC0415

    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        # Elsewhere its requests to pods and Services would leave for addresses that belong to somebody else.
        _refuse(
            "KUBERNETES_SERVICE_HOST is not set: `chatoperator run` works only in a pod; install it with the Helm chart"
        )
    try:
        configured = settings.read(os.environ)
    except SettingsError as error:
        _refuse(str(error))
    logs.configure(configured.log_level)
    prometheus.serve(configured.metrics_port)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(operate.run(configured))


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"chatoperator: {why}\n")
    sys.exit(EXIT_MISUSE)


if __name__ == "__main__":
    main()
