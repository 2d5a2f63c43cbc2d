"""What is kept for slow clients takes a bounded share of a server's memory, and costs who has the most of it."""

from __future__ import annotations

from chatserver.transport.kept import Kept


class FakeConnection:
    def __init__(self) -> None:
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True


def test_who_has_the_most_loses_their_oldest_and_nobody_else_any() -> None:
    kept = Kept(100, "given_up")
    patient, greedy = FakeConnection(), [FakeConnection() for _ in range(20)]
    kept.hold(patient, "ana", 30)
    for connection in greedy:
        kept.hold(connection, "eve", 20)
        assert kept.total <= 100
    assert not patient.given_up
    assert [connection.given_up for connection in greedy] == [True] * 17 + [False] * 3


def test_what_is_released_counts_no_more_and_what_is_held_anew_counts_once() -> None:
    kept = Kept(100, "given_up")
    first, second = FakeConnection(), FakeConnection()
    kept.hold(first, "ana", 60)
    kept.hold(first, "ana", 90)
    assert kept.total == 90
    kept.release(first)
    kept.release(first)
    assert kept.total == 0
    kept.hold(second, "ana", 90)
    assert not first.given_up
    assert not second.given_up
