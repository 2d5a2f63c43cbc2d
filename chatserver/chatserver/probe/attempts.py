"""The probe itself: one message after another from the first account to the second."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import time
from typing import TYPE_CHECKING

import structlog

from chatcluster_client import ChatClientError
from chatserver.probe.endpoint import Endpoint, Unconnected
from chatserver.probe.ledger import Ledger

if TYPE_CHECKING:
    from chatcluster_client import Item, LiveClient
    from chatserver.probe.accounts import TokenSource
    from chatserver.probe.certificate import Trust
    from chatserver.probe.metrics import ProbeMetrics

log = structlog.get_logger()

SEND_SECONDS = 10.0
"""Longest wait for an acknowledgement before an attempt has failed. The message may still be stored."""

RECEIVE_SECONDS = 15.0
"""Longest time from the acknowledgement to the arrival before an attempt has failed. A server that missed a
notification delivers within 10 s."""

LOST_SECONDS = 60.0
"""After so long without arrival an acknowledged message counts as lost: six times what a missed notification costs."""

RENEW_SECONDS = 60.0
"""The first account reconnects so often: otherwise connecting would be tried only after a failure."""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """How one attempt ended.

    Attributes:
        step: That failed; None: the message arrived in time.
        text: One line for users.
    """

    step: str | None
    text: str


class Attempts:
    """Sends messages and records what becomes of them.

    Args:
        url: Of the chat.
        accounts: Where the tokens come from.
        trust: Which server certificates to accept.
        metrics: Where everything is counted.
    """

    def __init__(self, url: str, accounts: TokenSource, trust: Trust, metrics: ProbeMetrics) -> None:
        # Messages of other runs, and of a second probe with the same accounts, are recognised by it and left out.
        self._run = secrets.token_hex(4)
        self._metrics = metrics
        self._ledger = Ledger(LOST_SECONDS)
        self._arrival = asyncio.Event()
        connected = metrics.connect_seconds.observe
        self._sender = Endpoint(0, url, accounts, trust, on_connected=connected)
        self._receiver = Endpoint(
            1,
            url,
            accounts,
            trust,
            receive=self._receive,
            on_connected=connected,
            on_new_history=self._ledger.begin_new_history,
        )
        self._chat_id: int | None = None
        self._renew_at = time.monotonic() + RENEW_SECONDS

    async def run_connections(self) -> None:
        """Keep both accounts connected until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receiver.run())
            # The balancing by least connections is then likely to choose another server, where there are several.
            with contextlib.suppress(Unconnected):
                await self._receiver.connected()
            group.create_task(self._sender.run())

    async def attempt(self) -> Attempt:
        """Send one message and wait until it has arrived."""
        self._metrics.attempt()
        try:
            result = await self._attempt()
        except Unconnected as error:
            result = Attempt(error.step, str(error))
        except (TimeoutError, ChatClientError) as error:
            reason = "no acknowledgement in time" if isinstance(error, TimeoutError) else str(error)
            result = Attempt("send", reason)
        if result.step is not None:
            self._metrics.fail(result.step)
            log.warning("probe_failed", step=result.step, reason=result.text)
        return result

    async def _attempt(self) -> Attempt:
        receiver = await self._receiver.connected()
        sender = await self._sender.connected()
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_SECONDS
            self._sender.renew()
            sender = await self._sender.connected()
        number, ack_seconds = await self._send(sender)
        if not await self._wait_received(number):
            return Attempt("receive", f"message {number} was acknowledged and did not arrive in time")
        self._metrics.succeed()
        return Attempt(None, f"acknowledged in {ack_seconds * 1000:.0f} ms; from {sender.server} to {receiver.server}")

    async def _send(self, sender: LiveClient) -> tuple[int, float]:
        """Send a message; returns its number and the seconds until its acknowledgement.

        Raises:
            TimeoutError: There was no acknowledgement in time.
            ChatClientError: The server refused it, or the client has ended.
        """
        async with asyncio.timeout(SEND_SECONDS):
            chat_id, to = self._chat_id, None
            if chat_id is None:
                chat_id, to = await self._find_chat(sender)
            number = self._ledger.send(time.monotonic())
            began = time.monotonic()
            ack = await sender.send(f"probe {self._run} {number}", chat_id=chat_id, to=to)
        now = time.monotonic()
        self._chat_id = ack.chat_id
        self._metrics.ack_seconds.observe(now - began)
        if self._ledger.acknowledge(number, ack.seq, now):
            self._metrics.misplaced()
            log.error("probe_misdelivered", number=number, seq=ack.seq, reordered=True)
        return number, now - began

    async def _find_chat(self, sender: LiveClient) -> tuple[int | None, str | None]:
        """Return the chat of the two accounts, or the name of the receiver where there is none yet."""
        cursor: str | None = None
        while True:
            page = await sender.rest.chats(cursor)
            for chat in page["chats"]:
                if chat["kind"] == "direct" and self._receiver.user_id in {one["user_id"] for one in chat["members"]}:
                    return int(chat["chat_id"]), None
            cursor = page["next_cursor"]
            if cursor is None:
                break
        receiver = await self._receiver.connected()
        me = await receiver.rest.call("GET", "/api/users/me")
        return None, str(me["username"] or me["phone_number"])

    async def _wait_received(self, number: int) -> bool:
        """Wait until a message has arrived; returns whether it did in time."""
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                while not self._ledger.is_received(number):
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            return False
        return True

    def _receive(self, item: Item) -> None:
        mark, _, number = (item.text or "").rpartition(" ")
        if mark != f"probe {self._run}" or not number.isdecimal():
            return
        received = self._ledger.receive(int(number), time.monotonic())
        self._metrics.received(received)
        if received.duplicated or received.reordered or received.found:
            log.error("probe_misdelivered", number=int(number), seq=item.seq, **dataclasses.asdict(received))
        self._arrival.set()

    def count_lost(self) -> None:
        """Count the messages that have become lost since the last call."""
        lost = self._ledger.lose(time.monotonic(), self._receiver.connected_at)
        self._metrics.lose(len(lost))
        for number in lost:
            log.error("probe_lost", number=number)
