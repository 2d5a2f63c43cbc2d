"""Delivery to the connections of this server: gives each part of a hint to the part of fanout that delivers it.

A hint says where to look. All chats that wait are read by one query, and their rows are queued in order. What lost
hints would have said is read by ``recovery``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.fanout.arrivals import Arrivals
from chatserver.fanout.clock import DatabaseClock
from chatserver.fanout.device_claims import DeviceClaims
from chatserver.fanout.joining import Joining
from chatserver.fanout.other_batches import OtherBatches
from chatserver.fanout.own_batches import OwnBatches
from chatserver.fanout.pending_rows import PendingRows
from chatserver.fanout.presence import PresenceWriter
from chatserver.fanout.profiles import Profiles
from chatserver.fanout.recovery import RETRY_SECONDS, Recovery
from chatserver.fanout.rows import RowDelivery
from chatserver.fanout.signals import Signals
from chatserver.fanout.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from chatserver.accounts.devices import Devices
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.rendered_rows import RenderedRows
    from chatserver.hints import Hint
    from chatserver.metrics.delivery import DeliveryMetrics
    from chatserver.storage.database import Database

log = structlog.get_logger()


class Deliverer:
    """Delivers to the connections of this server what the bus and the writer announce.

    Args:
        database: where rows are.
        devices: which devices were signed out.
        hub: the connections of this server.
        metrics: of delivery.
        register: has hints for users sent to this server (``Bus.register``).
        register_watched: has their presence sent to it (``Bus.register_watched``).
        rendered: gets what hints of this server may carry; None: the bus carries no rows.

    Attributes:
        clock: the database's, for the times of what other servers store.
        arrivals: users who connect or poll.
        own_batches: what this server stores itself; the writer's listener.
        recovery: from lost hints.
        claims: announces to the other servers which connection of a device is the newest.
        signals: receipts and typing, which are not rows.
        presence, watches: who is online, and which connections get it.
    """

    def __init__(
        self,
        database: Database,
        devices: Devices,
        hub: Hub,
        metrics: DeliveryMetrics,
        register: Callable[[Collection[int]], Awaitable[None]],
        register_watched: Callable[[Collection[int]], Awaitable[None]],
        rendered: RenderedRows | None = None,
    ) -> None:
        self._server_name = database.server_name
        self._devices = devices
        self._hub = hub
        self._metrics = metrics
        self._work = asyncio.Event()
        self._pending = PendingRows(hub.following.needed_after, self._work.set)
        self._joining = Joining(database, hub, self._pending, on_failed=self._recover)
        self.clock = DatabaseClock()
        self._rows = RowDelivery(database, hub, self._pending, self.clock, metrics)
        self._profiles = Profiles(database, hub)
        self.arrivals = Arrivals(database, hub, self._pending, register)
        self.own_batches = OwnBatches(hub, self._pending, metrics, rendered)
        self._other_batches = OtherBatches(hub, self._pending, self.clock, metrics)
        self.claims = DeviceClaims(self._server_name, hub)
        self.signals = Signals(database, hub, self._work.set)
        self.watches = Watches(database, hub, register_watched)
        self.presence = PresenceWriter(database, hub, self.watches)
        self.recovery = Recovery(
            database,
            hub,
            devices,
            metrics,
            pending=self._pending,
            joining=self._joining,
            signals=self.signals,
            watches=self.watches,
        )

    def bus_listens(self) -> None:
        """Have read what was missed before the database began to be heard."""
        self.clock.forget()
        self.hints_were_missed()

    def hints_were_missed(self) -> None:
        """Have read what the bus has lost."""
        self.own_batches.hints_were_missed()
        self.recovery.hints_were_missed()

    def _recover(self) -> None:
        self.recovery.hints_were_missed()

    def receive(self, hint: Hint) -> None:
        """Take a hint; never blocks."""
        self._metrics.bus_hints.inc()
        self.arrivals.receive(hint.ranges)
        if hint.is_batch:
            if hint.origin == self._server_name:
                self.own_batches.receive(hint.ranges)
            else:
                self._other_batches.receive(hint)
            return
        self._joining.receive(hint.members)
        for change in hint.members:
            self.watches.doubt_users(change.user_ids)
        for chat_range in hint.ranges:
            self._pending.reach(chat_range.chat_id, chat_range.last_seq)
        self.signals.receive(hint.receipts, hint.typing)
        self.signals.receive_own(hint.own_receipts)
        self._devices.end(hint.revoked)
        for device_id, conn_id in hint.claims:
            self._hub.registry.receive_claim(device_id, conn_id)
        self.watches.doubt_pairs(hint.relations)
        self._profiles.receive(hint.profiles)
        # Of what changed may be who sees whether they are online.
        self.watches.doubt_watched(hint.profiles)
        for user_id in hint.profiles:
            self._hub.forget_members_of(user_id)
        self.watches.receive(hint.presence)
        self._work.set()

    async def run(self) -> None:
        """Deliver what is announced until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._joining.deliver()
                await self._rows.deliver()
                await self.signals.deliver(self._joining.found_chats())
                await self.watches.settle()
                await self._profiles.deliver()
            except ServiceUnavailable:
                log.warning("delivery_waits_for_database")
                self._work.set()
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                # The next run continues with what waits.
                self._work.set()
                raise
