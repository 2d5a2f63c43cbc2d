"""Devices: who a token belongs to, listing and revoking them, and one-use tickets for WebSockets.

A token is looked up at most every AUTHENTICATION_SECONDS per server: a revoked one dies at once where its hint
arrives (`forget`), and after that time where the hint was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.model import Device, Principal
    from chatserver.storage.database import Database

AUTHENTICATION_SECONDS = 5.0
"""Seconds a looked-up token is believed: the longest a revoked one can live on when its hint was lost."""


class Devices:
    """Authentication of requests and sockets, with a small cache in this server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, token: str) -> Principal:
        """Return whose token this is.

        Raises:
            Unauthenticated: unknown, expired or revoked.
            ServiceUnavailable: the database is away and the token was not seen within AUTHENTICATION_SECONDS.
        """
        raise NotImplementedError

    async def list_devices(self, user_id: int) -> list[Device]:
        """Return the user's signed-in devices, the newest first."""
        raise NotImplementedError

    async def revoke(self, user_id: int, device_id: int) -> None:
        """End a device's session (also for logging out), and tell all servers so that its sockets close.

        Raises:
            DeviceNotFound: the user has no such device.
        """
        raise NotImplementedError

    def forget(self, device_ids: Iterable[int]) -> None:
        """Drop revoked devices from this server's cache; call it for `Hint.revoked`."""
        raise NotImplementedError

    async def revoked_among(self, device_ids: Sequence[int]) -> set[int]:
        """Return those of the devices whose session is over, for sockets whose hint may have been lost."""
        raise NotImplementedError

    async def issue_ticket(self, principal: Principal) -> str:
        """Return a ticket that opens one WebSocket within 30 seconds, for pages that cannot set headers."""
        raise NotImplementedError

    async def redeem_ticket(self, ticket: str) -> Principal:
        """Use a ticket up.

        Raises:
            Unauthenticated: unknown, expired, used, or its device was revoked.
        """
        raise NotImplementedError
