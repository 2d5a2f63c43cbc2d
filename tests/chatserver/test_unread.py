"""Answers that nobody reads take a bounded share of a server's memory, and cost who leaves the most unread."""

from __future__ import annotations

from chatserver.routes.unread import Unread


class FakeConnection:
    def __init__(self) -> None:
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True


def test_who_leaves_the_most_unread_loses_their_oldest_answers_and_nobody_else_any() -> None:
    unread = Unread(most_bytes=100)
    patient, greedy = FakeConnection(), [FakeConnection() for _ in range(20)]
    unread.hold(patient, "ana", 30)
    for connection in greedy:
        unread.hold(connection, "eve", 20)
        assert unread.total <= 100
    assert not patient.given_up
    assert [connection.given_up for connection in greedy] == [True] * 17 + [False] * 3


def test_what_is_read_counts_no_more_and_what_is_held_anew_counts_once() -> None:
    unread = Unread(most_bytes=100)
    first, second = FakeConnection(), FakeConnection()
    unread.hold(first, "ana", 60)
    unread.hold(first, "ana", 90)
    assert unread.total == 90
    unread.release(first)
    unread.release(first)
    assert unread.total == 0
    unread.hold(second, "ana", 90)
    assert not first.given_up
    assert not second.given_up
