"""Look-ups of users and changes of profiles; look-ups return the caller's relation, which decides what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from chatserver import checks
from chatserver.bounds import ABOUT_MAX_CHARS
from chatserver.errors import UserNotFound, ValidationFailed
from chatserver.events import ProfileDetail
from chatserver.storage import accounts, blocks, relations
from chatserver.storage.announcing import announced
from chatserver.storage.messages import append_event
from chatserver.storage.outages import StatementFailed
from chatserver.users.names import check_addressee, username_key
from chatserver.users.phone_numbers import check_phone_number
from chatserver.users.usernames import claim
from chatserver.visibility import SELF, STRANGER, Relation

if TYPE_CHECKING:
    from chatserver.model import User
    from chatserver.storage.database import Database
    from chatserver.users.number_lookups import Admit
    from chatserver.users.phone_numbers import PhoneNumber


PLUS_IN_QUERY: Final = "begins with a space: + in a query means a space, so write it as %2B"


class ProfileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a profile; UNSET leaves a field unchanged, None removes the picture or text."""

    username: str | msgspec.UnsetType = msgspec.UNSET
    profile_picture_url: str | msgspec.UnsetType | None = msgspec.UNSET
    about: str | msgspec.UnsetType | None = msgspec.UNSET


async def get_user(database: Database, user_id: int) -> User:
    """Return an account by its id.

    Raises:
        UserNotFound: there is none.
    """
    user = await accounts.user_by_id(database, user_id) if checks.is_id(user_id) else None
    if user is None:
        raise UserNotFound
    return user


async def account_number(database: Database, number: PhoneNumber) -> str:
    """Return the form under which a number's account is stored; without an account the current form.

    Only a number that was accepted in two spellings needs a query.
    """
    if len(number.stored) == 1:
        return number.number
    return await accounts.stored_number(database, number.stored) or number.number


async def get_profile(database: Database, viewer_id: int, user_id: int) -> tuple[User, Relation]:
    """Return an account by its id, and the viewer's relation to it.

    Raises:
        UserNotFound: there is none.
    """
    user = await get_user(database, user_id)
    return user, await _relation(database, viewer_id, user_id)


async def _relation(database: Database, viewer_id: int, user_id: int) -> Relation:
    if viewer_id == user_id:
        return SELF
    pair = (viewer_id, user_id)
    return (await relations.relations(database, [pair])).get(pair, STRANGER)


async def find_profile(
    database: Database,
    viewer_id: int,
    *,
    phone_number: str | None = None,
    username: str | None = None,
    admit: Admit | None = None,
) -> tuple[User, Relation]:
    """Return an account by exactly one of phone number and username, and the viewer's relation to it.

    Raises:
        ValidationFailed, UserNotFound, RateLimited: as of `find_user`.
    """
    user = await find_user(database, phone_number=phone_number, username=username, admit=admit)
    relation = await _relation(database, viewer_id, user.user_id)
    return user, replace(relation, found_by="name" if phone_number is None else "number")


async def find_user(
    database: Database,
    *,
    phone_number: str | None = None,
    username: str | None = None,
    admit: Admit | None = None,
) -> User:
    """Return an account by exactly one of phone number and username.

    Raises:
        ValidationFailed: neither or both, or a malformed phone number.
        UserNotFound: there is none.
        RateLimited: of `admit`, which counts the number.
    """
    if (phone_number is None) == (username is None):
        raise ValidationFailed.of("phone_number", "send exactly one of 'phone_number' and 'username'")
    if phone_number is not None:
        if phone_number.startswith(" "):
            raise ValidationFailed.of("phone_number", PLUS_IN_QUERY)
        number = check_phone_number(phone_number, "phone_number")
        if admit is not None:
            await admit([number])
        user = await accounts.user_by_phone(database, await account_number(database, number))
    else:
        name = check_addressee(username or "", "username")
        user = await accounts.user_by_username_key(database, username_key(name))
    if user is None:
        raise UserNotFound
    return user


async def update_profile(database: Database, user_id: int, change: ProfileChange) -> User:
    """Change the profile, notify the user's other devices by a row in their own chat, and return it.

    Users who share a chat get a frame (`fanout.profiles`). The same values again change nothing and notify nobody.

    The row names the changed fields, not their values: it remains when the account is deleted.

    Raises:
        ValidationFailed: a field is malformed. UsernameTaken: another account has it, or one that looks the same.
    """
    picture = None
    if change.profile_picture_url is not msgspec.UNSET:
        url = change.profile_picture_url
        picture = (None if url is None else checks.check_url(url, "profile_picture_url"),)
    about = None
    if change.about is not msgspec.UNSET:
        # An empty text and none are the same.
        text = change.about or None
        about = (None if text is None else checks.check_text(text, "about", max_chars=ABOUT_MAX_CHARS),)
    if change == ProfileChange():
        return await get_user(database, user_id)
    try:
        async with announced(database) as (connection, announcement):
            self_id = await blocks.lock_self_chat(connection, announcement, user_id)
            username = None
            if change.username is not msgspec.UNSET:
                username = await claim(connection, change.username, "username", user_id=user_id)
            before = await accounts.profile_of(connection, user_id)
            user = await accounts.update_profile(connection, user_id, username=username, picture=picture, about=about)
            if before is None or user is None:
                raise UserNotFound
            changed = [field for field in change.__struct_fields__ if getattr(before, field) != getattr(user, field)]
            if not changed:
                return user
            await append_event(
                connection,
                announcement,
                chat_id=self_id,
                sender_id=user_id,
                detail=ProfileDetail(fields=changed),
            )
            announcement.profile(user_id)
            return user
    except StatementFailed as error:
        raise accounts.username_taken(error) from error
