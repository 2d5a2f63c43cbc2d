"""Time that passes for messages: the clock is the database's, so what is there becomes older."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database

AGEING = """
WITH a AS (UPDATE chats SET last_at = last_at - make_interval(secs => $1::integer)),
    b AS (UPDATE messages SET created_at = created_at - make_interval(secs => $1)),
    c AS (UPDATE expired_sends SET created_at = created_at - make_interval(secs => $1))
UPDATE expiries SET due_at = due_at - make_interval(secs => $1), leased_until = leased_until - make_interval(secs => $1)
"""


async def let_pass(database: Connection | Database, seconds: int) -> None:
    """Let all chats, their rows and what is due be so many seconds older."""
    await database.execute(AGEING, seconds)
