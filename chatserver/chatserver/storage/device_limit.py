"""SQL that limits the number of devices of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Connection


async def end_surplus(connection: Connection, user_id: int, keep: int) -> list[int]:
    """End the sessions of all but the most recently used devices of a user; returns the ids of the ended ones."""
    records = await connection.fetch(
        "WITH surplus AS MATERIALIZED ("
        "SELECT device_id FROM devices WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() "
        "ORDER BY last_used DESC, device_id DESC OFFSET $2), "
        "locked AS MATERIALIZED (SELECT d.device_id FROM devices d JOIN surplus USING (device_id) "
        "ORDER BY d.device_id FOR NO KEY UPDATE OF d) "
        "UPDATE devices d SET revoked_at = now() FROM locked WHERE d.device_id = locked.device_id "
        "RETURNING d.device_id",
        user_id,
        keep,
    )
    return sorted(record[0] for record in records)
