"""When each message is due, and how its identifier carries that time. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_CHARS = 36
"""Length of a UUID as text."""

KEY = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4000-8000-[0-9a-f]{12}")

_DUE_CHARS = 12
"""48 bits: microseconds of almost nine years on a clock that starts with the machine."""

T = TypeVar("T")


def key(number: int, process: int, due_us: int) -> bytes:
    """Return the id of a message: a UUID that contains when it was due, for all generator processes of this machine.

    Example:
        >>> key(7, 1, 255)
        b'00000007-0001-4000-8000-0000000000ff'
    """
    return b"%08x-%04x-4000-8000-%012x" % (number & 0xFFFFFFFF, process & 0xFFFF, due_us)


def due_us(data: bytes, start: int = 0) -> int:
    """Read from the key that begins at `start` when its message was due, in microseconds."""
    return int(data[start + KEY_CHARS - _DUE_CHARS : start + KEY_CHARS], 16)


def due_ns(started_ns: int, rate: float, number: int, process: int = 0, processes: int = 1) -> int:
    """Return when a process's message of this number is due.

    The processes take turns in one sequence of equal gaps: at 1,000/s two of them send at 0, 2, 4 and 1, 3, 5 ms.
    """
    return started_ns + int((number * processes + process) * 1e9 / rate)


def own_count(rate: float, seconds: float, process: int = 0, processes: int = 1) -> int:
    """Return how many messages of a load this process sends."""
    return len(range(process, int(rate * seconds), processes))


def dealt(items: Sequence[T], hands: int) -> list[list[T]]:
    """Distribute items in turn: five to two hands are three and two."""
    return [list(items[hand::hands]) for hand in range(hands)]
