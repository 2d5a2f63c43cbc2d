"""One Valkey: the registry of its share of the users, and this server's channel on it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from chatserver import supervision
from chatserver.errors import ServiceUnavailable
from chatserver.fanout.bus import RETRY_MAX_SECONDS, RETRY_SECONDS, SILENT_SECONDS, WATCH_SECONDS
from chatserver.fanout.valkey import scripts
from chatserver.fanout.valkey.numbers import Numbers
from chatserver.fanout.valkey.registrations import Registrations
from chatserver.hints import Hint, merged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from chatserver.fanout.valkey.link import Link

log = structlog.get_logger()

REFRESH_SECONDS = 600.0
"""Time after which all users are registered again, well before their entries expire."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a Valkey leads to.

    Attributes:
        on_hint: called with each hint; must not block.
        on_listening: called whenever hints may have been missed and everybody is registered again.
        on_lost: called each time that the connection is lost.
        on_gap: called each time that the numbers of messages show a loss.
    """

    on_hint: Callable[[Hint], None]
    on_listening: Callable[[], None]
    on_lost: Callable[[], None]
    on_gap: Callable[[], None]


class Node:
    """This server's connection to one Valkey, which is made again whenever it is lost.

    Whoever registers a user does so before the user's positions are read, and whoever publishes looks up after the
    commit. So a commit is either in the positions, or its hint is sent to this server.

    Args:
        open_link: connects; gets what is called with each message.
        prefix: of keys and channels.
        incarnation: name of this process among all servers.
        users: returns the users of this server whom this Valkey registers.
        watched: returns the users whose presence somebody here watches, as far as this Valkey registers them.
        callbacks: what is called.
    """

    def __init__(
        self,
        open_link: Callable[[Callable[[bytes], None]], Awaitable[Link]],
        *,
        prefix: str,
        incarnation: str,
        users: Callable[[], Iterable[int]],
        watched: Callable[[], Iterable[int]],
        callbacks: Callbacks,
    ) -> None:
        self._open_link = open_link
        self._prefix = prefix
        self._incarnation = incarnation
        self._registrations: dict[scripts.Kind, Registrations] = {
            "user": Registrations("user", prefix=prefix, incarnation=incarnation, current=users),
            "watched": Registrations("watched", prefix=prefix, incarnation=incarnation, current=watched),
        }
        self._callbacks = callbacks
        self._link: Link | None = None
        self._numbers = Numbers()
        self._evicted: int | None = None
        self._missed = asyncio.Event()
        self._alive_at: float | None = None

    def is_healthy(self) -> bool:
        """Return whether a message came within SILENT_SECONDS, and none is known to be missing."""
        alive_at = self._alive_at
        return alive_at is not None and time.monotonic() - alive_at < SILENT_SECONDS and not self._missed.is_set()

    def is_connected(self) -> bool:
        """Return whether commands can be sent."""
        return self._link is not None

    async def call(self, *command: str | int | bytes) -> Any:
        """Send a command and return its reply.

        Raises:
            ServiceUnavailable: not connected, or as of ``Link.call``.
        """
        if self._link is None:
            raise ServiceUnavailable
        return await self._link.call(*command)

    async def publish(self, letters: Sequence[scripts.Letter]) -> None:
        """Send hints to the servers of the users concerned, to each server all of its hints in one message.

        Raises:
            ServiceUnavailable: not sent, or not known to be.
        """
        await self.call("EVAL", scripts.PUBLISH, 0, self._prefix, scripts.pack_letters(letters))

    async def register(self, user_ids: Collection[int], kind: scripts.Kind) -> None:
        """Have hints for these users sent to this server; see ``Bus.register`` and ``Bus.register_watched``."""
        if self._link is None:
            # Once it is connected, all users are registered, and what they missed is read.
            return
        try:
            await self._registrations[kind].add(self._link, user_ids)
        except ServiceUnavailable:
            log.warning("users_not_registered", users=len(user_ids))

    async def run(self) -> None:
        """Connect, register, and connect again with back-off; until cancelled."""
        wait_seconds = RETRY_SECONDS
        while True:
            try:
                link = await self._open_link(self._receive)
            except ServiceUnavailable:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_MAX_SECONDS)
                continue
            was_listening = False
            try:
                await self._listen(link)
                was_listening, wait_seconds = True, RETRY_SECONDS
                await self._watch(link)
            except ServiceUnavailable:
                log.warning("bus_silent")
            finally:
                self._link = self._alive_at = None
                link.close()
            if was_listening:
                self._callbacks.on_lost()
                log.warning("bus_lost")
            else:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_MAX_SECONDS)

    async def _listen(self, link: Link) -> None:
        self._numbers.restart()
        self._evicted = None
        self._missed.clear()
        await link.subscribe(f"{self._prefix}:to:{self._incarnation}")
        for entries in self._registrations.values():
            entries.forget_all()
        self._link = link
        await self._begin_again(link)
        log.info("bus_listening")

    async def _begin_again(self, link: Link) -> None:
        """Register everybody, and then have read what was missed before."""
        await self._add_all(link)
        await self._beat(link)
        self._callbacks.on_listening()

    async def _watch(self, link: Link) -> None:
        refresh_at = time.monotonic() + REFRESH_SECONDS
        closed = asyncio.ensure_future(link.wait_closed())
        try:
            while not closed.done():
                missed = asyncio.ensure_future(self._missed.wait())
                await asyncio.wait((closed, missed), timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                missed.cancel()
                if self._missed.is_set():
                    self._missed.clear()
                    self._callbacks.on_gap()
                    log.warning("bus_hints_missed")
                    await self._begin_again(link)
                    continue
                for entries in self._registrations.values():
                    await entries.remove_gone(link)
                if time.monotonic() > refresh_at:
                    refresh_at = time.monotonic() + REFRESH_SECONDS
                    await self._add_all(link)
                await self._beat(link)
            # Not lost in the task, should it have failed.
            closed.result()
        finally:
            closed.cancel()

    async def _beat(self, link: Link) -> None:
        beat = ("EVAL", scripts.BEAT, 0, self._prefix, self._incarnation, scripts.EXPIRE_SECONDS)
        evicted: int | None = await link.call(*beat)
        if self._evicted is not None and evicted != self._evicted:
            log.warning("bus_evicts_keys")
            self._missed.set()
        self._evicted = evicted

    async def _add_all(self, link: Link) -> None:
        for entries in self._registrations.values():
            await entries.add_all(link)

    # --- the channel

    def _receive(self, message: bytes) -> None:
        number, *hints = message.split(b"\n")
        try:
            is_next = self._numbers.follows(int(number))
            decoded = [Hint.decode(hint) for hint in hints if hint]
        except ValueError:
            log.warning("bus_payload_not_a_hint", length=len(message))
            self._missed.set()
            return
        self._alive_at = time.monotonic()
        if not is_next:
            self._missed.set()
        for hint in merged(decoded):
            try:
                self._callbacks.on_hint(hint)
            except Exception as error:  # noqa: BLE001 - what the hint announces is read again
                supervision.caught("hint_failed", error)
                self._missed.set()
