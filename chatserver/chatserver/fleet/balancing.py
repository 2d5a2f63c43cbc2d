"""Tells the other servers how many connections this one has, and asks clients to leave when it has too many."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.fleet import shedding
from chatserver.fleet.shedding import IDLE, Load, Shedding
from chatserver.protocol import Reconnect, encode_frame
from chatserver.storage import servers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from chatserver.fanout.hub import Hub
    from chatserver.fleet.health import Health
    from chatserver.storage.database import Database

log = structlog.get_logger()

# A server that said nothing for so many heartbeats is gone; one that heard nothing for so long knows nothing.
BEATS_UNTIL_GONE = 3
# Between two decisions; the allowance is of a second.
TICK_SECONDS = 1.0
# Clients that are asked in one second leave over so long: short, since they are few, and not all at once.
LEAVE_WITHIN_SECONDS = 5.0
# For the closing handshake, after a client's time is over and before it counts as one that does not listen.
GRACE_SECONDS = 5.0


class Balancer:
    """This server's heartbeat, and its shedding.

    Args:
        heartbeat_seconds: between two heartbeats.
        percent_per_second: of its connections, which a server that sheds asks to leave in a second; 0: it never does.
        on_shed: told how many were asked.
        chance: chooses whom to ask, and when each leaves.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        health: Health,
        *,
        heartbeat_seconds: float,
        percent_per_second: float,
        on_shed: Callable[[int], None],
        chance: random.Random,
    ) -> None:
        self._database = database
        self._hub = hub
        self._health = health
        self._heartbeat_seconds = heartbeat_seconds
        self._percent_per_second = percent_per_second
        self._on_shed = on_shed
        self._chance = chance
        self._others: list[int] = []
        self._heard_at: float | None = None
        self._decision: Shedding = IDLE
        self._leaving_until: dict[str, float] = {}

    async def run_heartbeat(self) -> None:
        """Tell and learn, until cancelled."""
        while True:
            try:
                await self.beat(time.monotonic())
            except ServiceUnavailable:
                log.warning("heartbeat_waits_for_database")
            await asyncio.sleep(self._heartbeat_seconds)

    async def run_shedding(self) -> None:
        """Decide once a second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick(time.monotonic())

    async def beat(self, now: float) -> None:
        """Tell the other servers of this one, and learn of them.

        Args:
            now: of ``time.monotonic``.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        self._others = await servers.beat(
            self._database,
            self._database.server_name,
            connections=len(self._hub.connections),
            draining=self._health.draining,
            gone_seconds=self._gone_seconds,
        )
        self._heard_at = now

    def tick(self, now: float) -> None:
        """Ask as many clients to leave as this second allows.

        Args:
            now: of ``time.monotonic``, a second after the last.
        """
        if not self._percent_per_second or self._health.draining:
            return
        self._leaving_until = {
            conn_id: until
            for conn_id, until in self._leaving_until.items()
            if until > now and conn_id in self._hub.connections
        }
        load = Load(
            connections=len(self._hub.connections),
            leaving=len(self._leaving_until),
            others=self._others,
            is_current=self._heard_at is not None and now - self._heard_at < self._gone_seconds,
        )
        before, self._decision = self._decision, shedding.decide(load, self._decision, self._percent_per_second)
        if self._decision.active != before.active:
            event = "shedding_begins" if self._decision.active else "shedding_ends"
            log.info(event, connections=load.connections, others=load.others)
        self._ask(self._decision.ask, now)

    def _ask(self, count: int, now: float) -> None:
        if not count:
            return
        staying = [c for c in self._hub.connections.values() if c.conn_id not in self._leaving_until]
        chosen = self._chance.sample(staying, min(count, len(staying)))
        for connection in chosen:
            after_seconds = self._chance.uniform(0, LEAVE_WITHIN_SECONDS)
            connection.outbox.put(encode_frame(Reconnect(int(after_seconds * 1000))))
            self._leaving_until[connection.conn_id] = now + after_seconds + GRACE_SECONDS
        self._on_shed(len(chosen))

    @property
    def _gone_seconds(self) -> float:
        return BEATS_UNTIL_GONE * self._heartbeat_seconds
