"""Devices: authentication of tokens, the list of devices and their revocation, and one-use tickets for WebSockets.

A server looks a token up at most every AUTHENTICATION_SECONDS: a revoked token is rejected at once where its hint
arrives (`end`), and after that time where the hint was lost. A call that waited checks its device again before it
answers (`check_signed_in`).
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from chatserver import checks
from chatserver.accounts.sign_in import TOKEN_BYTES, secret_hash
from chatserver.audit import audited
from chatserver.batches import Batches
from chatserver.errors import DeviceNotFound, Unauthenticated
from chatserver.storage import accounts
from chatserver.storage.audit import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from chatserver.model import Device, Principal
    from chatserver.storage.database import Database

TICKET_SECONDS: Final = 30
"""Seconds that a WebSocket ticket is valid: a page opens its socket right after it requested the ticket."""

CACHE_TOKENS: Final = 20_000
"""Tokens cached at most: twice the connections of one server, some 6 MB."""

LOOKUPS_TOGETHER: Final = 256
"""Tokens looked up by one statement: thousands of clients connect at once after a drain or a failure."""

AUTHENTICATION_SECONDS = 5.0
"""Seconds that a looked-up token is cached: a revoked one stays valid for as long if its hint was lost."""

ENDED_SECONDS = 120.0
"""Seconds that a server remembers a signed-out device: longer than a call authenticated before the sign-out needs to
register its long poll or socket, and longer than a look-up that began before the sign-out."""


class Devices:
    """Authentication of requests and sockets, with a small cache in this server.

    Args:
        database: where devices are kept.
        on_ended: called with the signed-out devices, to close their sockets and polls.
        monotonic: the clock of the cache, in seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_ended: Callable[[Collection[int]], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._on_ended = on_ended
        self._monotonic = monotonic
        self._seen: dict[bytes, tuple[Principal, float]] = {}
        self._ended: dict[int, float] = {}
        self._lookups = Batches(self._look_up, most=LOOKUPS_TOGETHER)
        self._looks = Batches(self._look_whether_alive, most=LOOKUPS_TOGETHER)
        self._used: set[int] = set()

    async def authenticate(self, token: str) -> Principal:
        """Return whose token this is.

        Raises:
            Unauthenticated: unknown, expired or revoked.
            ServiceUnavailable: the database is unavailable and the token was not seen within AUTHENTICATION_SECONDS.
        """
        now = self._monotonic()
        token_hash = secret_hash(token)
        principal, until = self._seen.get(token_hash, (None, 0.0))
        if principal is None or now >= until:
            principal = await self._lookups.submit(token_hash)
            # A hint of its sign-out may have arrived during the look-up.
            if principal is None or self.is_ended(principal.device_id):
                self._seen.pop(token_hash, None)
                raise Unauthenticated
            if len(self._seen) >= CACHE_TOKENS:
                self._seen.clear()
            self._seen[token_hash] = (principal, now + AUTHENTICATION_SECONDS)
        self._used.add(principal.device_id)
        return principal

    async def _look_up(self, token_hashes: Sequence[bytes]) -> list[Principal | None]:
        found = await accounts.devices_by_tokens(self._database, token_hashes)
        return [found.get(token_hash) for token_hash in token_hashes]

    def is_ended(self, device_id: int) -> bool:
        """Return whether this server knows that a device was signed out within the last ENDED_SECONDS."""
        return device_id in self._ended

    async def check_signed_in(self, device_id: int) -> None:
        """Check again that the device of a call that waited is signed in; concurrent checks share one statement.

        Raises:
            Unauthenticated: it was signed out, or its session expired, before this call.
            ServiceUnavailable: the database is unavailable.
        """
        if self.is_ended(device_id) or not await self._looks.submit(device_id):
            raise Unauthenticated

    async def _look_whether_alive(self, device_ids: Sequence[int]) -> list[bool]:
        alive = await accounts.living_devices(self._database, list(set(device_ids)))
        return [device_id in alive for device_id in device_ids]

    async def list_devices(self, user_id: int) -> list[Device]:
        """Return the user's signed-in devices, the newest first."""
        return await accounts.devices_of(self._database, user_id)

    async def revoke(self, user_id: int, device_id: int, *, by_device_id: int | None = None) -> None:
        """Sign out a device and notify all servers; doing it again changes nothing.

        Args:
            user_id: whose device it is.
            device_id: the device.
            by_device_id: the device that requests it, for the audit log.

        Raises:
            DeviceNotFound: the user never had such a device.
        """
        if not checks.is_id(device_id):
            raise DeviceNotFound
        async with audited(self._database) as (connection, trail):
            if await accounts.revoke_device(connection, user_id, device_id):
                trail.announcement.revoked([device_id])
                action = "signed_out" if by_device_id == device_id else "device_revoked"
                detail = {} if by_device_id in {None, device_id} else {"by_device_id": by_device_id}
                await trail.add(AuditEvent(action=action, user_id=user_id, device_id=device_id, detail=detail))
            elif not await accounts.has_device(connection, user_id, device_id):
                raise DeviceNotFound
        self.end([device_id])

    def end(self, device_ids: Collection[int]) -> None:
        """Reject devices that were signed out, and close their sockets and polls; call it for `Hint.revoked`."""
        if not device_ids:
            return
        now = self._monotonic()
        self._ended = {device_id: at for device_id, at in self._ended.items() if now - at < ENDED_SECONDS}
        self._ended.update(dict.fromkeys(device_ids, now))
        self.forget(device_ids)
        if self._on_ended is not None:
            self._on_ended(device_ids)

    def forget(self, device_ids: Iterable[int]) -> None:
        """Remove the tokens of devices from the cache."""
        gone = set(device_ids)
        self._seen = {key: entry for key, entry in self._seen.items() if entry[0].device_id not in gone}

    async def end_revoked(self, device_ids: Collection[int]) -> None:
        """End the sessions of devices that expired, or that were signed out by a hint that was lost.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        if device_ids:
            self.end(set(device_ids) - await accounts.living_devices(self._database, list(device_ids)))

    async def issue_ticket(self, principal: Principal) -> str:
        """Return a ticket that opens one WebSocket within 30 seconds, for pages that cannot set headers."""
        ticket = secrets.token_urlsafe(TOKEN_BYTES)
        await accounts.store_ticket(self._database, secret_hash(ticket), principal.device_id, TICKET_SECONDS)
        return ticket

    async def redeem_ticket(self, ticket: str) -> Principal:
        """Return whose ticket this is; it cannot be used again.

        Raises:
            Unauthenticated: unknown, expired, used, or its device was revoked.
        """
        principal = await accounts.use_ticket(self._database, secret_hash(ticket))
        if principal is None:
            raise Unauthenticated(
                "The ticket is unknown, used or older than 30 seconds. Get a new one with POST /api/ws-ticket."
            )
        self._used.add(principal.device_id)
        return principal

    async def flush_used(self) -> None:
        """Store when the devices seen since the last call were used, in one statement; meant for once a minute.

        Raises:
            ServiceUnavailable: the database is unavailable; the next call writes them.
        """
        used = list(self._used)
        if used:
            await accounts.touch_devices(self._database, used)
            self._used.difference_update(used)
