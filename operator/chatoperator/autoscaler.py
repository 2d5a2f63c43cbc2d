"""How many chatservers there should be: a pure function of what they report.

It is the Kubernetes HPA's AverageValue form with its rules for missing metrics: exact whatever the spread of
connections over the servers. Example: 25,000 connections at a target of 10,000 -> 3 servers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TICK_SECONDS = 15
"""Between two decisions, as the Kubernetes HPA has it; the limits below are per tick."""

HEADROOM = 0.9
"""Servers go only when the rest would be at most this full. One-sided: 10 % over the target would be 11,000
connections on a server made for 10,000, while 10 % under it costs one server at most. With it the number stays
while the total stays within +-5 %."""

MISSING_LIMIT = 1 / 3
"""More live servers than this without a reading: the operator is blind, not the chat empty."""

UP_STEP = 4
"""Servers that one tick may add even where that more than doubles them."""

DOWN_SHARE = 0.1
"""Of the servers that may go within a minute; at least one."""

MINUTE_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """One chatserver pod. `connections` is None where it gave no reading, never 0."""

    name: str
    started: bool
    terminating: bool
    connections: int | None


@dataclass(frozen=True)
class Policy:
    """What the ChatCluster asks for."""

    target: int
    min_replicas: int
    max_replicas: int
    stabilization_seconds: float


@dataclass(frozen=True)
class Memory:
    """What earlier decisions left behind. Times are seconds of one monotonic clock.

    Attributes:
        wishes: (time, servers wanted) within the stabilization window.
        removals: (time, servers removed) within the last minute.
        scaled_up_at: When servers were last added.
    """

    wishes: tuple[tuple[float, int], ...] = ()
    removals: tuple[tuple[float, int], ...] = ()
    scaled_up_at: float | None = None


@dataclass(frozen=True)
class Decision:
    """The number, and what conditions say about it."""

    replicas: int
    active: bool
    limited: bool
    reason: str
    message: str
    memory: Memory


def start(current: int, now: float) -> Memory:
    """The memory of an operator that has just started: its window begins at what runs."""
    return Memory(wishes=((now, current),))


def decide(
    servers: Sequence[Server], current: int, policy: Policy, memory: Memory, *, now: float, settled: bool
) -> Decision:
    """Decide the number of chatservers.

    Args:
        servers: All chatserver pods, terminating ones too.
        current: Servers wanted so far.
        policy: Target, bounds and window.
        memory: What the last decision returned.
        now: Seconds of a monotonic clock.
        settled: Whether neither a rollout nor a drain runs. Servers are never removed otherwise.
    """
    live = [server for server in servers if server.started and not server.terminating]
    missing = [server for server in live if server.connections is None]
    if live and (len(missing) == len(live) or len(missing) > MISSING_LIMIT * len(live)):
        held = _clamp(current, policy)
        message = f"{len(missing)} of {len(live)} chatservers give no reading; holding {held}"
        return Decision(
            held, active=False, limited=held != current, reason="NoReadings", message=message, memory=memory
        )

    # Clients of terminating servers will be back on the others.
    total = sum(server.connections or 0 for server in servers if server.started)
    up = math.ceil(total / policy.target)
    down = math.ceil((total + policy.target * len(missing)) / (HEADROOM * policy.target))
    wish = up if up > current else min(down, current)
    want = _clamp(wish, policy)
    memory = _remember(memory, want, policy, now)
    replicas, memory = _step(current, want, policy, memory, now=now, settled=settled)
    message = f"{total} connections at a target of {policy.target} want {wish} chatservers"
    if want != wish:
        bound = "minReplicas" if want > wish else "maxReplicas"
        message += f"; {bound} makes it {want}"
    return Decision(
        replicas,
        active=True,
        limited=want != wish,
        reason="ByConnections",
        message=message,
        memory=memory,
    )


def _clamp(replicas: int, policy: Policy) -> int:
    return max(policy.min_replicas, min(policy.max_replicas, replicas))


def _remember(memory: Memory, want: int, policy: Policy, now: float) -> Memory:
    window = now - policy.stabilization_seconds
    return replace(
        memory,
        wishes=(*((at, wish) for at, wish in memory.wishes if at > window), (now, want)),
        removals=tuple((at, count) for at, count in memory.removals if at > now - MINUTE_SECONDS),
    )


def _step(current: int, want: int, policy: Policy, memory: Memory, *, now: float, settled: bool) -> tuple[int, Memory]:
    """From `current` towards `want`, as far as one tick may go."""
    if want > current:
        return min(want, max(current + UP_STEP, 2 * current)), replace(memory, scaled_up_at=now)
    stable = max(_clamp(wish, policy) for _, wish in memory.wishes)
    recently_up = memory.scaled_up_at is not None and now - memory.scaled_up_at < policy.stabilization_seconds
    if stable >= current or recently_up or not settled:
        return current, memory
    removed = sum(count for _, count in memory.removals)
    allowed = max(1, math.floor(DOWN_SHARE * (current + removed))) - removed
    if allowed <= 0:
        return current, memory
    replicas = max(stable, current - allowed)
    return replicas, replace(memory, removals=(*memory.removals, (now, current - replicas)))


def victims(connections: Mapping[str, int | None], count: int) -> tuple[str, ...]:
    """Names of the `count` servers to remove: those with the fewest connections, unread ones last.

    Args:
        connections: By pod name, of the servers that are not terminating; None where a server gave no reading.
        count: Servers to remove.
    """
    ranked = sorted(connections, key=lambda name: (connections[name] is None, connections[name] or 0, name))
    return tuple(ranked[: max(0, count)])
