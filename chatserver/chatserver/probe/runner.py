"""The probe as a process: attempts at an interval, the certificate's expiry, and the end at a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from chatserver import supervision
from chatserver.metrics import MetricsServer
from chatserver.probe.attempts import Attempts
from chatserver.probe.certificate import CertificateUnreadable, Trust, read_expiry
from chatserver.probe.metrics import ProbeMetrics

if TYPE_CHECKING:
    from chatserver.probe.accounts import TokenSource
    from chatserver.probe.attempts import Attempt

log = structlog.get_logger()

CERTIFICATE_SECONDS = 60.0
"""Between two looks at the certificate: a handshake each."""

CERTIFICATE_TIMEOUT_SECONDS = 10.0

LOST_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """What to probe and how.

    Attributes:
        url: Of the chat, without a path.
        every_seconds: Between the starts of two attempts.
        metrics_host: Address of the metrics.
        metrics_port: Port of the metrics; 0 picks a free one.
    """

    url: str
    every_seconds: float
    metrics_host: str
    metrics_port: int


async def run(options: Options, accounts: TokenSource, trust: Trust) -> None:
    """Probe until SIGTERM or SIGINT.

    Raises:
        OSError: The port of the metrics cannot be used.
    """
    metrics = ProbeMetrics()
    server = MetricsServer(metrics.registry, options.metrics_host, options.metrics_port)
    server.start()
    attempts = Attempts(options.url, accounts, trust, metrics)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    loops = {
        "probe_connections": attempts.run_connections,
        "probe_attempts": lambda: _attempt_regularly(attempts, metrics, options.every_seconds),
        "probe_lost": lambda: _look_for_lost(attempts),
    }
    if options.url.startswith("https://"):
        loops["probe_certificate"] = lambda: _watch_certificate(options.url, metrics)
    log.info("probing", url=options.url, every_seconds=options.every_seconds, metrics_port=server.port)
    tasks = [asyncio.create_task(supervision.keep(name, loop), name=name) for name, loop in loops.items()]
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.stop()
    log.info("stopped")


async def run_once(options: Options, accounts: TokenSource, trust: Trust) -> Attempt:
    """Make one attempt and return how it ended."""
    attempts = Attempts(options.url, accounts, trust, ProbeMetrics())
    connections = asyncio.create_task(attempts.run_connections())
    try:
        return await attempts.attempt()
    finally:
        connections.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connections


async def _attempt_regularly(attempts: Attempts, metrics: ProbeMetrics, every_seconds: float) -> None:
    """Begin an attempt at each interval; one that hangs and fails counts for each interval it took.

    Otherwise an outage, in which each attempt takes long, would count less than the time in which all is well.
    """
    due = time.monotonic()
    while True:
        result = await attempts.attempt()
        now = time.monotonic()
        missed = max(0, int((now - due) / every_seconds))
        if missed and result.step is not None:
            metrics.attempt(missed)
            metrics.fail(result.step, missed)
        due += (missed + 1) * every_seconds
        await asyncio.sleep(due - now)


async def _look_for_lost(attempts: Attempts) -> None:
    while True:
        await asyncio.sleep(LOST_LOOK_SECONDS)
        attempts.count_lost()


async def _watch_certificate(url: str, metrics: ProbeMetrics) -> None:
    while True:
        try:
            metrics.certificate_expires(await read_expiry(url, CERTIFICATE_TIMEOUT_SECONDS))
        except (OSError, CertificateUnreadable) as error:
            log.warning("probe_certificate_unread", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(CERTIFICATE_SECONDS)
