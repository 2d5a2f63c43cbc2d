"""Sign-in: codes that prove a phone number, and the sessions made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.model import CodeRequest, Session
    from chatserver.storage.database import Database


class Accounts:
    """Codes and sign-ins.

    Args:
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
        raise NotImplementedError

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
        raise NotImplementedError
