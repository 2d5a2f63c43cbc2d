"""The limit of devices per user: each can have a socket, long polls, and frames queued in a server's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.storage import device_limit
from chatserver.storage.audit import AuditEvent

if TYPE_CHECKING:
    from chatserver.audit import Trail
    from chatserver.storage.database import Connection

DEVICES_OF_A_USER: Final = 32
"""Signed-in devices per user: a person has a few; repeated sign-ins replace the oldest."""


async def end_surplus_devices(connection: Connection, trail: Trail, user_id: int) -> None:
    """Sign out a user's devices above the limit, the least recently used first; a step of a sign-in."""
    ended = await device_limit.end_surplus(connection, user_id, DEVICES_OF_A_USER)
    if not ended:
        return
    trail.announcement.revoked(ended)
    for device_id in ended:
        detail = {"reason": "too_many_devices"}
        await trail.add(AuditEvent(action="device_revoked", user_id=user_id, device_id=device_id, detail=detail))
