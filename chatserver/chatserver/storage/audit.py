"""SQL of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chatserver.storage.calls import affected

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log.

    Attributes:
        action: what was done, such as ``signed_in``.
        user_id: who did it; None when nobody was signed in.
        device_id: on which of their devices, where that is known; of a revocation, the device that ended.
        chat_id: the group it is about.
        detail: what else there is to say. Phone numbers are masked; no code, token, name or text is ever in it.
    """

    action: str
    user_id: int | None = None
    device_id: int | None = None
    chat_id: int | None = None
    detail: dict[str, Any] = {}


async def insert_event(connection: Connection, event: AuditEvent) -> None:
    """Store an event."""
    await connection.execute(
        "INSERT INTO audit_events (action, user_id, device_id, chat_id, detail) VALUES ($1, $2, $3, $4, $5)",
        event.action,
        event.user_id,
        event.device_id,
        event.chat_id,
        msgspec.json.encode(event.detail).decode() if event.detail else None,
    )


async def delete_old_events(database: Database, days: int, limit: int) -> int:
    """Delete up to `limit` events that are older than so many days, the oldest first; returns how many there were."""
    tag = await database.execute(
        "DELETE FROM audit_events WHERE event_id IN ("
        "SELECT event_id FROM audit_events WHERE at < now() - make_interval(days => $1) "
        "ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        days,
        limit,
    )
    return affected(tag)
