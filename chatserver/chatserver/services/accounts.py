"""Sign-in: codes that prove a phone number, and the sessions made from them."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from typing import TYPE_CHECKING, Final

from chatserver import fields
from chatserver.errors import InvalidCode, RateLimited
from chatserver.model import CodeRequest, Session
from chatserver.services import checks
from chatserver.services.addresses import address_subject
from chatserver.services.audit import audited, mask_phone_number
from chatserver.services.senders import CodeMessage, LogSender
from chatserver.storage import accounts, codes
from chatserver.storage.audit import AuditEvent
from chatserver.storage.database import StatementFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.services.senders import Sender
    from chatserver.storage.database import Connection, Database

CODE_SECONDS: Final = 300
"""Seconds a code is good: time to read a text message, too short to try many."""

CODE_TRIES: Final = 5
"""Tries at one code: with 10^6 codes a guess succeeds once in 200,000 codes."""

RESEND_SECONDS: Final = 30
"""Seconds until an unused code may be followed by another: a text message mostly takes less."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token: 256 bits."""


class Accounts:
    """Codes and sign-ins.

    Args:
        database: where they are kept.
        secret_key: HMAC key for codes; the same on all servers.
        codes_per_address_per_hour: codes one client address may ask for.
        codes_per_number_per_hour: codes one phone number may be sent while nobody uses them.
        session_days: how long a token lives.
        sender: takes codes to people; without one they are only in the answers.
        on_refused: told ``codes`` at each refusal, for metrics.
    """

    def __init__(
        self,
        database: Database,
        *,
        secret_key: bytes,
        codes_per_address_per_hour: int = 1000,
        codes_per_number_per_hour: int = 5,
        session_days: int = 90,
        sender: Sender | None = None,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._secret_key = secret_key
        self._codes_per_address_per_hour = codes_per_address_per_hour
        self._codes_per_number_per_hour = codes_per_number_per_hour
        self._session_days = session_days
        self._sender: Sender = LogSender() if sender is None else sender
        self._on_refused = on_refused

    @property
    def reveals_codes(self) -> bool:
        """Whether the answer to who asks for a code shows it: development only."""
        return self._sender.reveals_codes

    async def request_code(self, phone_number: str, address: str) -> CodeRequest:
        """Make a code for a phone number and store its HMAC; a newer code replaces an older one.

        Says nothing about whether the number has an account. What is refused counts for nothing.

        Args:
            phone_number: as the client wrote it.
            address: the client's address (IPv6 counts by its /64).

        Returns:
            The code, which is on its way to its owner; nobody else may see it unless `reveals_codes`.

        Raises:
            ValidationFailed: not a possible phone number.
            RateLimited: the number's last code is too young, or too many were made this hour for the number or from
                the address; with retry_after_seconds.
            ServiceUnavailable: the database is away, or too many codes wait for the sender.
        """
        number = checks.check_phone_number(phone_number, "phone_number")
        code = f"{secrets.randbelow(1_000_000):06d}"
        with self._sender.reserve() as send:
            async with self._database.transaction() as connection:
                await self._admit(connection, number, address, self._code_hmac(number, code))
            send(CodeMessage(number, code, CODE_SECONDS))
        return CodeRequest(number, code, CODE_SECONDS)

    async def _admit(self, connection: Connection, number: str, address: str, code_hmac: bytes) -> None:
        """Store a code unless the number or the address is over its limits.

        Raises:
            RateLimited: it is; the transaction must not be committed.
        """
        stored = await codes.store_code(connection, number, code_hmac, seconds=CODE_SECONDS, tries=CODE_TRIES)
        wait_seconds = resend_wait_seconds(stored.sends - 1, stored.previous_age_seconds)
        if wait_seconds > 0:
            raise self._refused("A code for this number was just sent; use it, or wait.", wait_seconds)
        subjects = [codes.address_key(address_subject(address)), codes.number_key(number)]
        limits = (self._codes_per_address_per_hour, self._codes_per_number_per_hour)
        for hour, limit in zip(await codes.count_codes(connection, subjects), limits, strict=True):
            if hour.events > limit:
                raise self._refused("Too many codes were requested this hour.", hour.seconds_left)

    async def create_session(
        self,
        phone_number: str,
        code: str,
        *,
        device_name: str | None = None,
        username: str | None = None,
        address: str = "",
    ) -> Session:
        """Trade a code for a token; make the account at the first sign-in.

        A wrong username or one that is taken leaves the code usable. A given username becomes the account's. The
        client's address is for the audit log.

        Raises:
            ValidationFailed: a field is malformed. UsernameTaken: another account has this username.
            InvalidCode: wrong, expired, used or tried five times.
            ServiceUnavailable: the database is away.
        """
        number = checks.check_phone_number(phone_number, "phone_number")
        name = None if device_name is None else checks.check_name(device_name, "device_name")
        wanted = None if username is None else checks.check_username(username, "username")
        given = self._code_hmac(number, code if fields.CODE.fullmatch(code) else "")
        stored = await self._check_code(number, given, address)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        sign_in = accounts.SignIn(
            phone_number=number,
            code_hmac=stored,
            token_hash=secret_hash(token),
            device_name=name,
            username=wanted,
            username_key=None if wanted is None else checks.username_key(wanted),
            session_days=self._session_days,
        )
        try:
            async with audited(self._database) as (connection, trail):
                signed_in = await accounts.sign_in(connection, sign_in)
                if signed_in is None:
                    raise InvalidCode
                user, device_id = signed_in
                seen = _seen(number, address)
                await trail.add(AuditEvent(action="signed_in", user_id=user.user_id, device_id=device_id, detail=seen))
        except StatementFailed as error:
            raise accounts.username_taken(error) from error
        return Session(token, device_id, user)

    async def _check_code(self, number: str, given: bytes, address: str) -> bytes:
        """Count a try; returns the code's HMAC, which is the given one.

        Raises:
            InvalidCode: there is no such code, or no try left.
        """
        async with audited(self._database) as (connection, trail):
            stored = await codes.try_code(connection, number)
            good = stored is not None and hmac.compare_digest(stored, given)
            if stored is not None and not good:
                # Not the tries at numbers without a code: of those anybody can make as many as they like.
                await trail.add(AuditEvent(action="code_refused", detail=_seen(number, address)))
        if stored is None or not good:
            raise InvalidCode
        return stored

    def _refused(self, detail: str, wait_seconds: float) -> RateLimited:
        self._on_refused("codes")
        return RateLimited(detail, retry_after_seconds=max(1, math.ceil(wait_seconds)))

    def _code_hmac(self, phone_number: str, code: str) -> bytes:
        # With the number, or a code could be moved from one row of the database to another.
        return hmac.digest(self._secret_key, f"{phone_number}:{code}".encode(), "sha256")


def _seen(phone_number: str, address: str) -> dict[str, str]:
    """Return what the audit log holds of who signs in or tries to."""
    return {"phone_number": mask_phone_number(phone_number), "address": address or "unknown"}


def resend_wait_seconds(unused: int, age_seconds: float) -> float:
    """Return how long to wait until another code may be sent to a number; 0 or less: it may be now.

    The waits double from RESEND_SECONDS with each code that is not used, up to the life of a code: one that is older
    holds nothing up.

    Args:
        unused: codes in a row that were sent and not used, while the last one is still good.
        age_seconds: since the last of them.

    Example:
        >>> [resend_wait_seconds(unused, 10) for unused in (0, 1, 2, 3, 9)]
        [0, 20, 50, 110, 290]
    """
    if unused <= 0:
        return 0
    return min(RESEND_SECONDS * 2.0 ** (unused - 1), CODE_SECONDS) - age_seconds


def secret_hash(secret: str) -> bytes:
    """Return the hash under which a random secret (token, ticket) is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
