"""Rows that wait for delivery: each chat's are read once, in parts, and a chat that fails holds up no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.fanout.pending_rows import CHAT_ROWS, QUERY_ROWS, PendingRows
from chatserver.model import SeqRange


class Chats:
    """Chats and how far they are delivered here; None: nobody follows."""

    def __init__(self, **delivered: int | None) -> None:
        self.delivered = {int(name[1:]): seq for name, seq in delivered.items()}
        self.woken = 0
        self.pending = PendingRows(self.delivered.get, self._wake)

    def _wake(self) -> None:
        self.woken += 1


def test_what_is_missing_before_hinted_rows_is_read_with_them() -> None:
    chats = Chats(c7=3)
    chats.pending.add([SeqRange(7, 6, 8)])
    assert chats.woken == 1
    assert chats.pending.next_ranges() == [SeqRange(7, 4, 8)]


def test_a_large_hole_is_read_in_parts_and_a_full_query_leaves_the_rest_to_the_next() -> None:
    chats = Chats(**{f"c{chat_id}": 0 for chat_id in range(1, 7)})
    for chat_id in chats.delivered:
        chats.pending.reach(chat_id, 2 * CHAT_ROWS)
    ranges = chats.pending.next_ranges()
    assert ranges == [SeqRange(chat_id, 1, CHAT_ROWS) for chat_id in range(1, QUERY_ROWS // CHAT_ROWS + 1)]
    assert chats.woken == 0


@pytest.mark.parametrize("delivered", [None, 5, 9])
def test_a_chat_of_which_nobody_needs_rows_is_forgotten(delivered: int | None) -> None:
    chats = Chats(c7=delivered)
    chats.pending.reach(7, 5)
    assert chats.pending.next_ranges() == []
    assert not chats.pending


def test_a_chat_that_fails_is_left_out_until_the_retry_and_loses_nothing_that_came_meanwhile() -> None:
    chats = Chats(c7=0, c8=0)
    chats.pending.add([SeqRange(7, 1, 1), SeqRange(8, 1, 1)])
    [failed, _] = chats.pending.next_ranges()
    chats.pending.put_off(failed)
    chats.pending.add([SeqRange(7, 2, 2)])
    assert chats.pending.next_ranges() == [SeqRange(8, 1, 1)]
    chats.delivered[8] = 1
    woken = chats.woken
    chats.pending.retry()
    assert chats.woken > woken
    assert chats.pending.next_ranges() == [SeqRange(7, 1, 2)]


STEPS = st.lists(
    st.tuples(st.sampled_from(["commit", "hint", "deliver", "fail", "retry"]), st.integers(1, 3)), max_size=40
)


@given(STEPS)
def test_whatever_fails_and_comes_late_all_hinted_rows_are_delivered_in_the_end(steps: list[tuple[str, int]]) -> None:
    """Three chats; `fail`: a query of all of them works, and the chat of this number is put off."""
    chats = Chats(c1=0, c2=0, c3=0)
    last = dict.fromkeys(chats.delivered, 0)
    for step, chat_id in steps:
        if step == "commit":
            last[chat_id] += 1
        elif step == "hint" and last[chat_id]:
            chats.pending.add([SeqRange(chat_id, last[chat_id], last[chat_id])])
        elif step in {"deliver", "fail"}:
            _deliver(chats, failing=chat_id if step == "fail" else None)
        elif step == "retry":
            chats.pending.retry()
    chats.pending.add(SeqRange(chat_id, seq, seq) for chat_id, seq in last.items() if seq)
    chats.pending.retry()
    _deliver(chats)
    assert chats.delivered == last
    assert not chats.pending


def _deliver(chats: Chats, failing: int | None = None) -> None:
    while ranges := chats.pending.next_ranges():
        for chat_range in ranges:
            if chat_range.chat_id == failing:
                chats.pending.put_off(chat_range)
                continue
            assert chats.delivered[chat_range.chat_id] == chat_range.first_seq - 1
            chats.delivered[chat_range.chat_id] = chat_range.last_seq
