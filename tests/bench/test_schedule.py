"""When messages are due, and keys that tell it."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from bench import schedule

counts = st.integers(1, 8)


def test_processes_take_turns_in_one_sequence_of_equal_gaps() -> None:
    due = [schedule.due_ns(0, 1000, number, process, 2) for process in (0, 1) for number in (0, 1, 2)]
    assert due == [0, 2_000_000, 4_000_000, 1_000_000, 3_000_000, 5_000_000]


@given(rate=st.floats(0.5, 50_000), seconds=st.floats(0.1, 3), processes=counts)
def test_all_processes_together_send_what_one_would(rate: float, seconds: float, processes: int) -> None:
    shares = [schedule.own_count(rate, seconds, process, processes) for process in range(processes)]
    assert sum(shares) == schedule.own_count(rate, seconds) == int(rate * seconds)
    assert max(shares) - min(shares) <= 1


@given(rate=st.floats(1, 10_000), processes=counts)
def test_the_due_times_of_all_processes_are_those_of_one(rate: float, processes: int) -> None:
    alone = [schedule.due_ns(7, rate, number) for number in range(schedule.own_count(rate, 0.02))]
    shared = [
        schedule.due_ns(7, rate, number, process, processes)
        for process in range(processes)
        for number in range(schedule.own_count(rate, 0.02, process, processes))
    ]
    assert sorted(shared) == alone


@given(number=st.integers(0, 2**32 - 1), process=st.integers(0, 2**16 - 1), due_us=st.integers(0, 2**48 - 1))
def test_a_key_is_a_uuid_that_tells_when_its_message_was_due(number: int, process: int, due_us: int) -> None:
    key = schedule.key(number, process, due_us)
    assert schedule.KEY.fullmatch(key)
    assert schedule.due_us(b"before" + key + b"after", len(b"before")) == due_us


def test_keys_of_different_messages_differ() -> None:
    keys = {schedule.key(*parts) for parts in itertools.product(range(3), range(3), range(3))}
    assert len(keys) == 27


@given(items=st.lists(st.integers()), hands=counts)
def test_dealing_out_loses_nothing_and_is_even(items: list[int], hands: int) -> None:
    dealt = schedule.dealt(items, hands)
    assert sorted(itertools.chain(*dealt)) == sorted(items)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
