"""Controls generator processes: starts them, gives them a common start time, and merges their results."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from bench import latencies, schedule
from bench.orders import Connected, Order, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SECONDS = 300.0
"""Longest load."""

CONNECT_SECONDS = 300.0
"""Longest wait until all clients are connected."""

SETTLE_SECONDS = 120.0
"""Longest wait after a load for the results."""

NOTICE_SECONDS = 0.2
"""From the start signal to the first message: by then each process has read the signal."""


T = TypeVar("T")


class GeneratorError(RuntimeError):
    """A generator process failed; the text has its output."""


class Fleet:
    """Processes that share one order; use it as a context manager.

    Args:
        order: for all of them together.
        processes: how many; the parties are distributed among them.

    Attributes:
        connections: open connections.
        retries: connections that were refused at first.
        connect_seconds: time that the slowest process took to open its share.
    """

    def __init__(self, order: Order, processes: int) -> None:
        if order.seconds > MAX_SECONDS:
            raise ValueError(f"a load of {order.seconds:g} s: at most {MAX_SECONDS:g}")
        self._order = order
        hands = schedule.dealt(order.parties, min(processes, len(order.parties)))
        self._members = [_Member(msgspec.structs.replace(order, parties=hand, process=place, processes=len(hands)))
                         for place, hand in enumerate(hands)]  # fmt: skip
        self.connections = 0
        self.retries = 0
        self.connect_seconds = 0.0

    def __enter__(self) -> Self:
        try:
            for member in self._members:
                member.start()
            said = [member.read(Connected, CONNECT_SECONDS) for member in self._members]
        except BaseException:
            self.__exit__()
            raise
        self.connections = sum(one.connections for one in said)
        self.retries = sum(one.retries for one in said)
        self.connect_seconds = max(one.seconds for one in said)
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.stop()

    def go(self) -> int:
        """Start all at one time; returns it, in nanoseconds of the monotonic clock."""
        started_ns = time.monotonic_ns() + int(NOTICE_SECONDS * 1e9)
        for member in self._members:
            member.write(b"%d\n" % started_ns)
        return started_ns

    def result(self) -> Result:
        """Wait for the end of the load; returns the merged results.

        Raises:
            GeneratorError: A generator failed, or took too long.
        """
        seconds = self._order.seconds + SETTLE_SECONDS
        return merged([member.read(Result, seconds) for member in self._members])


def merged(results: Sequence[Result]) -> Result:
    """Return the results of several processes as one."""
    return Result(
        sent=sum(one.sent for one in results),
        acked=sum(one.acked for one in results),
        delivered=sum(one.delivered for one in results),
        refused=sum(one.refused for one in results),
        seconds=max(one.seconds for one in results),
        cpu_seconds=sum(one.cpu_seconds for one in results),
        acked_us=latencies.merge(one.acked_us for one in results),
        delivered_us=latencies.merge(one.delivered_us for one in results),
        late_us=latencies.merge(one.late_us for one in results),
    )


class _Member:
    """One generator process."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self.write(msgspec.json.encode(self._order) + b"\n")

    def write(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            raise GeneratorError("the generator does not run")
        # The reason of a process that exited is reported when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def read(self, kind: type[T], seconds: float) -> T:
        if self._process is None or self._process.stdout is None:
            raise GeneratorError("the generator does not run")
        guard = threading.Timer(seconds, self._process.kill)
        guard.start()
        try:
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            code = self._process.wait(10)
            self._errors.seek(0)
            raise GeneratorError(f"a generator ended with {code}:\n{self._errors.read().decode()}")
        return msgspec.json.decode(line, type=kind)

    def stop(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self._errors.close()
