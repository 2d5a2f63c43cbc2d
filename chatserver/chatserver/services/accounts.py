"""Sign-in: codes that prove a phone number, and the sessions made from them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
from typing import TYPE_CHECKING, Final

from chatserver import fields
from chatserver.errors import InvalidCode, RateLimited
from chatserver.model import CodeRequest, Session
from chatserver.services import checks
from chatserver.storage import accounts

if TYPE_CHECKING:
    from chatserver.storage.database import Database

CODE_SECONDS: Final = 300
"""Seconds a code is good: time to read a text message, too short to try many."""

CODE_TRIES: Final = 5
"""Tries at one code: with 10^6 codes a guess succeeds once in 200,000 codes."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token: 256 bits."""


class Accounts:
    """Codes and sign-ins.

    Args:
        database: where they are kept.
        secret_key: HMAC key for codes; the same on all servers.
        codes_per_address_per_hour: codes one client address may ask for.
        codes_per_number_per_hour: codes one phone number may be sent.
        session_days: how long a token lives.
    """

    def __init__(
        self,
        database: Database,
        *,
        secret_key: bytes,
        codes_per_address_per_hour: int = 1000,
        codes_per_number_per_hour: int = 1000,
        session_days: int = 90,
    ) -> None:
        self._database = database
        self._secret_key = secret_key
        self._codes_per_address_per_hour = codes_per_address_per_hour
        self._codes_per_number_per_hour = codes_per_number_per_hour
        self._session_days = session_days

    async def request_code(self, phone_number: str, address: str) -> CodeRequest:
        """Make a code for a phone number and store its HMAC; a newer code replaces an older one.

        Says nothing about whether the number has an account.

        Args:
            phone_number: as the client wrote it.
            address: the client's address (IPv6 counts by its /64).

        Returns:
            The code, to be handed to the sender and, unless that is `Log`, to nobody else.

        Raises:
            ValidationFailed: not a possible phone number.
            RateLimited: with retry_after_seconds.
            ServiceUnavailable: the database is away.
        """
        number = checks.check_phone_number(phone_number, "phone_number")
        limits = {
            f"address:{address_subject(address)}": self._codes_per_address_per_hour,
            f"number:{number}": self._codes_per_number_per_hour,
        }
        counted = await accounts.count_event(self._database, list(limits))
        for (events, seconds_left), limit in zip(counted, limits.values(), strict=True):
            if events > limit:
                raise RateLimited(
                    "Too many codes were requested this hour.", retry_after_seconds=max(1, math.ceil(seconds_left))
                )
        code = f"{secrets.randbelow(1_000_000):06d}"
        await accounts.store_code(
            self._database, number, self._code_hmac(number, code), seconds=CODE_SECONDS, tries=CODE_TRIES
        )
        return CodeRequest(number, code, CODE_SECONDS)

    async def create_session(
        self, phone_number: str, code: str, *, device_name: str | None = None, username: str | None = None
    ) -> Session:
        """Trade a code for a token; make the account at the first sign-in.

        A wrong username or one that is taken leaves the code usable. A given username becomes the account's.

        Raises:
            ValidationFailed: a field is malformed. UsernameTaken: another account has this username.
            InvalidCode: wrong, expired, used or tried five times.
            ServiceUnavailable: the database is away.
        """
        number = checks.check_phone_number(phone_number, "phone_number")
        name = None if device_name is None else checks.check_name(device_name, "device_name")
        wanted = None if username is None else checks.check_username(username, "username")
        stored = await accounts.try_code(self._database, number)
        given = self._code_hmac(number, code if fields.CODE.fullmatch(code) else "")
        if stored is None or not hmac.compare_digest(stored, given):
            raise InvalidCode
        token = secrets.token_urlsafe(TOKEN_BYTES)
        signed_in = await accounts.sign_in(
            self._database,
            accounts.SignIn(
                phone_number=number,
                code_hmac=stored,
                token_hash=secret_hash(token),
                device_name=name,
                username=wanted,
                username_key=None if wanted is None else checks.username_key(wanted),
                session_days=self._session_days,
            ),
        )
        if signed_in is None:
            raise InvalidCode
        user, device_id = signed_in
        return Session(token, device_id, user)

    def _code_hmac(self, phone_number: str, code: str) -> bytes:
        # With the number, or a code could be moved from one row of the database to another.
        return hmac.digest(self._secret_key, f"{phone_number}:{code}".encode(), "sha256")


def secret_hash(secret: str) -> bytes:
    """Return the hash under which a random secret (token, ticket) is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def address_subject(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
