"""Drains of chatservers: how long each takes, and how many connections its end closes, read while it drains."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chatoperator.observed import Pod
    from chatoperator.probes.prober import Prober
    from chatoperator.reconcile.state import State

SERVERS_MAX = 100
"""Of one chat that are read while they drain: the most that a spec allows. A tenant can create more such pods."""

CHATS_AT_A_TIME = 16
"""Whose draining servers are read at once."""


@dataclass
class Drain:
    """A chatserver that drains.

    Attributes:
        address: Of its pod.
        began: When its deletion was observed, in seconds of a monotonic clock; None where it had begun before this
            operator looked, so that its duration will not be known.
        forced_closes: Connections that it has closed because its drain ended, as it was read last.
    """

    address: str
    began: float | None
    forced_closes: int = 0


def follow(
    held: Mapping[str, Drain] | None, servers: Sequence[Pod], now: float
) -> tuple[dict[str, Drain], list[float]]:
    """The drains that are in progress, and the durations of those that have ended.

    Args:
        held: Those that were in progress at the last look, by pod name; None before the first look.
        servers: The chatservers.
        now: Seconds of a monotonic clock.
    """
    draining = {
        server.name: (held or {}).get(server.name) or Drain(server.address, None if held is None else now)
        for server in servers
        if server.terminating and server.started and server.address and not server.lost
    }
    # One on a lost node is still there, and has not ended: nothing is known of its end.
    there = {server.name for server in servers}
    ended = [drain for name, drain in (held or {}).items() if name not in there]
    return draining, [now - drain.began for drain in ended if drain.began is not None]


async def read(prober: Prober, states: Iterable[State]) -> None:
    """Read the servers that drain, and count the connections that they closed since they were read before."""
    turn = asyncio.Semaphore(CHATS_AT_A_TIME)

    async def read_one(state: State, drains: Mapping[str, Drain]) -> None:
        some = dict(itertools.islice(drains.items(), SERVERS_MAX))
        async with turn:
            readings = await prober.readings({name: drain.address for name, drain in some.items()})
        for name, drain in some.items():
            reading = readings[name]
            if reading is not None and reading.forced_closes > drain.forced_closes:
                state.series.forced_closes += reading.forced_closes - drain.forced_closes
                drain.forced_closes = reading.forced_closes

    await asyncio.gather(*(read_one(state, state.drains) for state in states if state.drains))
