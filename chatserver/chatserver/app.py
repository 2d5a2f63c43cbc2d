"""Runs a server: serves from the start to SIGTERM or SIGINT, drains, and ends the parts in order."""

from __future__ import annotations

import asyncio
import gc
import signal
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from chatserver.closing import Reason
from chatserver.fleet.drain import Drain
from chatserver.http.serving import listening
from chatserver.loops import running
from chatserver.messaging import writer
from chatserver.metrics import Metrics, MetricsServer
from chatserver.protocol import CLOSE_RESTART
from chatserver.routes import make_app
from chatserver.storage.migrate import read_migrations
from chatserver.wiring import make_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.settings import Settings

log = structlog.get_logger()

# New objects between two searches for cycles, and such searches until older objects are searched too. Messages make no
# cycles, but Python would search everything that 10,000 connections have again and again (at 700, 10 and 10).
GC_THRESHOLDS = (50_000, 20, 20)


def is_compiled() -> bool:
    """Return whether the hot modules are compiled, as in the images, or interpreted, as in a checkout."""
    return not str(writer.__file__).endswith(".py")


async def serve(settings: Settings, on_serving: Callable[[int], None] | None = None) -> None:
    """Run a chatserver until SIGTERM or SIGINT has drained it.

    Args:
        settings: this server's.
        on_serving: called with the API's port once it is open.

    Raises:
        OSError: a port is taken.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    metrics = Metrics()
    compiled = is_compiled()
    metrics.process.show_build(version("chatcluster"), str(read_migrations()[-1].number), compiled=compiled)
    context = make_context(settings, metrics)
    metrics_server = MetricsServer(metrics.registry, settings.http_host, settings.metrics_port)
    metrics_server.start()
    try:
        async with running(context), listening(make_app(context), settings) as port:
            _settle_memory()
            log.info("serving", port=port, metrics_port=metrics_server.port, compiled=compiled)
            if on_serving is not None:
                on_serving(port)
            await stop.wait()
            drain = Drain(
                settings,
                health=context.health,
                hub=context.hub,
                mover=context.mover,
                writer=context.writer,
                answers=context.tasks,
                hurry=hurry,
            )
            await drain.run()
        if metrics.connections.closed.labels(str(CLOSE_RESTART), Reason.RESTART).value and not hurry.is_set():
            # Nobody could read later how many clients were not moved.
            await asyncio.to_thread(metrics_server.await_reader)
    finally:
        metrics_server.stop()
    log.info("stopped")


def _settle_memory() -> None:
    """Search for cycles rarely, and never among the objects of now, which stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
