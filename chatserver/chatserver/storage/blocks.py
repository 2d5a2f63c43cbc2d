"""SQL of blocks and of the users' own chats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.storage.calls import affected

if TYPE_CHECKING:
    from chatserver.storage.announcing import Announcement
    from chatserver.storage.database import Connection, Database


async def lock_self_chat(connection: Connection, announcement: Announcement, user_id: int) -> int:
    """Lock the user's own chat, creating it if needed; returns its id.

    To be locked before anything else: it is then never waited for by who holds another lock.
    """
    record = await connection.fetchrow("SELECT * FROM lock_self_chat($1)", user_id)
    chat_id, is_new = record or (0, False)
    if is_new:
        announcement.members(chat_id, [user_id])
    return chat_id


async def add_block(connection: Connection, blocker_id: int, blocked_id: int) -> bool:
    """Store a block; returns whether it is new."""
    tag = await connection.execute(
        "INSERT INTO blocks (blocker_id, blocked_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", blocker_id, blocked_id
    )
    return affected(tag) > 0


async def count_blocks(connection: Connection, blocker_id: int) -> int:
    """Return how many users somebody has blocked."""
    number: int = await connection.fetchval("SELECT count(*) FROM blocks WHERE blocker_id = $1", blocker_id)
    return number


async def remove_block(connection: Connection, blocker_id: int, blocked_id: int) -> bool:
    """Remove a block; returns whether there was one."""
    tag = await connection.execute(
        "DELETE FROM blocks WHERE blocker_id = $1 AND blocked_id = $2", blocker_id, blocked_id
    )
    return affected(tag) > 0


async def blocked_by(database: Database, blocker_id: int) -> list[int]:
    """Return the ids of those a user has blocked, ascending."""
    records = await database.fetch(
        "SELECT blocked_id FROM blocks WHERE blocker_id = $1 ORDER BY blocked_id", blocker_id
    )
    return [record[0] for record in records]
