"""The audit log: sign-ins, revocations and acts of admins, each stored in its own transaction and logged once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from chatserver.storage import audit
from chatserver.storage.announcing import announced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatserver.storage.announcing import Announcement
    from chatserver.storage.audit import AuditEvent
    from chatserver.storage.database import Connection, Database

log = structlog.get_logger()


class Trail:
    """The audit events of one transaction, and what it announces.

    Attributes:
        announcement: for other servers to hear.
    """

    def __init__(self, connection: Connection, announcement: Announcement) -> None:
        self.announcement = announcement
        self._connection = connection
        self._events: list[AuditEvent] = []

    async def add(self, event: AuditEvent) -> None:
        """Store an event in the transaction."""
        await audit.insert_event(self._connection, event)
        self._events.append(event)

    def write_log(self) -> None:
        """Log the events, one line each; call it after the commit."""
        for event in self._events:
            known = {"user_id": event.user_id, "device_id": event.device_id, "chat_id": event.chat_id}
            fields = {name: value for name, value in known.items() if value is not None}
            log.info("audit", action=event.action, **fields, **event.detail)


@asynccontextmanager
async def audited(database: Database, *, repeatable: bool = True) -> AsyncIterator[tuple[Connection, Trail]]:
    """Yield a connection with a transaction, and its audit trail; `repeatable` and errors as of `announced`."""
    async with announced(database, repeatable=repeatable) as (connection, announcement):
        trail = Trail(connection, announcement)
        yield connection, trail
    trail.write_log()


def mask_phone_number(phone_number: str) -> str:
    """Return a phone number with most digits masked, for logs.

    Example:
        >>> mask_phone_number("+4915112345678")
        '+49*********78'
    """
    return phone_number[:3] + "*" * max(0, len(phone_number) - 5) + phone_number[-2:]
