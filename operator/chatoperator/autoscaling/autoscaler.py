"""How many chatservers there should be: a pure function of what they report.

It is the Kubernetes HPA's AverageValue form with its rules for missing metrics: exact whatever the spread of
connections over the servers. Example: 25,000 connections at a target of 10,000 -> 3 servers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Bound = Literal["minReplicas", "maxReplicas"]

TICK_SECONDS = 15
"""Between two decisions, as the Kubernetes HPA has it; the limits below are per tick."""

EARLY_SECONDS = 1
"""So much before its time a tick may come: sweeps bring it, which are as far apart, and not to the millisecond. Without
it every other sweep could be a moment too early, and decisions 30 s apart."""

HEADROOM_TENTHS = 9
"""Servers go only when the rest would be at most 90 % full. One-sided: 10 % over the target would be 11,000
connections on a server made for 10,000, while 10 % under it costs one server at most. With it the number stays
while the total stays within +-5 %. Tenths, because whole numbers are exact at the boundaries."""

MISSING_SHARE = 3
"""One in so many live servers may be without a reading; with more the operator is blind, not the chat empty."""

UP_STEP = 4
"""Servers that one tick may add even where that more than doubles them."""

DOWN_SHARE = 10
"""One in so many servers may go within a minute; at least one."""

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
    """What the spec of the ChatCluster requires."""

    target: int
    min_replicas: int
    max_replicas: int
    stabilization_seconds: float


@dataclass(frozen=True)
class Memory:
    """What earlier decisions left behind. Times are seconds of one monotonic clock.

    Attributes:
        desired: (time, desired servers) within the stabilization window.
        removals: (time, servers before, servers after) within the last minute.
        scaled_up_at: When servers were last added.
    """

    desired: tuple[tuple[float, int], ...] = ()
    removals: tuple[tuple[float, int, int], ...] = ()
    scaled_up_at: float | None = None


@dataclass(frozen=True)
class Decision:
    """The number, and what conditions say about it.

    Attributes:
        replicas: The desired number of servers.
        active: Whether there were enough readings to decide by.
        bound: The field that limits the number, so that it is not what the connections need; None where neither does.
        reason: One word.
        message: With figures, for the log.
        memory: For the next decision.
    """

    replicas: int
    active: bool
    bound: Bound | None
    reason: str
    message: str
    memory: Memory


def start(current: int, now: float) -> Memory:
    """The memory of an operator that has just started: its window begins at what runs."""
    return Memory(desired=((now, current),))


def is_due(ticked_at: float | None, now: float) -> bool:
    """Whether a tick is due, so long after the last one.

    Args:
        ticked_at: When that was; None where there was none.
        now: Seconds of the same clock.
    """
    return ticked_at is None or now - ticked_at >= TICK_SECONDS - EARLY_SECONDS


def decide(
    servers: Sequence[Server], current: int, policy: Policy, memory: Memory, *, now: float, settled: bool
) -> Decision:
    """Decide the number of chatservers.

    Args:
        servers: All chatserver pods, terminating ones too.
        current: The desired number of servers so far.
        policy: Target, bounds and window.
        memory: What the last decision returned.
        now: Seconds of a monotonic clock.
        settled: Whether neither a rollout nor a drain runs. Servers are never removed otherwise.
    """
    live = [server for server in servers if server.started and not server.terminating]
    missing = [server for server in live if server.connections is None]
    if live and (len(missing) == len(live) or MISSING_SHARE * len(missing) > len(live)):
        return _hold(len(missing), len(live), current, policy, memory, now)

    # Clients of terminating servers will be back on the others.
    total = sum(server.connections or 0 for server in servers if server.started)
    up = _divide_up(total, policy.target)
    down = _divide_up(10 * (total + policy.target * len(missing)), HEADROOM_TENTHS * policy.target)
    # Without a live server there is nobody to count: the clients of those that died will be back.
    needed = up if up > current else min(down, current) if live else current
    bounded = _clamp(needed, policy)
    memory = _remember(memory, bounded, policy, now)
    replicas, memory = _step(current, bounded, policy, memory, now=now, settled=settled)
    return Decision(
        replicas,
        active=True,
        bound=_bound(needed, bounded),
        reason="ByConnections",
        message=f"{total} connections at a target of {policy.target} per chatserver need {needed} chatservers",
        memory=memory,
    )


def _hold(missing: int, live: int, current: int, policy: Policy, memory: Memory, now: float) -> Decision:
    """Too few readings: nothing goes, not even to a lowered maximum; what minReplicas promises still comes."""
    held = _step_up(current, max(current, policy.min_replicas))
    return Decision(
        held,
        active=False,
        bound=None,
        reason="NoReadings",
        message=f"{missing} of {live} chatservers report no connection count, so the operator removes none "
        f"and keeps {held}. Check their logs, and the NetworkPolicies between the operator and port 9090",
        # The window begins again: earlier numbers say nothing about what was not seen.
        memory=_remember(memory, held, policy, now),
    )


def _divide_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _bound(needed: int, bounded: int) -> Bound | None:
    if needed == bounded:
        return None
    return "minReplicas" if bounded > needed else "maxReplicas"


def _clamp(replicas: int, policy: Policy) -> int:
    return max(policy.min_replicas, min(policy.max_replicas, replicas))


def _remember(memory: Memory, bounded: int, policy: Policy, now: float) -> Memory:
    window = now - policy.stabilization_seconds
    return replace(
        memory,
        desired=(*((at, needed) for at, needed in memory.desired if at > window), (now, bounded)),
        removals=tuple(removal for removal in memory.removals if removal[0] > now - MINUTE_SECONDS),
    )


def _step(
    current: int, bounded: int, policy: Policy, memory: Memory, *, now: float, settled: bool
) -> tuple[int, Memory]:
    """From `current` towards `bounded`, as far as one tick may go."""
    if bounded > current:
        return _step_up(current, bounded), replace(memory, scaled_up_at=now)
    stable = max(_clamp(needed, policy) for _, needed in memory.desired)
    recently_up = memory.scaled_up_at is not None and now - memory.scaled_up_at < policy.stabilization_seconds
    if stable >= current or recently_up or not settled:
        return current, memory
    removed = sum(before - after for _, before, after in memory.removals)
    # Not the sum of what is and what went: some may have been added in between.
    most = max((current, *(before for _, before, _ in memory.removals)))
    allowed = max(1, most // DOWN_SHARE) - removed
    if allowed <= 0:
        return current, memory
    replicas = max(stable, current - allowed)
    return replicas, replace(memory, removals=(*memory.removals, (now, current, replicas)))


def _step_up(current: int, bounded: int) -> int:
    """Towards `bounded`, as far as one tick may add."""
    return min(bounded, max(current + UP_STEP, 2 * current))


def victims(connections: Mapping[str, int | None], count: int) -> tuple[str, ...]:
    """Names of the `count` servers to remove: those with the fewest connections, unread ones last.

    Args:
        connections: By pod name, of the servers that are not terminating; None where a server gave no reading.
        count: Servers to remove.
    """
    ranked = sorted(connections, key=lambda name: (connections[name] is None, connections[name] or 0, name))
    return tuple(ranked[: max(0, count)])
