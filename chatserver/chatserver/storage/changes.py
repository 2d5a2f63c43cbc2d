"""SQL of changes to messages already sent: each function is a step of a transaction of `messaging.changes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.times import micros, micros_or_none

if TYPE_CHECKING:
    from chatserver.model import ChatKind, MessageType, Role
    from chatserver.storage.database import Connection


class Target(msgspec.Struct, frozen=True):
    """A message that the caller can see.

    Attributes:
        own_reaction: the caller's.
        deleted_at_us: when it was deleted for everyone.
    """

    sender_id: int
    type: MessageType
    text: str | None
    created_at_us: int
    deleted_at_us: int | None
    own_reaction: str | None


class Place(msgspec.Struct, frozen=True):
    """A locked chat and the caller's membership in it.

    Attributes:
        left: the caller is a former member.
        blocked: a direct chat, and one of the two has blocked the other.
        now_us: the database's clock, which also made the messages' times.
        target: None: the caller can see no such message.
    """

    kind: ChatKind
    role: Role
    left: bool
    blocked: bool
    now_us: int
    target: Target | None


async def lock_place(connection: Connection, user_id: int, chat_id: int, seq: int) -> Place | None:
    """Lock a chat, as every writer does; returns the user's membership and a message, or None if never a member."""
    # Two statements: the second sees what was committed while the first waited.
    locked = await connection.fetchrow(
        "SELECT FROM chats c JOIN chat_members cm USING (chat_id) WHERE c.chat_id = $1 AND cm.user_id = $2 "
        "FOR NO KEY UPDATE OF c",
        chat_id,
        user_id,
    )
    if locked is None:
        return None
    record = await connection.fetchrow(
        """
        SELECT c.kind, cm.role, cm.left_seq IS NOT NULL, clock_timestamp(),
            EXISTS (
                SELECT FROM direct_chats d JOIN blocks b
                ON (b.blocker_id, b.blocked_id) IN ((d.user_lo, d.user_hi), (d.user_hi, d.user_lo))
                WHERE d.chat_id = c.chat_id),
            m.sender_id, m.message_type, m.message_text, m.created_at, m.deleted_at, m.reactions ->> $2::bigint::text
        FROM chat_members cm
        JOIN chats c USING (chat_id)
        LEFT JOIN messages m ON m.chat_id = cm.chat_id AND m.seq = $3 AND m.kind = 'message'
            AND m.seq > cm.joined_seq
            AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq)
            AND NOT cm.absent @> m.seq
        WHERE cm.chat_id = $1 AND cm.user_id = $2
        """,
        chat_id,
        user_id,
        seq,
    )
    if record is None:
        return None
    kind, role, left, now, blocked, sender_id, type_, text, created_at, deleted_at, own_reaction = record
    target = None
    if sender_id is not None:
        target = Target(sender_id, type_, text, micros(created_at), micros_or_none(deleted_at), own_reaction)
    return Place(kind, role, left, blocked, micros(now), target)


async def keep_version(connection: Connection, chat_id: int, seq: int, event_seq: int) -> None:
    """Store the current version of a message before an event changes it, if a member has left since its last change."""
    await connection.execute(
        "INSERT INTO message_versions (chat_id, seq, until_seq, message_text, reactions, edited_at) "
        "SELECT m.chat_id, m.seq, $3::bigint, m.message_text, m.reactions, m.edited_at FROM messages m "
        "WHERE m.chat_id = $1 AND m.seq = $2 AND EXISTS ("
        "SELECT FROM chat_members cm "
        "WHERE cm.chat_id = $1 AND cm.joined_seq < $2 AND cm.left_seq >= greatest($2::bigint, ("
        "SELECT max(v.until_seq) FROM message_versions v WHERE v.chat_id = $1 AND v.seq = $2)))",
        chat_id,
        seq,
        event_seq,
    )


async def set_text(connection: Connection, chat_id: int, seq: int, text: str | None, event_seq: int) -> None:
    """Replace the text of a message, edited at the time of the event."""
    await connection.execute(
        "UPDATE messages m SET message_text = $3, edited_at = e.created_at FROM messages e "
        "WHERE m.chat_id = $1 AND m.seq = $2 AND e.chat_id = $1 AND e.seq = $4",
        chat_id,
        seq,
        text,
        event_seq,
    )


async def clear(connection: Connection, chat_id: int, seq: int, event_seq: int) -> None:
    """Remove the content of a message, deleted at the time of the event; also for former members."""
    await connection.execute("DELETE FROM message_versions WHERE chat_id = $1 AND seq = $2", chat_id, seq)
    await connection.execute(
        "UPDATE messages m SET message_text = NULL, media_url = NULL, reactions = NULL, deleted_at = e.created_at "
        "FROM messages e WHERE m.chat_id = $1 AND m.seq = $2 AND e.chat_id = $1 AND e.seq = $3",
        chat_id,
        seq,
        event_seq,
    )


async def set_reaction(connection: Connection, chat_id: int, seq: int, user_id: int, emoji: str | None) -> None:
    """Set a user's reaction to a message; None removes it."""
    await connection.execute(
        "UPDATE messages SET reactions = CASE WHEN $4::text IS NULL "
        "THEN nullif(reactions - $3::bigint::text, '{}'::jsonb) "
        "ELSE coalesce(reactions, '{}'::jsonb) || jsonb_build_object($3::bigint::text, $4::text) END "
        "WHERE chat_id = $1 AND seq = $2",
        chat_id,
        seq,
        user_id,
        emoji,
    )


class OwnView(msgspec.Struct, frozen=True):
    """Whether a user may (or could) see a message, and whether they have hidden it.

    Attributes:
        deleted: for everyone.
    """

    found: bool
    hidden: bool
    deleted: bool


async def lock_own_view(connection: Connection, user_id: int, chat_id: int, seq: int) -> OwnView | None:
    """Lock a user's membership, current or past; returns whether it covers a message, or None if never a member."""
    record = await connection.fetchrow(
        """
        SELECT m.seq IS NOT NULL, cm.absent @> $3::bigint, m.deleted_at IS NOT NULL
        FROM chat_members cm
        LEFT JOIN messages m ON m.chat_id = cm.chat_id AND m.seq = $3 AND m.kind = 'message' AND m.seq > cm.joined_seq
            AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq) AND NOT cm.while_left @> m.seq
        WHERE cm.chat_id = $1 AND cm.user_id = $2 FOR NO KEY UPDATE OF cm
        """,
        chat_id,
        user_id,
        seq,
    )
    return None if record is None else OwnView(*record)


async def hide(connection: Connection, user_id: int, chat_id: int, seq: int) -> None:
    """Hide a row from a member, and remove their star."""
    await connection.execute(
        "UPDATE chat_members SET absent = absent + int8multirange(int8range($3, $3, '[]')) "
        "WHERE chat_id = $1 AND user_id = $2",
        chat_id,
        user_id,
        seq,
    )
    await connection.execute(
        "DELETE FROM stars WHERE chat_id = $1 AND user_id = $2 AND seq = $3", chat_id, user_id, seq
    )
