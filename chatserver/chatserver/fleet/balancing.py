"""Publishes the number of connections of this server to the others, and sheds clients when it has too many."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.fleet import shedding
from chatserver.fleet.shedding import IDLE, Load, Shedding

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from chatserver.fanout.hub import Hub
    from chatserver.fleet.health import Health
    from chatserver.fleet.heartbeat import Heartbeat
    from chatserver.fleet.moving import Mover

log = structlog.get_logger()

# Between two decisions; the allowance is per second.
TICK_SECONDS = 1.0
# Clients that are shed in one second reconnect within so long: not all at once, and soon, since they are few.
LEAVE_WITHIN_SECONDS = 5.0
# For the closing handshake: after it, a client that is still here counts as one that ignored the frame.
GRACE_SECONDS = 5.0


class Balancer:
    """This server's heartbeat, and its shedding.

    Args:
        heartbeat: records the connections of this server, and reads those of others.
        mover: moves the clients that are shed.
        percent_per_second: of its connections, which a server that sheds moves in a second; 0: never any.
        on_shed: called with the number of clients that are moved.
        chance: chooses the clients.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        hub: Hub,
        health: Health,
        mover: Mover,
        *,
        percent_per_second: float,
        on_shed: Callable[[int], None],
        chance: random.Random,
    ) -> None:
        self._heartbeat = heartbeat
        self._hub = hub
        self._health = health
        self._mover = mover
        self._percent_per_second = percent_per_second
        self._on_shed = on_shed
        self._chance = chance
        self._others: list[int] = []
        self._read_at: float | None = None
        self._decision: Shedding = IDLE

    async def run_heartbeat(self) -> None:
        """Publish and read, until cancelled."""
        while True:
            try:
                await self.beat(time.monotonic())
            except ServiceUnavailable:
                log.warning("heartbeat_waits_for_database")
            await asyncio.sleep(self._heartbeat.period_seconds)

    async def run_shedding(self) -> None:
        """Decide once a second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick(time.monotonic())

    async def beat(self, now: float) -> None:
        """Publish the number of connections of this server, and read those of the others.

        Args:
            now: of ``time.monotonic``.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        self._others = await self._heartbeat.beat(
            connections=len(self._hub.connections), draining=self._health.draining
        )
        self._read_at = now

    def tick(self, now: float) -> None:
        """Move as many clients as this second allows.

        Args:
            now: of ``time.monotonic``, a second after the last.
        """
        if not self._percent_per_second or self._health.draining:
            return
        leaving = self._mover.leaving(now)
        load = Load(
            connections=len(self._hub.connections),
            leaving=len(leaving),
            others=self._others,
            is_current=self._read_at is not None and now - self._read_at < self._heartbeat.gone_seconds,
        )
        before, self._decision = self._decision, shedding.decide(load, self._decision, self._percent_per_second)
        if self._decision.active != before.active:
            event = "shedding_begins" if self._decision.active else "shedding_ends"
            log.info(event, connections=load.connections, others=load.others)
        if not self._decision.count:
            return
        staying = [c for c in self._hub.connections.values() if c.conn_id not in leaving]
        chosen = self._chance.sample(staying, min(self._decision.count, len(staying)))
        self._on_shed(self._mover.move(chosen, LEAVE_WITHIN_SECONDS, now=now, again_after_seconds=GRACE_SECONDS))
