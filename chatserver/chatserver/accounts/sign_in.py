"""Sign-in: codes that prove the possession of a phone number, and the sessions created with them."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from typing import TYPE_CHECKING, Final

from chatserver import bounds
from chatserver.accounts import notices
from chatserver.accounts.code_limits import (
    CODE_SECONDS,
    CODE_TRIES,
    KNOWN_ADDRESSES_MAX,
    check_calling_code,
    is_known,
    is_number_wide,
    request_counters,
    resend_wait_seconds,
    sites_of,
    try_counters,
)
from chatserver.accounts.code_senders import CodeMessage, LogSender
from chatserver.accounts.device_limit import end_surplus_devices
from chatserver.accounts.pins import Pins, check_digits, settle
from chatserver.audit import audited, mask_phone_number
from chatserver.errors import InvalidCode, RateLimited
from chatserver.events import SignInCodeRefusedDetail, SignInSignedInDetail
from chatserver.limits.addresses import address_subject
from chatserver.model import CodeRequest, SignIn
from chatserver.storage import accounts, codes
from chatserver.storage.announcing import announced
from chatserver.storage.audit import AuditEvent
from chatserver.storage.outages import StatementFailed
from chatserver.users.names import check_known_username, check_name
from chatserver.users.phone_numbers import check_phone_number
from chatserver.users.usernames import claim
from chatserver.users.users import account_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.accounts.code_limits import CodeLimits
    from chatserver.accounts.code_senders import Sender
    from chatserver.accounts.pins import PassedPin
    from chatserver.model import User
    from chatserver.storage.codes import Count, Counter, TriedCode
    from chatserver.storage.database import Connection, Database
    from chatserver.users.phone_numbers import PhoneNumber

SENDS_MAX: Final = 1000
"""Highest count of consecutive unused codes: the waits stop growing long before."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token: 256 bits."""

CODE_ID_BYTES: Final = 16
"""Random bytes of a code_id: 128 bits, valid for minutes."""


class _ChangedMeanwhileError(Exception):
    """What a sign-in has found out before is not so any more: it is rolled back and made again."""


