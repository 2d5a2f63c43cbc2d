"""Users: finding them, their profile, and when they were last seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.model import User
    from chatserver.storage.database import Database


class ProfileChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change in a profile; UNSET leaves a field alone, None clears the picture."""

    username: str | msgspec.UnsetType = msgspec.UNSET
    profile_picture_url: str | None | msgspec.UnsetType = msgspec.UNSET


async def get_user(database: Database, user_id: int) -> User:
    """Return an account by its id.

    Raises:
        UserNotFound: there is none.
    """
    raise NotImplementedError


async def find_user(database: Database, *, phone_number: str | None = None, username: str | None = None) -> User:
    """Return an account by exactly one of phone number and username.

    Raises:
        ValidationFailed: neither or both, or a malformed phone number.
        UserNotFound: there is none.
    """
    raise NotImplementedError


async def update_profile(database: Database, user_id: int, change: ProfileChange) -> User:
    """Change the profile and return it.

    Raises:
        ValidationFailed: a field is malformed. UsernameTaken: another account has it.
    """
    raise NotImplementedError


async def record_last_seen(database: Database, user_ids: Iterable[int]) -> None:
    """Set last_seen to now for these users: one statement a call, meant to be called in batches."""
    raise NotImplementedError
