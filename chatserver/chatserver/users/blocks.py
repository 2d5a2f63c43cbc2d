"""Blocks: a block between two users stops new messages in their direct chat.

Each change is an event in the blocker's own chat, which only their devices see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import checks
from chatserver.errors import UserNotFound, ValidationFailed
from chatserver.events import BlockBlockedDetail, BlockUnblockedDetail
from chatserver.model import Change
from chatserver.storage import blocks, groups
from chatserver.storage.announcing import announced
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from chatserver.storage.database import Database


BLOCKS_MAX = 10_000
"""Users that one user may block: the list is one answer, of at most 200 kB."""


async def set_block(database: Database, user_id: int, other_id: int, *, blocked: bool) -> Change:
    """Block or unblock a user; doing it again changes nothing. A deleted account can be unblocked too.

    Returns:
        The event in the caller's own chat.

    Raises:
        UserNotFound: no such user; a deleted account cannot be blocked.
        ValidationFailed: the caller themselves, or more than BLOCKS_MAX users.
    """
    if other_id == user_id:
        raise ValidationFailed.of("user_id", "must not be yourself")
    if not checks.is_id(other_id):
        raise UserNotFound
    async with announced(database) as (connection, announcement):
        self_id = await blocks.lock_self_chat(connection, announcement, user_id)
        exists = groups.user_exists if blocked else groups.user_existed
        if not await exists(connection, other_id):
            raise UserNotFound
        store = blocks.add_block if blocked else blocks.remove_block
        if not await store(connection, user_id, other_id):
            return Change(self_id, None)
        # After the insert, so that blocking a blocked user again succeeds; an error rolls the insert back.
        if blocked and await blocks.count_blocks(connection, user_id) > BLOCKS_MAX:
            raise ValidationFailed.of(
                "user_id", f"you have already blocked {BLOCKS_MAX} users, which is the limit; unblock one first"
            )
        seq = await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            detail=(BlockBlockedDetail if blocked else BlockUnblockedDetail)(user_ids=[other_id]),
        )
        announcement.relation(user_id, other_id)
        return Change(self_id, seq)


async def list_blocked(database: Database, user_id: int) -> list[int]:
    """Return the ids of those the user has blocked, ascending."""
    return await blocks.blocked_by(database, user_id)
