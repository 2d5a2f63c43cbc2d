"""Users' settings of who sees their data and who may add them to groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import asdict, replace

from chatserver.events import PrivacyDetail
from chatserver.storage import blocks, privacy
from chatserver.storage.announcing import announced
from chatserver.storage.messages import append_event
from chatserver.visibility import Audience, Privacy, is_in

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatserver.storage.database import Connection, Database

UnlessUnset = Audience | msgspec.UnsetType


class PrivacyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a user's settings; UNSET leaves one unchanged."""

    last_seen: UnlessUnset = msgspec.UNSET
    picture: UnlessUnset = msgspec.UNSET
    about: UnlessUnset = msgspec.UNSET
    groups: UnlessUnset = msgspec.UNSET
    read_receipts: bool | msgspec.UnsetType = msgspec.UNSET


async def get_privacy(database: Database, user_id: int) -> Privacy:
    """Return a user's settings."""
    async with database.connection() as connection:
        return await privacy.privacy_of(connection, user_id)


async def change_privacy(database: Database, user_id: int, change: PrivacyChange) -> Privacy:
    """Change a user's settings, add a row to their own chat for their devices, and return all settings.

    Who watches the user, or shares a chat with them, gets what they see now. The same again changes nothing.
    """
    changed = {name: value for name, value in asdict(change).items() if value is not msgspec.UNSET}
    async with announced(database) as (connection, announcement):
        self_id = await blocks.lock_self_chat(connection, announcement, user_id)
        before = await privacy.privacy_of(connection, user_id)
        after = replace(before, **changed)
        if after == before:
            return before
        await privacy.store(connection, user_id, after)
        await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            detail=PrivacyDetail(**asdict(after)),
        )
        announcement.profile(user_id)
        return after


async def not_addable(connection: Connection, user_id: int, other_ids: Collection[int]) -> set[int]:
    """Return those of the others whose settings do not let a user add them to groups."""
    audiences = await privacy.restricted(connection, sorted(other_ids))
    restricted = [other_id for other_id, audience in audiences.items() if audience == "contacts"]
    chats = await privacy.direct_chats(connection, user_id, restricted) if restricted else {}
    contacts = await privacy.writers(connection, chats) if chats else set()
    return {
        other_id for other_id, audience in audiences.items() if not is_in(audience, is_contact=other_id in contacts)
    }
