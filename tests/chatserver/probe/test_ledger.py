"""The probe's ledger: what counts as lost, doubled and out of order, and what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatserver.probe.ledger import KEPT, Ledger, Received

LOST_SECONDS = 60.0


def acknowledged(count: int) -> Ledger:
    """A ledger of so many messages, each sent after the one before it was acknowledged; message N at second N."""
    ledger = Ledger(LOST_SECONDS)
    for number in range(1, count + 1):
        assert ledger.send(float(number)) == number
        assert not ledger.acknowledge(number, number, number + 0.5)
    return ledger


def test_a_message_that_arrives_has_a_round_trip_and_nothing_else() -> None:
    ledger = acknowledged(1)
    assert ledger.receive(1, 1.25) == Received(round_trip_seconds=0.25)
    assert ledger.lose(1_000.0, connected_at=0.0) == []


def test_a_message_may_arrive_before_its_acknowledgement() -> None:
    ledger = Ledger(LOST_SECONDS)
    ledger.send(1.0)
    assert ledger.receive(1, 1.1) == Received(round_trip_seconds=1.1 - 1.0)
    assert not ledger.acknowledge(1, 7, 1.2)


def test_a_message_is_lost_once_and_is_found_when_it_arrives_after_all() -> None:
    ledger = acknowledged(1)
    assert ledger.lose(1.5 + LOST_SECONDS - 0.01, connected_at=0.0) == []
    assert ledger.lose(1.5 + LOST_SECONDS, connected_at=0.0) == [1]
    assert ledger.lose(10_000.0, connected_at=0.0) == []
    assert ledger.receive(1, 70.0) == Received(round_trip_seconds=69.0, found=True)
    assert ledger.receive(1, 71.0) == Received(duplicated=True)


def test_what_was_not_acknowledged_is_never_lost() -> None:
    ledger = Ledger(LOST_SECONDS)
    ledger.send(1.0)
    assert ledger.lose(10_000.0, connected_at=0.0) == []


def test_time_without_a_connection_of_the_receiver_does_not_count() -> None:
    ledger = acknowledged(1)
    assert ledger.lose(10_000.0, connected_at=None) == []
    assert ledger.lose(10_000.0, connected_at=9_990.0) == []
    assert ledger.lose(9_990.0 + LOST_SECONDS, connected_at=9_990.0) == [1]


def test_a_message_that_was_given_up_may_arrive_behind_its_successor() -> None:
    ledger = Ledger(LOST_SECONDS)
    ledger.send(1.0)
    ledger.send(20.0)
    ledger.acknowledge(2, 5, 20.1)
    assert not ledger.receive(2, 20.2).reordered
    assert not ledger.receive(1, 20.3).reordered


def test_a_lower_place_in_the_chat_than_before_is_out_of_order() -> None:
    ledger = acknowledged(2)
    ledger.send(3.0)
    assert ledger.acknowledge(3, 1, 3.5)
    ledger.send(4.0)
    assert not ledger.acknowledge(4, 9, 4.5)


def test_after_a_restored_database_places_begin_further_down() -> None:
    ledger = acknowledged(5)
    ledger.begin_new_history()
    ledger.send(6.0)
    assert not ledger.acknowledge(6, 1, 6.5)
    assert not ledger.receive(6, 6.6).reordered


def test_what_another_run_has_sent_is_nothing_of_this_one() -> None:
    assert Ledger(LOST_SECONDS).receive(7, 1.0) == Received()


def test_the_memory_is_bounded() -> None:
    ledger = acknowledged(3 * KEPT)
    assert len(ledger) == KEPT
    assert len(ledger.lose(10_000.0, connected_at=0.0)) == KEPT
    assert ledger.receive(1, 10_000.0) == Received()


@given(st.integers(1, 30).flatmap(lambda count: st.permutations(range(1, count + 1))), st.data())
def test_any_order_of_arrival_is_counted_exactly(arrivals: list[int], data: st.DataObject) -> None:
    """Each arrival behind a later message is one of a wrong order, each repetition a duplicate, and none is lost."""
    repeated = data.draw(st.lists(st.sampled_from(arrivals), max_size=10))
    missing = set(data.draw(st.lists(st.sampled_from(arrivals), max_size=5)))
    ledger = acknowledged(len(arrivals))
    order = [number for number in arrivals if number not in missing]
    seen = [ledger.receive(number, 100.0 + at) for at, number in enumerate(order)]
    again = [ledger.receive(number, 200.0) for number in repeated if number not in missing]
    assert [one.reordered for one in seen] == [
        any(earlier > number for earlier in order[:at]) for at, number in enumerate(order)
    ]
    assert all(one.duplicated and one.round_trip_seconds is None for one in again)
    assert not any(one.duplicated or one.found for one in seen)
    lost = ledger.lose(1_000.0, connected_at=0.0)
    assert sorted(lost) == sorted(missing)
    assert all(ledger.receive(number, 2_000.0).found for number in lost)
    assert ledger.lose(10_000.0, connected_at=0.0) == []
