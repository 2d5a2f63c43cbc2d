"""Decides how many clients a server with more than its share asks to come back elsewhere; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Times the mean of all live servers. Above the first a server begins: new connections alone level out what is less.
# It goes on to the second, or it would stop with a quarter too many.
BEGIN_ABOVE_MEAN = 1.25
STOP_AT_MEAN = 1.05
# Connections; the spread of so few is chance, and costs nobody anything.
LEAST_CONNECTIONS = 50
# Asked a second while a server has nobody: the proxies may not have found it, and those who are asked would be back.
PROBES_PER_TICK = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What a server knows when it decides.

    Attributes:
        connections: on this server.
        leaving: those of them that were asked to leave and still have time to.
        others: connections of each other live server, as it last said.
        is_current: the database has told within the time after which servers count as gone.
    """

    connections: int
    leaving: int
    others: Sequence[int]
    is_current: bool


@dataclass(frozen=True, slots=True)
class Shedding:
    """A decision, and what the next one needs of it.

    Attributes:
        ask: clients to ask now.
        active: shedding has begun and goes on.
        carried: what is left of the allowance, less than one client.
    """

    ask: int = 0
    active: bool = False
    carried: float = 0.0


IDLE = Shedding()


def decide(load: Load, before: Shedding, percent_per_second: float) -> Shedding:
    """Return how many clients to ask in this second.

    Args:
        load: what is known now.
        before: the decision of a second ago.
        percent_per_second: of the connections, asked in a second at most.

    Example:
        A third server has come to two with 15,000 connections; 1 % of them is asked in the first second.

        >>> decide(Load(15_000, 0, [15_000, 20], is_current=True), IDLE, 1)
        Shedding(ask=150, active=True, carried=0.0)
        >>> decide(Load(11_000, 0, [11_000, 9_000], is_current=True), IDLE, 1)
        Shedding(ask=0, active=False, carried=0.0)
    """
    if not load.others or not load.is_current or load.connections < LEAST_CONNECTIONS:
        return IDLE
    mean = (load.connections + sum(load.others)) / (1 + len(load.others))
    staying = load.connections - load.leaving
    if staying <= (STOP_AT_MEAN if before.active else BEGIN_ABOVE_MEAN) * mean:
        return IDLE
    allowance = before.carried + load.connections * percent_per_second / 100
    # What others said is a heartbeat old, and a little less than they have by now: the rest up to STOP is its margin.
    excess = min(math.ceil(staying - STOP_AT_MEAN * mean), math.floor(staying - mean))
    ask = min(math.floor(allowance), excess)
    if min(load.others) == 0:
        ask = min(ask, PROBES_PER_TICK)
    # What was not used is not saved up: this second's clients are gone.
    spare = allowance - ask
    return Shedding(ask, active=True, carried=spare if spare < 1 else 0.0)
