"""One account of the probe: its connection, which is made again whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from chatcluster_client import (
    ChatClientError,
    HistoryReplaced,
    LiveClient,
    Positions,
    Problem,
    ReceiptUpdate,
    Replaced,
    SignedOut,
)
from chatserver.probe.accounts import NoAccount
from chatserver.probe.certificate import TrustUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatcluster_client import Item, RestClient
    from chatserver.probe.accounts import TokenSource
    from chatserver.probe.certificate import Trust

log = structlog.get_logger()

CONNECT_SECONDS = 10.0
"""Longest wait for a connection before an attempt has failed; the client itself continues to try."""

RETRY_SECONDS = 5.0
"""Wait before the next client, after one that has failed for good: it read a wrong token, or was signed out."""

REPLACED_SECONDS = 30.0
"""The same where another program uses the token: two probes that take it from each other do so rarely."""

ENDING_SECONDS = 0.1
"""Between looks at a client that has failed and is about to be replaced."""


class Unconnected(Exception):
    """An account has no connection.

    Attributes:
        step: `sign_in` or `connect`.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class Endpoint:
    """One account, which is connected from `run()` on.

    Args:
        number: 0 or 1.
        url: Of the chat.
        accounts: Where its token comes from.
        trust: Which server certificates to accept.
        receive: Called with each new row.
        on_connected: Called with the seconds that a client needed until it was connected.
        on_new_history: Called when the database was restored.

    Attributes:
        user_id: Of the account; 0 before the first connection.
    """

    def __init__(
        self,
        number: int,
        url: str,
        accounts: TokenSource,
        trust: Trust,
        *,
        receive: Callable[[Item], None] = lambda _: None,
        on_connected: Callable[[float], None] = lambda _: None,
        on_new_history: Callable[[], None] = lambda: None,
    ) -> None:
        self._number = number
        self._url = url
        self._accounts = accounts
        self._trust = trust
        self._receive = receive
        self._on_connected = on_connected
        self._on_new_history = on_new_history
        self._positions: Positions | None = None
        self._live: LiveClient | None = None
        self._reason = Unconnected("connect", "not connected yet")
        self._started = asyncio.Event()
        self._renew = asyncio.Event()
        self.user_id = 0

    @property
    def connected_at(self) -> float | None:
        """Since when there is a connection, in monotonic seconds; None while there is none."""
        return None if self._live is None else self._live.connected_at

    async def connected(self, seconds: float = CONNECT_SECONDS) -> LiveClient:
        """Return the client once it is connected.

        Raises:
            Unconnected: It was not in time.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._started.wait()
                    live = self._live
                    with contextlib.suppress(ChatClientError):
                        if live is not None:
                            await live.wait_connected()
                            return live
                    # It has just ended; the next one is started soon.
                    await asyncio.sleep(ENDING_SECONDS)
        except TimeoutError:
            raise self._reason from None

    def renew(self) -> None:
        """Reconnect; rows continue where they were."""
        self._live = None
        self._started.clear()
        self._renew.set()

    async def run(self) -> None:
        """Keep the account connected until cancelled."""
        while True:
            try:
                wait_seconds = await self._run_once()
            finally:
                self._live = None
                self._started.clear()
            await asyncio.sleep(wait_seconds)

    async def _run_once(self) -> float:
        """Connect and receive until it ends; returns the seconds to wait before the next connection."""
        self._renew.clear()
        try:
            self._trust.refresh()
            async with await self._accounts.open(self._number, self._url, self._trust.context) as rest:
                await self._converse(rest)
        except HistoryReplaced:
            log.warning("probe_history_replaced")
            self._positions = None
            self._on_new_history()
        except (NoAccount, TrustUnusable, ChatClientError) as error:
            reason, wait_seconds = _why(error)
            self._reason = reason
            if reason.step == "sign_in":
                self._accounts.reject(self._number)
            log.warning("probe_unconnected", account=self._number, step=reason.step, reason=str(reason))
            return wait_seconds
        return 0.0

    async def _converse(self, rest: RestClient) -> None:
        began = time.monotonic()
        if self._positions is None:
            # From now on: what an earlier run has sent is no message of this one.
            self._positions = await rest.positions()
        async with LiveClient(rest, self._positions) as live:
            self._live = live
            self._reason = Unconnected("connect", f"no connection to {self._url} yet")
            self._started.set()
            work = asyncio.create_task(self._rows(live))
            renewal = asyncio.create_task(self._renew.wait())
            try:
                await live.wait_connected()
                self.user_id = rest.user_id
                self._on_connected(time.monotonic() - began)
                log.info("probe_connected", account=self._number, to=live.server)
                await asyncio.wait((work, renewal), return_when=asyncio.FIRST_COMPLETED)
            finally:
                renewal.cancel()
                if not work.done():
                    work.cancel()
                result = (await asyncio.gather(work, return_exceptions=True))[0]
        if isinstance(result, Exception):
            raise result

    async def _rows(self, live: LiveClient) -> None:
        async for item in live.items():
            if not isinstance(item, ReceiptUpdate):
                live.positions.take(item)
                self._receive(item)


def _why(error: Exception) -> tuple[Unconnected, float]:
    """Return why there is no connection, and the seconds to wait before the next try."""
    if isinstance(error, Replaced):
        reason = "another program uses this token, such as a second probe; stop it, or give it other accounts"
        return Unconnected("connect", reason), REPLACED_SECONDS
    if isinstance(error, SignedOut) or (isinstance(error, Problem) and error.code == "unauthenticated"):
        reason = "the server does not accept the token: it expired, or was revoked or replaced"
        return Unconnected("sign_in", reason), RETRY_SECONDS
    step = "sign_in" if isinstance(error, NoAccount) else "connect"
    return Unconnected(step, str(error)), RETRY_SECONDS
