"""What hints may carry of stored messages: all of a range or nothing, small ones, and once."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from chatserver.bounds import GROUP_MEMBERS_MAX
from chatserver.fanout import rendered_rows
from chatserver.fanout.rendered_rows import RenderedRows
from chatserver.hints import ChatRows, Hint, HintRow
from chatserver.model import SeqRange

CHAT, ANA, BOB = 10, 1, 2


def add(
    rendered: RenderedRows, first: int, last: int, *, user_ids: tuple[int, ...] = (ANA, BOB), frame_bytes: int = 0
) -> None:
    rows = []
    for seq in range(first, last + 1):
        frame = json.dumps({"seq": seq}).encode().ljust(frame_bytes)
        rows.append(HintRow(seq, ANA, f"id-{seq}", 1_700_000_000_000_000 + seq, Raw(frame)))
    rendered.add(ChatRows(CHAT, user_ids, rows))


def taken(rendered: RenderedRows, first: int, last: int) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return by whom the rows of each batch may be seen, and their numbers, as a server that is hinted them reads."""
    hint = Hint("server", rows=rendered.take(SeqRange(CHAT, first, last)))
    return [
        (tuple(rows.user_ids), [json.loads(bytes(row.frame))["seq"] for row in rows.rows])
        for rows in Hint.decode(hint.encode_with_rows()).rows
    ]


def test_the_batches_of_a_range_keep_who_may_see_each_and_are_taken_once() -> None:
    rendered = RenderedRows()
    add(rendered, 1, 2)
    add(rendered, 3, 3, user_ids=(BOB,))
    add(rendered, 4, 4)
    assert taken(rendered, 1, 3) == [((ANA, BOB), [1, 2]), ((BOB,), [3])]
    assert taken(rendered, 1, 3) == []
    assert taken(rendered, 4, 4) == [((ANA, BOB), [4])]


def test_a_range_with_a_row_of_somebody_else_is_read() -> None:
    rendered = RenderedRows()
    add(rendered, 1, 1)
    add(rendered, 3, 3)
    assert taken(rendered, 1, 3) == []


def test_a_range_whose_first_rows_were_published_before_is_read() -> None:
    rendered = RenderedRows()
    add(rendered, 1, 1)
    assert taken(rendered, 1, 1)
    add(rendered, 2, 2)
    assert taken(rendered, 1, 2) == []


@pytest.mark.parametrize(
    ("frame_bytes", "count", "is_carried"),
    [
        (rendered_rows.MOST_ROW_BYTES, 1, True),
        (rendered_rows.MOST_ROW_BYTES + 1, 1, False),
        (rendered_rows.MOST_ROW_BYTES, 7, True),
        (rendered_rows.MOST_ROW_BYTES, 8, False),
    ],
)
def test_what_is_too_large_is_read(frame_bytes: int, count: int, *, is_carried: bool) -> None:
    rendered = RenderedRows()
    add(rendered, 1, count, frame_bytes=frame_bytes)
    assert bool(taken(rendered, 1, count)) == is_carried


def test_batches_that_are_too_large_together_are_read() -> None:
    rendered = RenderedRows()
    for seq in range(1, 9):
        add(rendered, seq, seq, frame_bytes=rendered_rows.MOST_ROW_BYTES)
    assert taken(rendered, 1, 8) == []


def test_messages_of_the_largest_group_are_carried() -> None:
    rendered = RenderedRows()
    add(rendered, 1, 1, user_ids=tuple(range(2**53 - GROUP_MEMBERS_MAX, 2**53)), frame_bytes=1000)
    assert taken(rendered, 1, 1)


def test_what_waits_is_bounded_and_its_place_is_free_again_once_it_is_taken() -> None:
    rendered = RenderedRows()
    for _ in range(2):
        added = 0
        while rendered._bytes < rendered_rows.MOST_BYTES - rendered_rows.MOST_CHAT_BYTES:
            added += 1
            add(rendered, added, added, frame_bytes=rendered_rows.MOST_ROW_BYTES)
        for seq in range(added + 1, added + 50):
            add(rendered, seq, seq, frame_bytes=rendered_rows.MOST_ROW_BYTES)
        assert rendered._bytes <= rendered_rows.MOST_BYTES
        taken(rendered, 1, added + 50)
        assert rendered._bytes == 0
