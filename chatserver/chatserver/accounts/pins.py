"""The PIN that a user may require for sign-ins beside the code, which whoever gets their number would get too.

docs/decisions/0088 gives the reasons.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from chatserver import bounds
from chatserver.accounts import notices
from chatserver.audit import audited
from chatserver.errors import InvalidPin, PinRequired, RateLimited, ServiceUnavailable, ValidationFailed
from chatserver.events import SignInPinRefusedDetail, SignInPinRemovedDetail, SignInPinSetDetail
from chatserver.storage import pins
from chatserver.storage.audit import AuditEvent
from chatserver.storage.pins import StoredPin

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.audit import Trail
    from chatserver.model import Principal
    from chatserver.storage.database import Connection, Database

# OWASP's Password Storage Cheat Sheet, of its equal choices the one with the least memory: 16 MiB, some 0.3 s of CPU.
SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 5
SCRYPT_MAX_BYTES: Final = 32 * 2**20

SALT_BYTES: Final = 16

HASHES_WAITING: Final = 30
"""Hashes that wait while one is computed: some ten seconds, after which clients give up."""

FREE_TRIES: Final = 3
"""Wrong tries in a row before the first wait: a typing error costs nothing."""

FIRST_WAIT_SECONDS: Final = 60
WAIT_FACTOR: Final = 4
LONGEST_WAIT_SECONDS: Final = 86_400
"""The waits grow up to a day: whoever has codes has 365 tries a year at a million PINs, and locks nobody out."""

FORGOTTEN_SECONDS: Final = 7 * 86_400
"""After so long without a device in use the code alone signs in: its owner has neither device nor PIN any more."""


def check_digits(path: str, pin: str | None) -> None:
    """Refuse what cannot be a PIN, also where there is none to compare it with.

    Raises:
        ValidationFailed: not six to twelve digits.
    """
    if pin is not None and not bounds.PIN.fullmatch(pin):
        raise ValidationFailed.of(path, "must be six to twelve digits, such as 482915, or null for none")


def wait_seconds(wrong: int) -> int:
    """Return the wait after so many wrong tries in a row.

    Example:
        >>> [wait_seconds(wrong) for wrong in (1, 2, 3, 4, 5, 8, 99)]
        [0, 0, 60, 240, 960, 61440, 86400]
    """
    if wrong < FREE_TRIES:
        return 0
    steps = min(wrong - FREE_TRIES, LONGEST_WAIT_SECONDS.bit_length())
    return min(FIRST_WAIT_SECONDS * int(WAIT_FACTOR**steps), LONGEST_WAIT_SECONDS)


class _AlreadySetError(Exception):
    """The PIN is the one that it is to become."""


class PassedPin(msgspec.Struct, frozen=True):
    """The hash of the PIN that a sign-in has passed; None: none is needed, or it is forgotten."""

    pin_hash: bytes | None
    is_forgotten: bool = False


async def settle(connection: Connection, trail: Trail, passed: PassedPin, user_id: int, device_id: int) -> bool:
    """Remove a forgotten PIN, in the transaction of a sign-in; returns False if the PIN was changed since its check."""
    if not passed.is_forgotten:
        return await pins.pin_hash_of(connection, user_id) == passed.pin_hash
    if await pins.remove_pin(connection, user_id):
        detail = {"reason": "forgotten"}
        await trail.add(AuditEvent(action="pin_removed", user_id=user_id, device_id=device_id, detail=detail))
    return True


class Pins:
    """The users' PINs.

    Args:
        database: where they are kept.
        secret_key: of the chat: what is stored is of no use without it.
        on_refused: called with ``pins`` at each rejection, for metrics.
    """

    def __init__(
        self, database: Database, *, secret_key: bytes, on_refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._database = database
        self._secret_key = secret_key
        self._on_refused = on_refused
        self._hashing = asyncio.Semaphore(1)
        self._waiting = 0

    async def check(
        self, user_id: int, pin: str | None, *, new_pin: str | None = None, address: str = ""
    ) -> bytes | None:
        """Check the PIN of a user who may have one; returns the hash of the stored one, None: there is none.

        A try is counted as wrong before it is known: tries at once have no more of them than tries in a row.

        Args:
            user_id: whose PIN.
            pin: what they say it is.
            new_pin: what they change it to, which may be done already.
            address: the client's address.

        Raises:
            _AlreadySetError: it is the new one.
            PinRequired: they have one, and none is given. InvalidPin: it is wrong.
            RateLimited: too many were wrong; nothing was compared.
            ServiceUnavailable: the database is unavailable, or too many PINs are being checked.
        """
        async with self._database.transaction() as connection:
            stored = await pins.lock_pin(connection, user_id)
            if stored is None:
                return None
            if pin is None and new_pin is None:
                raise PinRequired
            if stored.wait_seconds > 0:
                self._on_refused("pins")
                raise RateLimited(
                    "Too many wrong PINs were tried. Try again later.",
                    retry_after_seconds=math.ceil(stored.wait_seconds),
                )
            await pins.count_try(connection, user_id, wait_seconds(stored.wrong + 1))
        if await self._is_stored(pin, stored):
            await pins.forget_tries(self._database, user_id, stored.pin_hash)
            return stored.pin_hash
        if new_pin != pin and await self._is_stored(new_pin, stored):
            await pins.forget_tries(self._database, user_id, stored.pin_hash)
            raise _AlreadySetError
        if pin is None:
            raise PinRequired
        await self._notify_of_wrong_pin(user_id, address)
        raise InvalidPin

    async def check_sign_in(self, phone_number: str, pin: str | None, address: str) -> PassedPin:
        """Check the PIN of a number's account; nobody needs one whose devices were unused for FORGOTTEN_SECONDS.

        Raises:
            PinRequired, InvalidPin, RateLimited, ServiceUnavailable: as of `check`.
        """
        account = await pins.account_with_pin(self._database, phone_number)
        if account is None:
            return PassedPin(None)
        if account.idle_seconds >= FORGOTTEN_SECONDS:
            return PassedPin(None, is_forgotten=True)
        return PassedPin(await self.check(account.user_id, pin, address=address))

    async def _is_stored(self, pin: str | None, stored: StoredPin) -> bool:
        return pin is not None and hmac.compare_digest(await self._hash(pin, stored.salt), stored.pin_hash)

    async def _notify_of_wrong_pin(self, user_id: int, address: str) -> None:
        async with audited(self._database, repeatable=False) as (connection, trail):
            own_chat = await notices.lock(connection, trail.announcement, user_id)
            detail = {"address": address or "unknown"}
            await trail.add(AuditEvent(action="pin_refused", user_id=user_id, detail=detail))
            await notices.add(connection, trail.announcement, own_chat, SignInPinRefusedDetail())

    async def set_pin(self, caller: Principal, pin: str | None, *, current_pin: str | None, address: str = "") -> None:
        """Set, change or remove the caller's PIN; their devices get a row. The same again changes nothing.

        Raises:
            ValidationFailed: one of them is not six to twelve digits.
            PinRequired, InvalidPin, RateLimited, ServiceUnavailable: as of `check`, of `current_pin`.
        """
        check_digits("pin", pin)
        check_digits("current_pin", current_pin)
        while True:
            try:
                known = await self.check(caller.user_id, current_pin, new_pin=pin, address=address)
            except _AlreadySetError:
                # The answer to the same call was lost.
                return
            if pin is None and known is None:
                return
            if await self._replace(caller, pin, known):
                return

    async def _replace(self, caller: Principal, pin: str | None, known: bytes | None) -> bool:
        """Store or remove a PIN; returns False if it has been changed meanwhile."""
        new = None
        if pin is not None:
            salt = secrets.token_bytes(SALT_BYTES)
            new = StoredPin(salt, await self._hash(pin, salt))
        async with audited(self._database) as (connection, trail):
            own_chat = await notices.lock(connection, trail.announcement, caller.user_id)
            if await pins.pin_hash_of(connection, caller.user_id) != known:
                return False
            if new is None:
                await pins.remove_pin(connection, caller.user_id)
            elif not await pins.store_pin(connection, caller.user_id, new, instead_of=known):
                return False
            action = "pin_removed" if new is None else "pin_set"
            await trail.add(AuditEvent(action=action, user_id=caller.user_id, device_id=caller.device_id))
            detail = SignInPinRemovedDetail() if new is None else SignInPinSetDetail()
            await notices.add(connection, trail.announcement, own_chat, detail)
            return True

    async def _hash(self, pin: str, salt: bytes) -> bytes:
        """Return the hash of a PIN; one is computed at a time, beside the event loop.

        Raises:
            ServiceUnavailable: too many wait.
        """
        if self._waiting >= HASHES_WAITING:
            raise ServiceUnavailable("Too many PINs are being checked. Try again.")
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._scrypt, pin, salt)
        finally:
            self._waiting -= 1

    def _scrypt(self, pin: str, salt: bytes) -> bytes:
        peppered = hmac.digest(self._secret_key, b"pin:" + pin.encode(), "sha256")
        return hashlib.scrypt(
            peppered, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=SCRYPT_MAX_BYTES, dklen=32
        )
