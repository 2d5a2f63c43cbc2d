"""Cursors: they survive the way to the client and back, and nothing else passes for one."""

from __future__ import annotations

import base64
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.bounds import CURSOR_MAX_CHARS
from chatserver.errors import ValidationFailed
from chatserver.messaging.cursor import (
    ChatWalk,
    FeedCursor,
    ShardsPosition,
    decode_chat_walk,
    decode_since,
    encode_chat_walk,
    encode_feed_cursor,
    next_cursor,
)
from chatserver.model import MessageRow
from chatserver.storage.feed import FeedKey


@st.composite
def snapshots(draw: st.DrawFn) -> str:
    xmin = draw(st.integers(1, 2**50))
    open_ids = sorted(draw(st.sets(st.integers(xmin, xmin + 5000), max_size=100)))
    xmax = draw(st.integers((open_ids[-1] if open_ids else xmin) + 1, xmin + 6000))
    return f"{xmin}:{xmax}:{','.join(map(str, open_ids))}"


seconds = st.integers(0, 2**32)
cursors = st.builds(
    FeedCursor,
    st.text(min_size=1, max_size=16),
    st.none() | snapshots(),
    st.none() | seconds,
    st.none() | snapshots(),
    st.none() | st.builds(FeedKey, st.integers(0, 2**50), st.integers(0, 2**61), st.integers(0, 2**61)),
    st.lists(st.sets(st.integers(1, 255), min_size=1), max_size=4).flatmap(
        # Each database has shards of its own: 256 apart.
        lambda groups: st.tuples(
            *(
                st.builds(
                    ShardsPosition,
                    st.just(tuple(sorted(256 * number + shard for shard in shards))),
                    st.text(min_size=1, max_size=16),
                    st.none() | snapshots(),
                    st.none() | snapshots(),
                )
                for number, shards in enumerate(groups)
            )
        )
    ),
)


@given(cursors)
def test_cursor_comes_back_as_it_left(cursor: FeedCursor) -> None:
    text = encode_feed_cursor(cursor)
    assert decode_since(text) == cursor
    assert re.fullmatch(r"[A-Za-z0-9._\-]+", text)
    assert not re.fullmatch(r"[0-9]{1,12}", text)


def packed(*fields: object) -> str:
    return "c1." + base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")


ONE_DATABASE = [
    (("e", (5, 4, 1, 2), None, None, None), FeedCursor("e", lower="5:9:6,8")),
    (("e", None, 7, (5, 0), (1, 2, 3)), FeedCursor("e", from_second=7, upper="5:5:", after=FeedKey(1, 2, 3))),
]


@pytest.mark.parametrize(("fields", "cursor"), ONE_DATABASE)
def test_a_cursor_of_one_database_is_the_same_in_the_release_before(
    fields: tuple[object, ...], cursor: FeedCursor
) -> None:
    assert decode_since(packed(*fields)) == cursor
    assert encode_feed_cursor(cursor) == packed(*fields)


def test_a_cursor_has_room_for_every_shard() -> None:
    shards = [tuple(range(first, 1024, 32)) for first in range(1, 32)]
    # As large as they become after 300,000 transactions a second for a century, with ten open ones.
    snapshot = f"{10**15}:{10**15 + 5000}:{','.join(str(10**15 + 400 * number) for number in range(10))}"
    elsewhere = tuple(ShardsPosition(some, "0123456789abcdef", lower=snapshot) for some in shards)
    cursor = FeedCursor("0123456789abcdef", lower=snapshot, elsewhere=elsewhere)
    text = encode_feed_cursor(cursor)
    assert sum(len(position.shards) for position in elsewhere) == 1023 - 31
    assert len(text) < CURSOR_MAX_CHARS
    assert decode_since(text) == cursor


@pytest.mark.parametrize(
    "elsewhere",
    [
        [((), "e", None, None)],
        [((0,), "e", None, None)],
        [((-1,), "e", None, None)],
        [((1, 0), "e", None, None)],
        [((1024,), "e", None, None)],
        [((1023, 1), "e", None, None)],
        [((1,), "", None, None)],
        [((1,), "e", (5,), None)],
        [((1,), "e", None, None), ((1,), "f", None, None)],
        [((1,), "e", None, None, None)],
        [((1,), "e")],
    ],
)
def test_shards_that_no_server_names_are_refused(elsewhere: list[object]) -> None:
    with pytest.raises(ValidationFailed):
        decode_since(packed("e", None, None, None, None, elsewhere))


@given(st.text() | st.binary().map(lambda data: "c1." + data.hex()) | st.from_regex(r"c1\.[A-Za-z0-9_\-]{0,60}"))
def test_foreign_text_is_refused_or_decodes_to_something_postgres_takes(text: str) -> None:
    try:
        cursor = decode_since(text)
    except ValidationFailed as error:
        assert [field.path for field in error.errors] == ["since"]
        return
    if isinstance(cursor, FeedCursor):
        for snapshot in (cursor.lower, cursor.upper):
            assert snapshot is None or re.fullmatch(r"\d+:\d+:[\d,]*", snapshot)


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("1700000000", 1_700_000_000), ("9" * 12, 999_999_999_999)])
def test_up_to_twelve_digits_are_unix_seconds(text: str, expected: int) -> None:
    assert decode_since(text) == expected


@given(st.integers(0, 2**50), st.integers(0, 2**61), st.none() | snapshots(), st.none() | snapshots())
def test_a_walk_through_chats_comes_back_as_it_left(
    last_at_us: int, chat_id: int, began: str | None, since: str | None
) -> None:
    walk = ChatWalk((last_at_us, chat_id), began, since, "2f8a" if began else "")
    assert decode_chat_walk(encode_chat_walk(walk)) == walk


def test_a_walk_that_began_with_the_release_before_goes_on() -> None:
    packed = base64.urlsafe_b64encode(msgspec.msgpack.encode([1_700_000_000_000_000, 12])).decode().rstrip("=")
    assert decode_chat_walk(f"c1.{packed}") == ChatWalk((1_700_000_000_000_000, 12))


def rows(count: int) -> tuple[MessageRow, ...]:
    return tuple(
        MessageRow(
            chat_id=4, seq=seq, kind="message", target_seq=None, message_id=seq, from_id=1, from_name="ada", to="bob",
            text="x", type="text", media_url=None, reply_to=None, detail=None, created_at_us=seq * 10, status="sent",
            client_id="",
        )
        for seq in range(1, count + 1)
    )  # fmt: skip


def test_while_there_is_more_both_bounds_and_the_last_row_are_kept() -> None:
    asked = FeedCursor("e", lower="5:5:", upper=None)
    cursor = next_cursor(asked, rows(3), more=True, snapshot="9:9:", epoch="e")
    assert cursor == FeedCursor("e", lower="5:5:", upper="9:9:", after=FeedKey(30, 4, 3))
    # The next read sees more, and still serves the run that began at 9:9.
    cursor = next_cursor(cursor, rows(3), more=True, snapshot="12:12:", epoch="e")
    assert cursor.upper == "9:9:"


def test_the_last_page_hands_out_what_its_run_could_see() -> None:
    run = FeedCursor("e", lower="5:5:", upper="9:9:", after=FeedKey(30, 4, 3))
    assert next_cursor(run, rows(3), more=False, snapshot="12:12:", epoch="e") == FeedCursor("e", lower="9:9:")
    first = FeedCursor("", from_second=7)
    assert next_cursor(first, (), more=False, snapshot="12:12:", epoch="e") == FeedCursor("e", lower="12:12:")
