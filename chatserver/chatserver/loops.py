"""The loops of a server, each of which continues after a round that fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from chatserver import supervision
from chatserver.errors import ServiceUnavailable
from chatserver.fleet import housekeeping
from chatserver.fleet.heartbeat import BEATS_UNTIL_GONE
from chatserver.fleet.proxies import ProxyWatch, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from chatserver.http.context import Context
    from chatserver.metrics.process import ProcessMetrics

    Loop = Callable[[], Awaitable[None]]

GAUGE_SECONDS = 1.0
# Between measurements of how late the event loop is: most of what an idle server does.
LAG_SECONDS = 0.25
# For codes that wait when the server stops; users request again what is not sent by then.
SEND_CODES_SECONDS = 5.0
# For writing the presence of the users whose connections have just closed.
LAST_PRESENCE_SECONDS = 2.0


def loops_of(context: Context) -> dict[str, Loop]:
    """Return the loops by name; each is started by calling it, again whenever it fails."""
    deliverer, health, bus = context.deliverer, context.health, context.bus
    settings = context.settings
    sharing = context.limit_sharing
    return {
        "bus": bus.run,
        **({} if sharing is None else {"limits": sharing.run}),
        "delivery": deliverer.run,
        "recovery": lambda: deliverer.recovery.run(bus),
        "presence": _once_migrated(
            context, lambda: deliverer.presence.run(BEATS_UNTIL_GONE * settings.heartbeat_seconds)
        ),
        "hints": _once_migrated(context, context.sweep.run),
        "schema": health.watch_schema,
        "room": health.watch_room,
        "sockets": context.sockets.run,
        "codes": context.sender.run,
        "deletions": _once_migrated(context, context.deletions.run),
        "expiry": _once_migrated(context, context.expiry.run),
        "housekeeping": _once_migrated(
            context,
            lambda: housekeeping.run(context.database, context.devices, context.hub, audit_days=settings.audit_days),
        ),
        "heartbeat": _once_migrated(context, context.balancer.run_heartbeat),
        "shedding": context.balancer.run_shedding,
        "proxies": lambda: _watch_proxies(context),
        "gauges": lambda: _measure(context),
        "lag": lambda: _watch_lag(context.metrics.process),
    }


@contextlib.asynccontextmanager
async def running(context: Context) -> AsyncIterator[None]:
    """Run the parts that work beside requests."""
    await context.database.open()
    context.writer.start()
    tasks = [asyncio.create_task(supervision.keep(name, loop), name=name) for name, loop in loops_of(context).items()]
    try:
        yield
    finally:
        with _step("codes"):
            await context.sender.finish(SEND_CODES_SECONDS)
        for task in tasks:
            task.cancel()
        with _step("loops"):
            await asyncio.gather(*tasks, return_exceptions=True)
        with _step("presence"):
            await _write_presence(context)
        with _step("writer"):
            await context.writer.close(timeout_seconds=1)
        with _step("hints"):
            await context.database.hints.close()
            await context.sweep.finish()
        with _step("database"):
            await context.database.close()


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """Let the server stop with the next step even if this one fails."""
    with contextlib.suppress(ServiceUnavailable), supervision.isolated("end_failed", step=name):
        yield


async def _write_presence(context: Context) -> None:
    """Write that the users of the sockets that were just closed are offline; other servers would notice only later."""
    with contextlib.suppress(ServiceUnavailable, TimeoutError):
        async with asyncio.timeout(LAST_PRESENCE_SECONDS):
            await context.deliverer.presence.flush()


def _once_migrated(context: Context, loop: Loop) -> Loop:
    """Have a loop that reads tables start after the first migration: before it there are no tables."""

    async def wait_and_run() -> None:
        await context.health.schema_ready.wait()
        await loop()

    return wait_and_run


async def _watch_proxies(context: Context) -> None:
    host = context.settings.proxies_host
    if host is None:
        return
    watch = ProxyWatch(
        context.hub,
        context.health,
        context.mover,
        lookup=lambda: resolve(host),
        stay_seconds=context.settings.proxy_stay_seconds,
        on_moved=context.metrics.connections.proxy_moves.inc,
    )
    await watch.run()


async def _measure(context: Context) -> None:
    while True:
        metrics = context.metrics
        metrics.codes.waiting.set(context.sender.waiting())
        metrics.codes.oldest_seconds.set(context.sender.oldest_seconds())
        metrics.database.write_queue.set(context.writer.queued_rows)
        size, idle = context.database.connection_counts()
        metrics.database.pool_size.set(size)
        metrics.database.pool_idle.set(idle)
        metrics.database.show_login(context.settings.database_role())
        since = context.database.hints.unpublished_since()
        metrics.delivery.hints_unpublished_seconds.set(0.0 if since is None else time.monotonic() - since)
        clock = context.deliverer.clock
        metrics.delivery.clock_offset.set(clock.ahead_seconds(wall=time.time(), monotonic=time.monotonic()))
        await asyncio.sleep(GAUGE_SECONDS)


async def _watch_lag(metrics: ProcessMetrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due_at))
        metrics.loop_ran_at.set(time.time())
