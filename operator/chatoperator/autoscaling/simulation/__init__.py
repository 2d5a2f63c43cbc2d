"""The autoscaler on a recorded or made-up trace of connections, without a cluster and faster than time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatoperator.autoscaling import autoscaler
from chatoperator.autoscaling.autoscaler import TICK_SECONDS, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.autoscaling.autoscaler import Policy
    from chatoperator.autoscaling.simulation.traces import Trace


@dataclass(frozen=True)
class Delays:
    """How long the simulated servers take.

    Attributes:
        start_seconds: From a new number until the new servers take connections.
        drain_seconds: From the removal of a server until its pod is gone.
    """

    start_seconds: float
    drain_seconds: float


@dataclass(frozen=True)
class Step:
    """One tick.

    Attributes:
        seconds: Since the trace began.
        connections: In all.
        ready: Servers that take connections.
        desired: The number of servers that the autoscaler decides.
        fullest: Connections on the fullest server.
        message: Of the decision.
    """

    seconds: float
    connections: int
    ready: int
    desired: int
    fullest: int
    message: str


@dataclass(frozen=True)
class _Pod:
    """A simulated server; connections lie on it only between `ready_at` and its removal."""

    number: int
    ready_at: float
    connections: int = 0


@dataclass(frozen=True)
class Totals:
    """What a run came to.

    Attributes:
        peak: Most connections at once.
        fewest: Lowest desired number of servers.
        most: Highest desired number of servers.
        ups: Times that servers were added.
        downs: Times that servers were removed.
        turns: Times that a removal followed an addition or the other way round.
        server_hours: Of all desired servers.
        needed_hours: Of as many servers as the connections needed at each moment, within the policy's bounds.
        fullest: Most connections on one server.
    """

    peak: int
    fewest: int
    most: int
    ups: int
    downs: int
    turns: int
    server_hours: float
    needed_hours: float
    fullest: int


def simulate(trace: Trace, policy: Policy, delays: Delays) -> tuple[Step, ...]:
    """Run the autoscaler over a trace, one tick every 15 s, beginning with what the first moment needs.

    Clients go to the server with the fewest connections, as HAProxy sends them, and stay there; those who leave were
    spread over all servers; those of a removed server come back to the others at once.
    """
    needed = -(-trace.at(0) // policy.target)
    desired = max(policy.min_replicas, min(policy.max_replicas, needed))
    numbers = itertools.count(1)
    pods = [_Pod(next(numbers), ready_at=0) for _ in range(desired)]
    leaving: list[float] = []
    memory = autoscaler.start(desired, 0)
    steps = []
    for tick in range(int(trace.duration // TICK_SECONDS) + 1):
        now = float(tick * TICK_SECONDS)
        leaving = [gone_at for gone_at in leaving if gone_at > now]
        pods = _spread(pods, trace.at(now), now)
        ready = [pod for pod in pods if pod.ready_at <= now]
        decision = autoscaler.decide(
            [_server(pod, now) for pod in pods],
            desired,
            policy,
            memory,
            now=now,
            settled=len(ready) == len(pods) and not leaving,
        )
        memory, before, desired = decision.memory, desired, decision.replicas
        steps.append(
            Step(now, trace.at(now), len(ready), desired, max(pod.connections for pod in ready), decision.message)
        )
        if desired > before:
            pods += [_Pod(next(numbers), now + delays.start_seconds) for _ in range(desired - before)]
        elif desired < before:
            counts = {str(pod.number): pod.connections for pod in pods}
            gone = autoscaler.victims(counts, before - desired)
            pods = [pod for pod in pods if str(pod.number) not in gone]
            leaving += [now + delays.drain_seconds] * (before - desired)
    return tuple(steps)


def _server(pod: _Pod, now: float) -> Server:
    started = pod.ready_at <= now
    return Server(str(pod.number), started, terminating=False, connections=pod.connections if started else None)


def _spread(pods: Sequence[_Pod], total: int, now: float) -> list[_Pod]:
    """Bring the servers' connections to a new total: down all alike, up where there are the fewest."""
    counts = {pod.number: pod.connections for pod in pods if pod.ready_at <= now}
    held = sum(counts.values())
    if total < held:
        counts = {number: count * total // held for number, count in counts.items()}
        held = sum(counts.values())
    level = _level(sorted(counts.values()), total - held)
    poured = {number: max(count, level) for number, count in counts.items()}
    # The rest of the division: one each to the first.
    rest = total - sum(poured.values())
    for number in sorted(poured, key=lambda number: (poured[number], number))[:rest]:
        poured[number] += 1
    return [replace(pod, connections=poured.get(pod.number, 0)) for pod in pods]


def _level(rising: Sequence[int], amount: int) -> int:
    """How high `amount` fills vessels with these contents, in whole connections: [1, 3, 9] and 6 -> 5."""
    poured = 0
    for filled, count in enumerate(rising, start=1):
        poured += count
        level = (poured + amount) // filled
        if filled == len(rising) or level <= rising[filled]:
            return level
    return 0


def totals(steps: Sequence[Step], policy: Policy) -> Totals:
    """Sum a run up."""
    moves = [after.desired - before.desired for before, after in itertools.pairwise(steps)]
    moves = [move for move in moves if move]
    needed = [
        max(policy.min_replicas, min(policy.max_replicas, -(-step.connections // policy.target))) for step in steps
    ]
    return Totals(
        peak=max(step.connections for step in steps),
        fewest=min(step.desired for step in steps),
        most=max(step.desired for step in steps),
        ups=sum(move > 0 for move in moves),
        downs=sum(move < 0 for move in moves),
        turns=sum((before > 0) != (after > 0) for before, after in itertools.pairwise(moves)),
        server_hours=sum(step.desired for step in steps) * TICK_SECONDS / 3600,
        needed_hours=sum(needed) * TICK_SECONDS / 3600,
        fullest=max(step.fullest for step in steps),
    )
