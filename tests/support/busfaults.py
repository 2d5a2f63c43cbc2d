"""What goes wrong with a Valkey, done to that of a test; each returns when it is mended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.support.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.network import Network
    from tests.support.valkey import ValkeyProcess

SLOW_MILLISECONDS = 300
"""A slow Valkey answers nobody for so long, and then everybody for as long, in turn."""


def bus_faults(valkeys: Sequence[ValkeyProcess], *, seconds: float, network: Network | None = None) -> list[Fault]:
    """Return one of each kind, done to the first of them; none where there is none.

    Args:
        valkeys: the servers' bus.
        seconds: how long what lasts shall last.
        network: that they are in; None: it cannot be partitioned.
    """
    if not valkeys:
        return []
    partition = [] if network is None else [_partition(valkeys[0], seconds, network)]
    return [*_faults(valkeys[0], seconds), *partition]


def _partition(valkey: ValkeyProcess, seconds: float, network: Network) -> Fault:
    async def partition() -> None:
        await asyncio.to_thread(network.drop, valkey.port)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(network.restore, valkey.port)

    return Fault(f"Valkey partitioned for {seconds:g} s", partition)


def _faults(valkey: ValkeyProcess, seconds: float) -> list[Fault]:

    async def kill() -> None:
        await asyncio.to_thread(valkey.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(valkey.start)

    async def restart() -> None:
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.start)

    async def pause() -> None:
        valkey.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            valkey.resume()

    async def flush() -> None:
        await asyncio.to_thread(valkey.call, "FLUSHALL")

    async def cut() -> None:
        await asyncio.to_thread(valkey.call, "CLIENT", "KILL", "TYPE", "pubsub")

    async def fill() -> None:
        await asyncio.to_thread(valkey.call, "CONFIG", "SET", "maxmemory", "1")
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(valkey.call, "CONFIG", "SET", "maxmemory", "0")

    async def slow_down() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(valkey.call, "CLIENT", "PAUSE", SLOW_MILLISECONDS, "ALL")
            await asyncio.sleep(2 * SLOW_MILLISECONDS / 1000)

    async def change_password() -> None:
        await asyncio.to_thread(valkey.call, "CONFIG", "SET", "requirepass", "another")
        valkey.password = "another"
        try:
            await cut()
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(valkey.call, "CONFIG", "SET", "requirepass", "")
            valkey.password = ""

    async def lose() -> None:
        # As if a message to each server had been counted and lost on the way.
        for key in await asyncio.to_thread(valkey.call, "KEYS", "chat:count:*"):
            await asyncio.to_thread(valkey.call, "INCR", key)

    return [
        Fault(f"Valkey killed for {seconds:g} s", kill),
        Fault("Valkey restarted", restart),
        Fault(f"Valkey paused for {seconds:g} s", pause),
        Fault("Valkey flushed", flush),
        Fault("Valkey's connections cut", cut),
        Fault(f"Valkey without memory for {seconds:g} s", fill),
        Fault(f"Valkey slow for {seconds:g} s", slow_down),
        Fault(f"Valkey with another password for {seconds:g} s", change_password),
        Fault("a message by Valkey lost on the way to each server", lose),
    ]
