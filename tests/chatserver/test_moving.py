"""Moving clients elsewhere: each once, whoever moves it, and all of them spread over the time they have."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.hub import Hub
from chatserver.fleet.moving import Mover, reconnect_delays_ms

WITHIN_SECONDS = 10.0
AGAIN_SECONDS = 5.0


@given(st.integers(0, 300), st.floats(0, 60), st.randoms(use_true_random=False))
def test_clients_leave_within_the_window_each_in_a_slice_of_its_own(count: int, window: float, random: object) -> None:
    values = [random.random() for _ in range(count)]  # type: ignore[attr-defined]
    delays = reconnect_delays_ms(count, window, values)
    assert len(delays) == count
    for place, delay in enumerate(delays):
        # Whole milliseconds, of floats.
        assert place * window * 1000 / count - 1 <= delay <= (place + 1) * window * 1000 / count + 1


def test_no_time_left_means_at_once() -> None:
    assert reconnect_delays_ms(2, 0, [0.5, 0.9]) == [0, 0]


class _Moved:
    """A hub with connections, and a mover of their clients."""

    def __init__(self, count: int) -> None:
        self.hub = Hub()
        self.connections = [ClientConnection(f"c{number}", number, number) for number in range(count)]
        for connection in self.connections:
            self.hub.add(connection)
        self.mover = Mover(self.hub, random.Random(1))  # noqa: S311 - when each leaves is no secret

    def move(self, now: float, *, again_after_seconds: float = AGAIN_SECONDS) -> int:
        return self.mover.move(self.connections, WITHIN_SECONDS, now=now, again_after_seconds=again_after_seconds)

    def frames(self) -> list[list[Any]]:
        return [[msgspec.json.decode(frame) for frame in connection.outbox.take()] for connection in self.connections]


def test_a_client_is_moved_once_whoever_moves_it() -> None:
    moved = _Moved(20)
    assert moved.move(100) == 20
    assert moved.move(101, again_after_seconds=math.inf) == 0
    frames = moved.frames()
    assert [[frame["type"] for frame in got] for got in frames] == [["reconnect"]] * 20
    # Each slice of the time has its client, and not in the order in which they came.
    moments = [got[0]["after_ms"] for got in frames]
    assert sorted(int(moment / 1000 * 20 / WITHIN_SECONDS) for moment in moments) == list(range(20))
    assert moments != sorted(moments)


def test_a_client_that_comes_later_is_moved_too() -> None:
    moved = _Moved(1)
    assert moved.move(100) == 1
    late = ClientConnection("late", 7, 7)
    moved.hub.add(late)
    moved.connections.append(late)
    assert moved.move(101) == 1
    assert [len(frames) for frames in moved.frames()] == [1, 1]


def test_a_client_that_ignores_its_moment_may_be_moved_again() -> None:
    moved = _Moved(1)
    moved.move(100)
    moment = 100 + moved.frames()[0][0]["after_ms"] / 1000
    assert moved.move(moment + AGAIN_SECONDS - 0.1) == 0
    assert moved.move(moment + AGAIN_SECONDS) == 1


def test_only_connections_that_are_still_here_count_as_leaving() -> None:
    moved = _Moved(2)
    moved.move(100)
    assert moved.mover.leaving(100) == {"c0", "c1"}
    moved.hub.remove(moved.connections[0], 101)
    assert moved.mover.leaving(101) == {"c1"}


def test_a_drain_moves_again_whoever_was_moved_before() -> None:
    moved = _Moved(3)
    moved.move(100)
    moved.mover.forget()
    assert moved.move(101, again_after_seconds=math.inf) == 3
    assert moved.move(1e9, again_after_seconds=math.inf) == 0
