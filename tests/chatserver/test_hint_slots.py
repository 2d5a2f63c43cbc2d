"""Slots of hints: none is written again before its hint is known to be published."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatserver.storage.hint_slots import HintSlots, Slot

steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "publish", "roll back", "lose", "clear idle"]),
        st.integers(0, 7),
    ),
    max_size=80,
)


@given(steps)
def test_a_slot_is_written_again_only_when_its_hint_is_published(steps: list[tuple[str, int]]) -> None:
    slots = HintSlots("server")
    taken: list[Slot] = []
    # What a row may say that nobody has published.
    unpublished: set[int] = set()
    batches: set[int] = set()
    for step, place in steps:
        if step == "take":
            slot = slots.take()
            assert slot.number not in unpublished | {other.number for other in taken}
            assert slot.batch not in batches
            batches.add(slot.batch)
            taken.append(slot)
        elif step == "clear idle":
            idle = slots.take_idle()
            assert not unpublished.intersection(idle)
            assert slots.take().number not in {*idle, *unpublished}
            slots.cleared(idle)
        elif taken:
            slot = taken.pop(place % len(taken))
            if step == "publish":
                slots.published(slot)
            elif step == "roll back":
                slots.unwritten(slot)
            else:
                slots.uncertain(slot)
                unpublished.add(slot.number)
    assert slots.take_uncertain() == unpublished
    assert slots.take_uncertain() == set()


def test_the_lowest_free_slot_is_taken_so_that_few_rows_are_written() -> None:
    slots = HintSlots("server")
    first, second = slots.take(), slots.take()
    slots.published(second)
    slots.published(first)
    assert [slots.take().number for _ in range(3)] == [1, 2, 3]


def test_a_published_slot_is_idle_when_it_was_not_written_between_two_looks() -> None:
    slots = HintSlots("server")
    busy, still = slots.take(), slots.take()
    slots.published(busy)
    slots.published(still)
    assert slots.take_idle() == []
    slots.published(slots.take())
    assert slots.take_idle() == [still.number]
    slots.cleared([still.number])
    # The row is deleted: nothing is to be cleared until it is written again.
    assert slots.take_idle() == [busy.number]
    assert slots.take_idle() == []


def test_all_published_slots_are_cleared_at_the_end_and_no_other() -> None:
    slots = HintSlots("server")
    published, in_flight, rolled_back = slots.take(), slots.take(), slots.take()
    slots.published(published)
    slots.unwritten(rolled_back)
    assert slots.take_published() == [published.number]
    slots.uncertain(in_flight)
    assert slots.take_published() == []


def test_another_process_of_the_same_server_has_slots_of_its_own() -> None:
    assert HintSlots("server").owner != HintSlots("server").owner
