"""What goes wrong with a Valkey, done to that of a test; each returns when it is mended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.valkey import ValkeyProcess


def bus_faults(valkeys: Sequence[ValkeyProcess], *, seconds: float) -> list[Fault]:
    """Return one of each kind, done to the first of them; none where there is none.

    Args:
        valkeys: the servers' bus.
        seconds: how long what lasts shall last.
    """
    return _faults(valkeys[0], seconds) if valkeys else []


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
        Fault("a message by Valkey lost on the way to each server", lose),
    ]
