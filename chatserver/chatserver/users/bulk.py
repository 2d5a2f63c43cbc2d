"""Look-ups of many users at once, by number, name and id."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from chatserver import checks
from chatserver.errors import FieldError, ValidationFailed
from chatserver.storage import accounts, relations
from chatserver.users.names import check_addressee, username_key
from chatserver.users.phone_numbers import check_phone_number
from chatserver.visibility import SELF, STRANGER, Relation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatserver.model import User
    from chatserver.storage.database import Database
    from chatserver.users.number_lookups import NumberLookups
    from chatserver.visibility import FoundBy

T = TypeVar("T")


class LookedUp(msgspec.Struct, frozen=True):
    """The result of a look-up.

    Attributes:
        users: those who were found, each once, by id, with the viewer's relation to them.
        by_number: for each number that was given, the id of the user who has it; None: nobody.
        by_name: the same for each username.
        errors: what was given and is no number or no username.
    """

    users: Sequence[tuple[User, Relation]]
    by_number: Sequence[int | None]
    by_name: Sequence[int | None]
    errors: Sequence[FieldError]


async def look_up(
    database: Database,
    numbers: NumberLookups,
    viewer_id: int,
    address: str,
    *,
    phone_numbers: Sequence[str] = (),
    usernames: Sequence[str] = (),
    user_ids: Sequence[int] = (),
) -> LookedUp:
    """Return the users with these numbers, names and ids, as a viewer's single look-ups would.

    An address book has entries that are no numbers: they are named in the result, and nothing fails.

    Raises:
        RateLimited: the viewer or the address has looked up too many numbers; nothing was looked up.
        ServiceUnavailable: the database is unavailable.
    """
    errors: list[FieldError] = []
    given_numbers = _checked(phone_numbers, "phone_numbers", check_phone_number, errors)
    given_names = _checked(usernames, "usernames", check_addressee, errors)
    dialled = list({number for number in given_numbers if number is not None})
    having = await numbers.find(viewer_id, address, dialled) if dialled else {}
    keys = {username_key(name) for name in given_names if name is not None}
    named = await accounts.users_by_username_keys(database, sorted(keys)) if keys else {}
    ids = {number for number in user_ids if checks.is_id(number)} | set(having.values())
    known = await accounts.users_by_id(database, sorted(ids)) if ids else []
    found = {user.user_id: user for user in (*known, *named.values())}
    ways: dict[int, FoundBy] = {
        **{user.user_id: "name" for user in named.values()},
        # Who is found by number is seen with it.
        **dict.fromkeys(having.values(), "number"),
    }
    related = await relations.relations(database, [(viewer_id, user_id) for user_id in found if user_id != viewer_id])
    return LookedUp(
        users=[
            (user, SELF)
            if user_id == viewer_id
            else (user, replace(related.get((viewer_id, user_id), STRANGER), found_by=ways.get(user_id)))
            for user_id, user in sorted(found.items())
        ],
        by_number=[None if number is None else _among(having.get(number), found) for number in given_numbers],
        by_name=[
            None if name is None or username_key(name) not in named else named[username_key(name)].user_id
            for name in given_names
        ],
        errors=errors,
    )


def _checked(
    texts: Sequence[str], path: str, check: Callable[[str, str], T], errors: list[FieldError]
) -> list[T | None]:
    """Return what each text means; None where it means nothing, and then its error is added to `errors`."""
    meant: list[T | None] = []
    for place, text in enumerate(texts):
        try:
            meant.append(check(text, f"{path}[{place}]"))
        except ValidationFailed as error:
            meant.append(None)
            errors += error.errors
    return meant


def _among(user_id: int | None, found: dict[int, User]) -> int | None:
    """Return the id unless the account was deleted meanwhile."""
    return user_id if user_id in found else None
