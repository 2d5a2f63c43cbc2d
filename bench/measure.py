"""Measures one load on one subject and its resource usage; the scenarios combine these."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import latencies
from bench.fleet import Fleet
from bench.orders import Order, Result
from bench.usage import cpu_seconds, resident_kib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.orders import Person
    from bench.subjects import Subject

Row = dict[str, Any]

GENERATORS = 2
"""Generator processes: enough for any server on the same machine, and no more than it has CPUs."""

WARM_UP_CONNECTIONS = 20
"""Connections opened and closed before memory is measured: the first ones allocate what later ones reuse."""

FAILURES = (AssertionError, RuntimeError, OSError, subprocess.SubprocessError)
"""Errors of a scenario after which the next one can still run."""


class RowsDiffer(AssertionError):
    """The database lacks acknowledged messages, so that the figures are invalid."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurement of a load.

    Attributes:
        cpu: CPU seconds by user: server, database, proxy, generator.
    """

    result: Result
    cpu: dict[str, float]

    @property
    def acked_per_second(self) -> float:
        """Committed messages per second."""
        return self.result.acked / self.result.seconds

    def costs(self) -> Row:
        """CPU microseconds per message, and the number of rejected sends."""
        return {
            "messages": self.result.acked,
            "refused": self.result.refused,
            "cpu us": {who: round(1e6 * seconds / self.result.acked) for who, seconds in self.cpu.items()},
        }

    def times(self) -> Row:
        """Milliseconds to the acknowledgement and to the recipient, and the lateness of the generator."""
        return {
            "acked": latencies.percentiles(self.result.acked_us),
            "delivered": latencies.percentiles(self.result.delivered_us),
            "generator late": latencies.percentiles(self.result.late_us),
        }


def ordered(subject: Subject, parties: list[list[Person]], **order: Any) -> Order:
    """Return an order for a subject."""
    return Order(wire=subject.wire, urls=subject.urls, authority=subject.authority, parties=parties, **order)


def loaded(subject: Subject, order: Order, generators: int = GENERATORS) -> Measured:
    """Execute an order.

    Raises:
        RowsDiffer: the database has more or fewer new messages than were acknowledged, or recipients have.
    """
    stored = subject.stored()
    with Fleet(order, generators) as fleet:
        before = used(subject)
        fleet.go()
        result = fleet.result()
        cpu = since(before, subject)
    check(order, result, subject.stored() - stored)
    return Measured(result, cpu | {"generator": result.cpu_seconds})


def check(order: Order, result: Result, new: int) -> None:
    """Compare acknowledged with stored and delivered messages."""
    reached = {len(party) - 1 for party in order.parties}
    expected = result.acked * reached.pop() if len(reached) == 1 else result.delivered
    if result.acked == 0 or new != result.acked or result.delivered != expected:
        raise RowsDiffer(
            f"{result.sent} sent, {result.acked} acknowledged, {result.refused} refused, {new} stored, "
            f"{result.delivered} of {expected} delivered"
        )


def used(subject: Subject) -> dict[str, float]:
    """Return the CPU seconds that each kind of process has used."""
    return {who: cpu_seconds(pids) for who, pids in subject.processes().items()}


def since(before: dict[str, float], subject: Subject) -> dict[str, float]:
    """Return the CPU seconds used since."""
    return {who: seconds - before[who] for who, seconds in used(subject).items()}


def warm_up(subject: Subject, pairs: list[list[Person]], seconds: float) -> None:
    """Load a subject shortly, so that its caches, plans and pools are like after a long run."""
    loaded(subject, ordered(subject, pairs, mode="closed", seconds=seconds, window=1))


def at_rates(subject: Subject, pairs: list[list[Person]], rates: Sequence[float], seconds: float) -> list[Row]:
    """B: latencies at fixed rates, open loop."""
    rows = []
    for rate in rates:
        measured = loaded(subject, ordered(subject, pairs, mode="open", seconds=seconds, rate=rate))
        rows.append({"subject": subject.name, "rate": round(rate), **measured.times(), **measured.costs()})
    return rows


def at_most(subject: Subject, pairs: list[list[Person]], windows: Sequence[int], seconds: float) -> list[Row]:
    """C: messages per second, sent as fast as they are acknowledged."""
    rows = []
    for window in windows:
        measured = loaded(subject, ordered(subject, pairs, mode="closed", seconds=seconds, window=window))
        per_second = round(measured.acked_per_second)
        times = measured.times()
        rows.append(
            {
                "subject": subject.name,
                "senders": len(pairs),
                "window": window,
                "messages/s": per_second,
                "acked": times["acked"],
                "delivered": times["delivered"],
                **measured.costs(),
            }
        )
    return rows


def idle_memory(subject: Subject, counts: Sequence[int], generators: int = GENERATORS) -> list[Row]:
    """A: the server's memory per idle signed-in connection.

    Connections are added to those that are there: memory that ended connections leave would hide the next ones'.
    """
    users = subject.users(max(counts))
    with Fleet(ordered(subject, [[one] for one in users[:WARM_UP_CONNECTIONS]], mode="hold"), 1):
        pass
    servers = subject.processes()["server"]
    empty = resident_kib(servers)
    rows = []
    with contextlib.ExitStack() as held:
        open_now = 0
        for count in sorted(counts):
            before = used(subject)
            added = [[one] for one in users[open_now:count]]
            fleet = held.enter_context(Fleet(ordered(subject, added, mode="hold"), generators))
            cpu = since(before, subject)
            rows.append(
                {
                    "subject": subject.name,
                    "connections": count,
                    "KiB each": round((resident_kib(servers) - empty) / count, 1),
                    "connected/s": round(len(added) / fleet.connect_seconds),
                    "tried again": fleet.retries,
                    "cpu us a connection": {who: round(1e6 * seconds / len(added)) for who, seconds in cpu.items()},
                }
            )
            open_now = count
    return rows