class Accounts:
    """Codes and sign-ins.

    Args:
        database: where they are kept.
        secret_key: HMAC key for codes; the same on all servers.
        limits: how many codes may be requested.
        session_days: days until a token expires.
        sender: sends codes to phone numbers; None: codes are only in the answers.
        on_refused: called with ``codes``, ``tries`` or ``pins`` at each rejection, for metrics.

    Attributes:
        pins: of the accounts.
    """

    def __init__(
        self,
        database: Database,
        *,
        secret_key: bytes,
        limits: CodeLimits,
        session_days: int = 90,
        sender: Sender | None = None,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._secret_key = secret_key
        self._limits = limits
        self.pins = Pins(database, secret_key=secret_key, on_refused=on_refused)
        self._session_days = session_days
        self._sender: Sender = LogSender() if sender is None else sender
        self._on_refused = on_refused

    @property
    def reveals_codes(self) -> bool:
        """Whether the answer to a request for a code contains the code: development only."""
        return self._sender.reveals_codes

    async def request_code(self, phone_number: str, address: str) -> CodeRequest:
        """Create a code for a phone number and store its HMAC; other codes of the number stay valid.

        Does not reveal whether the number has an account. Rejected requests are not counted.

        Args:
            phone_number: as the client wrote it.
            address: the client's address.

        Returns:
            The code, which is sent to the number and may be in the answer only if `reveals_codes`, and the code_id,
            which only the requester gets.

        Raises:
            ValidationFailed: not a possible phone number, or its calling code may not sign in here.
            RateLimited: the address requested a code for the number shortly before, or too many were requested this
                hour; with retry_after_seconds.
            ServiceUnavailable: the database is unavailable, or too many codes wait for the sender.
        """
        dialled, number = await self.dialled(phone_number)
        code, code_id = f"{secrets.randbelow(1_000_000):06d}", secrets.token_urlsafe(CODE_ID_BYTES)
        with self._sender.reserve() as send:
            async with self._database.transaction() as connection:
                sends = await self._admit(connection, number, address)
                new = codes.NewCode(
                    phone_number=number,
                    address=address_subject(address),
                    secret_hash=secret_hash(code_id),
                    code_hmac=self._code_hmac(number, code),
                    seconds=CODE_SECONDS,
                    tries=CODE_TRIES,
                    sends=sends,
                )
                await codes.store_code(connection, new)
            # To the number in its current form: messages to a retired form do not arrive.
            send(CodeMessage(dialled.number, code, CODE_SECONDS))
        return CodeRequest(number, code, CODE_SECONDS, code_id)

    async def dialled(self, phone_number: str) -> tuple[PhoneNumber, str]:
        """Return a number that may sign in here, and the form under which its account is stored.

        Raises:
            ValidationFailed: not a possible phone number, or its calling code may not sign in here.
        """
        dialled = check_phone_number(phone_number, "phone_number")
        check_calling_code(self._limits, dialled.number)
        return dialled, await account_number(self._database, dialled)

    async def _admit(self, connection: Connection, number: str, address: str) -> int:
        """Count a request; returns how many consecutive codes the address has requested without using one.

        Raises:
            RateLimited: a limit is exceeded; the transaction must not be committed.
        """
        counters = request_counters(self._limits, number, address)
        # Counted first: a concurrent request for the same number from the same address waits here.
        counts = await codes.count(connection, counters, 1)
        last = await codes.last_unused(connection, number, address_subject(address))
        sends = 0 if last is None else last.sends
        wait_seconds = 0 if last is None else resend_wait_seconds(sends, last.age_seconds)
        if wait_seconds > 0:
            raise self._refused(
                "codes",
                "A code was just sent to this number. Use it, or wait before you request another.",
                wait_seconds,
            )
        over = [(c, n) for c, n in zip(counters, counts, strict=True) if n.events > c.limit]
        await self._check_counts(
            connection, over, address, "codes", "Too many codes were requested this hour. Request one later."
        )
        return min(sends + 1, SENDS_MAX)

    async def _check_counts(
        self, connection: Connection, over: list[tuple[Counter, Count]], address: str, kind: str, detail: str
    ) -> None:
        """Reject what exceeds a limit; requests of others never limit an address from which the number has signed in.

        Raises:
            RateLimited: a limit is exceeded; the transaction must not be committed.
        """
        if not over:
            return
        if all(is_number_wide(counter) for counter, _ in over):
            number = over[0][0].phone_number
            if is_known(address, await codes.signed_in_addresses(connection, number, KNOWN_ADDRESSES_MAX)):
                return
        raise self._refused(kind, detail, max(counted.seconds_left for _, counted in over))

    async def create_session(
        self,
        phone_number: str,
        code: str,
        *,
        device_name: str | None = None,
        username: str | None = None,
        code_id: str | None = None,
        pin: str | None = None,
        address: str = "",
    ) -> SignIn:
        """Exchange a code for a token; the first sign-in of a number creates its account.

        An invalid or taken username leaves the code valid. A given username becomes the account's.

        Args:
            phone_number: as the client wrote it.
            code: six digits.
            device_name: shown in the list of devices.
            username: the account's new username.
            code_id: of the request for the code; None: the last request from the same address.
            pin: the account's PIN, if it has one.
            address: the client's address.

        Raises:
            ValidationFailed: a field is malformed. UsernameTaken: another account has this username.
            InvalidCode: wrong, expired, already used or tried five times.
            PinRequired, InvalidPin: the account has a PIN, and none or another one is given; the code stays valid.
            RateLimited: too many wrong codes for the number or from the address.
            ServiceUnavailable: the database is unavailable.
        """
        dialled = check_phone_number(phone_number, "phone_number")
        name = None if device_name is None else check_name(device_name, "device_name")
        if username is not None:
            check_known_username(username, "username")
        check_digits("pin", pin)
        number = await account_number(self._database, dialled)
        tried = await self.try_code(number, code, code_id, address)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        sign_in = accounts.NewSignIn(
            phone_number=number,
            sites=sites_of(tried.address, address),
            request_id=tried.request_id,
            token_hash=secret_hash(token),
            device_name=name,
            session_days=self._session_days,
        )
        while True:
            try:
                passed = await self.pins.check_sign_in(number, pin, address)
                user, device_id = await self._sign_in(sign_in, username, address, passed)
            except _ChangedMeanwhileError:
                continue
            except StatementFailed as error:
                raise accounts.username_taken(error) from error
            return SignIn(token, device_id, user)

    async def _sign_in(
        self, sign_in: accounts.NewSignIn, username: str | None, address: str, passed: PassedPin
    ) -> tuple[User, int]:
        """Use up the code and add the device; the user's other devices are notified by a row.

        Raises:
            _ChangedMeanwhileError: the PIN is another one than was checked, or another device signed in since the
                look for them; nothing was done.
            ChatError, StatementFailed: as of `create_session`.
        """
        number = sign_in.phone_number
        async with audited(self._database, repeatable=False) as (connection, trail):
            own_chat = await notices.lock_by_number(connection, trail.announcement, number)
            claimed = None
            if username is not None:
                claimed = await claim(connection, username, "username", phone_number=number)
            signed_in = await accounts.sign_in(connection, sign_in, claimed)
            if signed_in is None:
                raise InvalidCode
            user, device_id = signed_in
            if not await settle(connection, trail, passed, user.user_id, device_id):
                raise _ChangedMeanwhileError
            seen = seen_as(number, address)
            await trail.add(AuditEvent(action="signed_in", user_id=user.user_id, device_id=device_id, detail=seen))
            await end_surplus_devices(connection, trail, user.user_id)
            if own_chat is not None and own_chat.user_id == user.user_id:
                await notices.add(connection, trail.announcement, own_chat, SignInSignedInDetail(device_id=device_id))
            elif await accounts.has_other_devices(connection, user.user_id, device_id):
                # Their own chat is locked before the user, so that it is too late for that here.
                raise _ChangedMeanwhileError
            return user, device_id

    async def try_code(self, number: str, code: str, code_id: str | None, address: str) -> TriedCode:
        """Count a try; returns the stored code, which is the given one.

        Args:
            number: as it is stored.
            code: six digits, or something else, which is wrong.
            code_id: of the request for the code; None: the last request from the same address.
            address: the client's address.

        Raises:
            InvalidCode: no such code, or no tries left. RateLimited: too many wrong tries before.
        """
        given = self._code_hmac(number, code if bounds.CODE.fullmatch(code) else "")
        counters = try_counters(self._limits, number, address, with_secret=code_id is not None)
        async with audited(self._database, repeatable=False) as (connection, trail):
            if code_id is None:
                tried = await codes.try_by_address(connection, number, address_subject(address))
            else:
                tried = await codes.try_by_secret(connection, number, secret_hash(code_id))
            good = tried is not None and hmac.compare_digest(tried.code_hmac, given)
            if tried is not None:
                # Before the answer depends on the code: a try above the limit must reveal nothing.
                counts = await codes.count(connection, counters, 0 if good else 1)
                over = [(c, n) for c, n in zip(counters, counts, strict=True) if n.events + good > c.limit]
                await self._check_counts(
                    connection, over, address, "tries", "Too many wrong codes were tried. Try again later."
                )
                if not good:
                    # Tries at numbers without a code are not recorded: anybody can make any number of them.
                    await trail.add(AuditEvent(action="code_refused", detail=seen_as(number, address)))
        if tried is None:
            raise InvalidCode
        if not good:
            if tried.tries_left == CODE_TRIES - 1:
                await self._notify_of_wrong_codes(number)
            raise InvalidCode
        return tried

    async def _notify_of_wrong_codes(self, number: str) -> None:
        """Notify the devices of a number's account, once per code; after the try, because this takes earlier locks."""
        async with announced(self._database, repeatable=False) as (connection, announcement):
            own_chat = await notices.lock_by_number(connection, announcement, number)
            if own_chat is not None:
                await notices.add(connection, announcement, own_chat, SignInCodeRefusedDetail())

    def _refused(self, kind: str, detail: str, wait_seconds: float) -> RateLimited:
        self._on_refused(kind)
        return RateLimited(detail, retry_after_seconds=max(1, math.ceil(wait_seconds)))

    def _code_hmac(self, phone_number: str, code: str) -> bytes:
        # With the number, or a code could be moved from one row of the database to another.
        return hmac.digest(self._secret_key, f"{phone_number}:{code}".encode(), "sha256")


def seen_as(phone_number: str, address: str) -> dict[str, str]:
    """Return the details of a sign-in or a try for the audit log."""
    return {"phone_number": mask_phone_number(phone_number), "address": address or "unknown"}


def secret_hash(secret: str) -> bytes:
    """Return the hash under which a random secret (token, ticket) is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
