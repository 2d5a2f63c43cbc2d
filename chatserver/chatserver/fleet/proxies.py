"""Follows in DNS which proxies there are, and moves the clients of a proxy that drains to another one."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from chatserver.fanout.hub import Hub
    from chatserver.fleet.health import Health
    from chatserver.fleet.moving import Mover

log = structlog.get_logger()

# Between two looks; cluster DNS answers from its cache for 5 s anyhow.
LOOK_SECONDS = 2.0
# Answers in a row without a proxy, after which it counts as draining: one may come from a DNS server that lags behind.
LOOKS_UNTIL_LEAVING = 2
# A proxy that is not named for so long has stopped; another pod may get its address.
FORGET_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A proxy as DNS knows it.

    Attributes:
        at: when it was last named, of ``time.monotonic``.
        missed: answers since then that did not name it.
    """

    at: float
    missed: int = 0


def look(named: Collection[str], before: Mapping[str, Seen], now: float) -> dict[str, Seen]:
    """Return what is known of the proxies after an answer of DNS.

    Args:
        named: the addresses in the answer; an empty one changes nothing: clients could go nowhere else.
        before: what was known.
        now: of ``time.monotonic``.

    Example:
        >>> look({"10.0.0.1"}, look({"10.0.0.1", "10.0.0.2"}, {}, 100), 102)
        {'10.0.0.1': Seen(at=102, missed=0), '10.0.0.2': Seen(at=100, missed=1)}
    """
    if not named:
        return dict(before)
    return {address: Seen(now) for address in named} | {
        address: Seen(seen.at, seen.missed + 1)
        for address, seen in before.items()
        if address not in named and now - seen.at < FORGET_SECONDS
    }


def leaving(proxies: Mapping[str, Seen]) -> dict[str, float]:
    """Return the proxies that drain, each with the time when it was last named."""
    return {address: seen.at for address, seen in proxies.items() if seen.missed >= LOOKS_UNTIL_LEAVING}


async def resolve(host: str) -> frozenset[str]:
    """Return the addresses that DNS has for a name at this moment; none where it does not answer."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(address[0]) for *_, address in found)


class ProxyWatch:
    """This server's view of the proxies; moves the clients of those that drain.

    Args:
        mover: moves the clients.
        lookup: the proxies' addresses as DNS has them.
        stay_seconds: how long after its address has gone from DNS a proxy keeps its connections.
        on_moved: called with the number of clients that are moved.
    """

    def __init__(
        self,
        hub: Hub,
        health: Health,
        mover: Mover,
        *,
        lookup: Callable[[], Awaitable[Collection[str]]],
        stay_seconds: float,
        on_moved: Callable[[int], None],
    ) -> None:
        self._hub = hub
        self._health = health
        self._mover = mover
        self._lookup = lookup
        self._stay_seconds = stay_seconds
        self._on_moved = on_moved
        self._proxies: dict[str, Seen] = {}

    async def run(self) -> None:
        """Look up the proxies, until cancelled."""
        while True:
            await self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: float) -> None:
        """Move the clients that are connected through a proxy that drains.

        Again and again until it has gone: a handshake that had begun before may end later.

        Args:
            now: of ``time.monotonic``.
        """
        before = leaving(self._proxies)
        self._proxies = look(await self._lookup(), self._proxies, now)
        gone = leaving(self._proxies)
        if self._health.draining or not gone:
            # A draining server moves all its clients anyhow.
            return
        here = [c for c in self._hub.connections.values() if c.proxy in gone]
        for address in gone.keys() - before.keys():
            log.info("proxy_leaves", proxy=address, connections=sum(c.proxy == address for c in here))
        moved = sum(
            self._mover.move(
                [connection for connection in here if connection.proxy == address],
                last_named_at + self._stay_seconds - now,
                now=now,
                again_after_seconds=FORGET_SECONDS,
            )
            for address, last_named_at in gone.items()
        )
        if moved:
            self._on_moved(moved)
