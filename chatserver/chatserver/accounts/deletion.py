"""Deletion of accounts: anonymised at once, and soon in no group and blocked by nobody.

One transaction deletes name, number and devices. Each group is then left in a separate transaction, by this server or,
if it fails, by any other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from chatserver.audit import audited, mask_phone_number
from chatserver.errors import ChatError, ServiceUnavailable, Unauthenticated
from chatserver.messaging import groups
from chatserver.storage import deletion, number_lookups, stars
from chatserver.storage.audit import AuditEvent
from chatserver.storage.codes import forget_counted
from chatserver.users import blocks

if TYPE_CHECKING:
    from chatserver.accounts.devices import Devices
    from chatserver.model import Principal
    from chatserver.storage.database import Database

log = structlog.get_logger()

SWEEP_SECONDS: Final = 30.0
"""Seconds between searches for deletions that another server left unfinished."""

SETTLE_SECONDS: Final = 60.0
"""Seconds after which a deleted account can no longer become a member of a group: a call that began before takes a few
seconds, and after a lost hint a token stays valid for AUTHENTICATION_SECONDS (accounts/devices.py)."""

SWEEP_ACCOUNTS: Final = 100
"""Accounts per sweep."""

SWEEP_BLOCKS: Final = 100
"""Blocks against one account that one sweep removes: a transaction each."""


class Deletions:
    """Deletes accounts.

    Args:
        database: where the accounts are.
        devices: notified which tokens are no longer valid.
    """

    def __init__(self, database: Database, devices: Devices) -> None:
        self._database = database
        self._devices = devices
        self._requested = asyncio.Event()

    async def delete_account(self, caller: Principal) -> None:
        """Anonymise the caller's account and sign out its devices; it leaves its groups right after.

        Raises:
            Unauthenticated: it was deleted already. ServiceUnavailable: the database is unavailable.
        """
        user_id = caller.user_id
        async with audited(self._database) as (connection, trail):
            phone_number = await deletion.anonymise(connection, user_id)
            if phone_number is None:
                raise Unauthenticated
            device_ids = await deletion.end_devices(connection, user_id)
            await forget_counted(connection, phone_number)
            trail.announcement.revoked(device_ids)
            await trail.add(
                AuditEvent(
                    action="account_deleted",
                    user_id=user_id,
                    device_id=caller.device_id,
                    detail={"phone_number": mask_phone_number(phone_number), "devices": len(device_ids)},
                )
            )
        self._devices.end(device_ids)
        self._requested.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._requested.clear()
            try:
                await self.sweep()
            except ServiceUnavailable:
                log.warning("deletions_wait_for_database")
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._requested.wait()
            except TimeoutError:
                pass

    async def sweep(self) -> None:
        """Leave the groups of deleted accounts, remove blocks against them, and finish the deletions that are complete.

        Raises:
            ServiceUnavailable: the database is unavailable; the next sweep continues.
        """
        for account in await deletion.pending(self._database, SWEEP_ACCOUNTS):
            async with self._database.transaction() as connection:
                await deletion.close_direct_chats(connection, account.user_id)
            left = [
                await self._leave(group_id, account.user_id)
                for group_id in await deletion.groups_of(self._database, account.user_id)
            ]
            await deletion.settle_watermarks(self._database, account.user_id)
            await stars.forget(self._database, account.user_id)
            await number_lookups.forget(self._database, account.user_id, is_gone=True)
            blockers = await deletion.blockers_of(self._database, account.user_id, SWEEP_BLOCKS)
            for blocker_id in blockers:
                await blocks.set_block(self._database, blocker_id, account.user_id, blocked=False)
            if all(left) and len(blockers) < SWEEP_BLOCKS and account.age_seconds >= SETTLE_SECONDS:
                await deletion.finish(self._database, account.user_id)

    async def _leave(self, group_id: int, user_id: int) -> bool:
        """Leave a group; returns whether it is left.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        try:
            await groups.remove_member(self._database, user_id, group_id, user_id)
        except ServiceUnavailable:
            # Another transaction may lock this group for long; the account still leaves the others.
            await self._database.ping()
            log.warning("group_not_left_yet", chat_id=group_id)
            return False
        except ChatError as error:
            # Another server or an admin was faster.
            log.debug("group_left_meanwhile", chat_id=group_id, code=error.code)
        return True
