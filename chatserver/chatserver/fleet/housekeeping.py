"""Periodic work of every server: deletes what has expired, ends expired sessions, writes when devices were used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.storage import audit, codes, expiries, probe
from chatserver.users.usernames import compare_older

if TYPE_CHECKING:
    from chatserver.accounts.devices import Devices
    from chatserver.fanout.hub import Hub
    from chatserver.storage.database import Database

log = structlog.get_logger()

PERIOD_SECONDS: Final = 60.0
"""Seconds between two rounds: `last_used_at` of a device is behind by so much."""

AUDIT_BATCH: Final = 1000
"""Audit events deleted by one statement: some 10 ms."""

EXPIRED_BATCH: Final = 10_000
"""Sign-in codes, their counters, tickets and client_ids deleted by one statement: more than come in a minute."""

AUDIT_BATCHES: Final = 10
"""Statements a round: together with the batch 10,000 events a minute and server, more than sign-ins make."""


async def run(database: Database, devices: Devices, hub: Hub, *, audit_days: int) -> None:
    """Tidy up every PERIOD_SECONDS until cancelled."""
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        try:
            await devices.flush_used()
            # No notification arrives for a session that expires while its socket is open.
            await devices.end_revoked(hub.devices())
            await delete_old_events(database, audit_days)
            await delete_expired(database)
            await compare_older(database)
            await probe.prune(database)
        except ServiceUnavailable:
            log.warning("housekeeping_waits_for_database")


async def delete_old_events(database: Database, audit_days: int) -> int:
    """Delete audit events older than so many days, a bounded number of them; returns how many.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    deleted = 0
    for _ in range(AUDIT_BATCHES):
        batch = await audit.delete_old_events(database, audit_days, AUDIT_BATCH)
        deleted += batch
        if batch < AUDIT_BATCH:
            break
    return deleted


async def delete_expired(database: Database) -> None:
    """Delete expired sign-in codes, their counters and tickets, and client_ids of messages that have long gone.

    A bounded number of each.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    await codes.sweep(database, EXPIRED_BATCH)
    await expiries.forget_sends(database, EXPIRED_BATCH)
