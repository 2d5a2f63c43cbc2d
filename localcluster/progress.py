"""What the user sees: stages with their duration, heartbeats in long ones, and errors that name the remedy."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

HEARTBEAT_SECONDS = 15
"""Seconds between signs of life in a long stage; a user takes a silent minute for a hang."""

TAIL_LINES = 25
"""Lines of a failed stage's log that are shown."""


class LocalClusterError(Exception):
    """Something went wrong that the user can act on.

    Attributes:
        remedy: what to do next, one sentence.
        log: the file that says more, if there is one.
    """

    def __init__(self, message: str, *, remedy: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.log = log


def say(line: str) -> None:
    """Print one line for the user at once."""
    # In one call: two threads may report stages.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Stage:
    """A step of `make up`: prints its start, a heartbeat while it runs, and its duration.

    Attributes:
        detail: a word on what happens just now, shown by the heartbeat.
        note: what the closing line says beside the duration.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.note = ""
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        say(f"==> {self.title}")
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        seconds = time.monotonic() - self._started
        outcome = "FAILED after" if kind else "done in"
        say(f"    {outcome} {seconds:.1f} s: {self.title}" + (f" ({self.note})" if self.note and not kind else ""))

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            seconds = time.monotonic() - self._started
            say(f"    ... {seconds:.0f} s: {self.title}" + (f": {self.detail}" if self.detail else ""))


@contextlib.contextmanager
def deadline(seconds: float, what: str, remedy: str, log: Path | None = None) -> Iterator[Deadline]:
    """Give a wait its time limit; `Deadline.check` raises when it is over."""
    yield Deadline(time.monotonic() + seconds, seconds, what, remedy, log)


class Deadline:
    """The end of a wait."""

    def __init__(self, at: float, seconds: float, what: str, remedy: str, log: Path | None) -> None:
        self._at = at
        self._seconds = seconds
        self._what = what
        self._remedy = remedy
        self._log = log

    def sleep(self, seconds: float) -> None:
        """Wait a moment.

        Raises:
            LocalClusterError: the time limit has passed.
        """
        if time.monotonic() >= self._at:
            raise LocalClusterError(
                f"{self._what}: not within {self._seconds:.0f} s", remedy=self._remedy, log=self._log
            )
        time.sleep(seconds)


def explain(error: LocalClusterError) -> None:
    """Print an error for the user: what its log says last, what happened, where the log is, and what to do next."""
    for line in tail(error.log) if error.log is not None else ():
        say(f"    | {line}")
    say(f"error: {error}")
    if error.log is not None:
        say(f"  log: {error.log}")
    if error.remedy:
        say(f"  next: {error.remedy}")


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a text file; empty if there is none."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
