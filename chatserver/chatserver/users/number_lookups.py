"""Look-ups by phone number, within what a user and an address may look up in a day.

Whoever looks up enough numbers learns which have accounts, so every call that takes a number of another user passes
here first. The allowances are in the database: the same on all servers, and not refilled by a restart.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chatserver.errors import RateLimited
from chatserver.limits.addresses import site_subject
from chatserver.storage import number_lookups
from chatserver.times import DAY_SECONDS
from chatserver.users.phone_numbers import PhoneNumber

if TYPE_CHECKING:
    from chatserver.storage.database import Database

TOO_MANY: Final = "You looked up too many phone numbers. Wait before you look up more, or look up fewer at once."

Admit = Callable[[Sequence[PhoneNumber]], Awaitable[None]]
"""Counts numbers that a caller is about to look up; raises RateLimited before anything is looked up."""


@dataclass(frozen=True, slots=True)
class NumberLimits:
    """How many numbers may be looked up in a day, those aside that the user found before; 0: no limit.

    Attributes:
        per_user: by one user.
        per_address: by all users of one IPv4 address or IPv6 /48.
    """

    per_user: int
    per_address: int


class NumberLookups:
    """Look-ups by phone number.

    Args:
        database: where accounts and allowances are.
        limits: of numbers.
        on_refused: called with ``numbers`` at each rejection, for metrics.
    """

    def __init__(self, database: Database, limits: NumberLimits, *, on_refused: Callable[[str], None]) -> None:
        self._database = database
        self._limits = limits
        self._on_refused = on_refused

    def admitting(self, user_id: int, address: str) -> Admit:
        """Return what counts the numbers that a user looks up from an address."""

        async def admit(numbers: Sequence[PhoneNumber]) -> None:
            if numbers and (self._limits.per_user or self._limits.per_address):
                await self.find(user_id, address, numbers)

        return admit

    async def find(self, user_id: int, address: str, numbers: Sequence[PhoneNumber]) -> dict[PhoneNumber, int]:
        """Return {number: user_id} of those that have an account, and count those that the user has not found before.

        Raises:
            RateLimited: the user or the address has looked up too many; nothing was looked up or counted.
            ServiceUnavailable: the database is unavailable.
        """
        async with self._database.transaction() as connection:
            spellings = [spelling for number in numbers for spelling in number.stored]
            accounts = {
                found.phone_number: found for found in await number_lookups.find(connection, user_id, spellings)
            }
            # The written spelling first: where two accounts exist, it identifies one of them.
            found = {
                number: next(accounts[spelling] for spelling in number.stored if spelling in accounts)
                for number in numbers
                if not accounts.keys().isdisjoint(number.stored)
            }
            counted = {number.number for number in numbers if number not in found or not found[number].known}
            for subject, limit in (
                (f"user:{user_id}", self._limits.per_user),
                (f"address:{site_subject(address)}", self._limits.per_address),
            ):
                if not limit or not counted:
                    continue
                seconds = min(len(counted) * DAY_SECONDS / limit, DAY_SECONDS)
                wait_seconds = await number_lookups.take(connection, subject, seconds, DAY_SECONDS)
                if wait_seconds:
                    # What was taken from the other allowance is rolled back.
                    self._on_refused("numbers")
                    raise RateLimited(TOO_MANY, retry_after_seconds=math.ceil(wait_seconds))
            new = sorted({each.user_id for each in found.values() if not each.known})
            if new:
                await number_lookups.remember(connection, user_id, new)
        return {number: each.user_id for number, each in found.items()}
