"""Recovery from lost hints: reads from the database what connections, polls and sign-outs may have missed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.fanout.joining import NEW_CHAT_ROWS
from chatserver.messaging import sync
from chatserver.supervision import apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.accounts.devices import Devices
    from chatserver.fanout.bus import Bus
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.joining import Joining
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.fanout.signals import Signals
    from chatserver.fanout.watches import Watches
    from chatserver.metrics.delivery import DeliveryMetrics
    from chatserver.storage.database import Database

log = structlog.get_logger()

RECOVER_SECONDS = 5.0
"""The longest time without rows when hints are lost."""

RETRY_SECONDS = 0.5
"""Wait after a failed query; the database's own calls have their own time-outs."""

RECOVER_USERS = 500
"""Users whose chats one query reads."""


class Recovery:
    """Reads what may have been missed: when the bus begins to listen, and every 5 s while it is silent.

    Args:
        database: where to read.
        hub: the connections of this server.
        devices: which devices were signed out.
        metrics: counts the rows that were missed.
        pending: the chats with rows to deliver.
        joining: gets the chats that users joined.
        signals: gets the receipts.
        watches: gets the presence.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        devices: Devices,
        metrics: DeliveryMetrics,
        *,
        pending: PendingRows,
        joining: Joining,
        signals: Signals,
        watches: Watches,
    ) -> None:
        self._database = database
        self._hub = hub
        self._devices = devices
        self._metrics = metrics
        self._pending = pending
        self._joining = joining
        self._signals = signals
        self._watches = watches
        self._now = asyncio.Event()
        self._fleet_is_mixed = False

    def hints_were_missed(self) -> None:
        """Recover as soon as possible."""
        self._hub.registry.claims_were_missed()
        self._hub.members.forget_all()
        self._now.set()

    def fleet_is_mixed(self, is_mixed: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Recover every 5 s while other servers have another bus: not all of their hints reach this one at first."""
        if is_mixed != self._fleet_is_mixed:
            log.info("fleet_mixed" if is_mixed else "fleet_not_mixed")
            self._fleet_is_mixed = is_mixed
            self.hints_were_missed()

    async def run(self, bus: Bus) -> None:
        """Recover, and retry what could not be delivered, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(RECOVER_SECONDS):
                    await self._now.wait()
            except TimeoutError:
                pass
            now = time.monotonic()
            self._hub.forget_idle(now)
            self._signals.forget_typed(now)
            self._pending.retry()
            if self._signals.retry():
                self._pending.wake()
            if not self._now.is_set() and not self._fleet_is_mixed and bus.is_healthy():
                self._signals.bus_was_healthy(now)
                continue
            self._now.clear()
            self._hub.members.forget_all()
            try:
                await self._recover()
            except ServiceUnavailable:
                log.warning("recovery_waits_for_database")
                # A bus that listens again would not repeat it.
                self._now.set()
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                self._now.set()
                raise

    async def _recover(self) -> None:
        user_ids = self._hub.following.users()
        for start in range(0, len(user_ids), RECOVER_USERS):
            await apart("users_not_recovered", user_ids[start : start + RECOVER_USERS], self._recover_users)
        await self._signals.recover(self._joining.found_chats())
        await self._watches.recover()
        await self._devices.end_revoked(self._hub.devices())
        self._pending.wake()

    async def _recover_users(self, user_ids: Sequence[int]) -> None:
        positions = await sync.positions(self._database, user_ids)
        for user_id, chats in positions.items():
            for chat_id, last_seq in chats.items():
                if not self._hub.following.follows(user_id, chat_id):
                    self._joining.found(user_id, chat_id, max(0, last_seq - NEW_CHAT_ROWS))
                    self._pending.reach(chat_id, last_seq)
                after = self._hub.following.needed_after(chat_id)
                if after is not None and after < last_seq:
                    self._metrics.gaps_healed.inc(last_seq - after)
                    self._pending.reach(chat_id, last_seq)
