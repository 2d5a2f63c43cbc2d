"""Decides how many clients a server with more than its share of connections moves to others; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Times the mean of all live servers. Above the first a server begins: new connections alone level out what is less.
# It continues to the second, or it would stop with a quarter too many.
BEGIN_ABOVE_MEAN = 1.25
STOP_AT_MEAN = 1.05
# Connections; the spread of so few is chance, and costs nobody anything.
LEAST_CONNECTIONS = 50
# Moved per second while another server has no connection: the proxies may not know it yet, and clients would return.
PROBES_PER_TICK = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What a server knows when it decides.

    Attributes:
        connections: on this server.
        leaving: those of them that got ``reconnect`` and still have time.
        others: connections of each other live server, by its last heartbeat.
        is_current: `others` was read within the time after which servers count as gone.
    """

    connections: int
    leaving: int
    others: Sequence[int]
    is_current: bool


@dataclass(frozen=True, slots=True)
class Shedding:
    """A decision, and what the next one needs of it.

    Attributes:
        count: clients to move now.
        active: shedding has begun and continues.
        carried: what is left of the allowance, less than one client.
    """

    count: int = 0
    active: bool = False
    carried: float = 0.0


IDLE = Shedding()


def decide(load: Load, before: Shedding, percent_per_second: float) -> Shedding:
    """Return how many clients to move in this second.

    Args:
        load: what is known now.
        before: the decision of a second ago.
        percent_per_second: of the connections, moved in a second at most.

    Example:
        A third server has joined two with 15,000 connections each; 1 % of them is moved in the first second.

        >>> decide(Load(15_000, 0, [15_000, 20], is_current=True), IDLE, 1)
        Shedding(count=150, active=True, carried=0.0)
        >>> decide(Load(11_000, 0, [11_000, 9_000], is_current=True), IDLE, 1)
        Shedding(count=0, active=False, carried=0.0)
    """
    if not load.others or not load.is_current or load.connections < LEAST_CONNECTIONS:
        return IDLE
    mean = (load.connections + sum(load.others)) / (1 + len(load.others))
    staying = load.connections - load.leaving
    if staying <= (STOP_AT_MEAN if before.active else BEGIN_ABOVE_MEAN) * mean:
        return IDLE
    allowance = before.carried + load.connections * percent_per_second / 100
    # Others' counts are a heartbeat old and a little low by now: the rest up to STOP is the margin for that.
    excess = min(math.ceil(staying - STOP_AT_MEAN * mean), math.floor(staying - mean))
    count = min(math.floor(allowance), excess)
    if min(load.others) == 0:
        count = min(count, PROBES_PER_TICK)
    # Allowance that was not used is not saved for later seconds.
    spare = allowance - count
    return Shedding(count, active=True, carried=spare if spare < 1 else 0.0)
