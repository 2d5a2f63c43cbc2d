"""Hints between servers: every part arrives, in payloads that NOTIFY takes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.hints import HINT_MAX_BYTES, Hint, MembershipChange, merged
from chatserver.model import SeqRange

ids = st.integers(1, 2**63 - 1)
hints = st.builds(
    Hint,
    st.text(max_size=60),
    ranges=st.lists(st.builds(SeqRange, ids, ids, ids), max_size=300).map(tuple),
    members=st.lists(
        st.builds(MembershipChange, ids, st.lists(ids, min_size=1, max_size=300).map(tuple)), max_size=4
    ).map(tuple),
    receipts=st.lists(st.tuples(ids, ids, ids, ids), max_size=300).map(tuple),
    own_receipts=st.lists(st.tuples(ids, ids, ids, ids), max_size=300).map(tuple),
    revoked=st.lists(ids, max_size=300).map(tuple),
    typing=st.lists(st.tuples(ids, ids), max_size=10).map(tuple),
    presence=st.lists(st.tuples(ids, st.integers(0, 1)), max_size=10).map(tuple),
    claims=st.lists(st.tuples(ids, st.text("0123456789abcdef", min_size=16, max_size=16)), max_size=300).map(tuple),
    is_batch=st.booleans(),
)


@given(hints)
def test_payloads_fit_and_add_up_to_the_hint(hint: Hint) -> None:
    payloads = hint.encode()
    assert all(len(payload.encode()) <= HINT_MAX_BYTES for payload in payloads)
    pieces = [Hint.decode(payload) for payload in payloads]
    assert {(piece.origin, piece.is_batch) for piece in pieces} <= {(hint.origin, hint.is_batch)}
    for field in ("ranges", "receipts", "own_receipts", "revoked", "typing", "presence", "claims"):
        assert tuple(item for piece in pieces for item in getattr(piece, field)) == getattr(hint, field)
    told = [(news.chat_id, user) for piece in pieces for news in piece.members for user in news.user_ids]
    assert told == [(news.chat_id, user) for news in hint.members for user in news.user_ids]


def test_hint_that_says_nothing_is_not_sent() -> None:
    assert Hint("server").encode() == []


def test_group_of_1024_fits() -> None:
    news = MembershipChange(2**62, tuple(range(2**62, 2**62 + 1024)))
    assert sum(len(Hint.decode(text).members[0].user_ids) for text in Hint("server", members=(news,)).encode()) == 1024


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"o": 1}', '{"o":"a","c":[[1]]}'])
def test_foreign_payload_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Hint.decode(payload)


def test_field_of_a_newer_server_is_ignored() -> None:
    assert Hint.decode('{"o":"a","new":[1],"c":[[1,2,3]]}') == Hint("a", ranges=(SeqRange(1, 2, 3),))


@given(st.lists(hints, max_size=6))
def test_merged_hints_lead_to_the_same(some: list[Hint]) -> None:
    for origin, is_batch in {(hint.origin, hint.is_batch) for hint in some}:
        [one] = [other for other in merged(some) if (other.origin, other.is_batch) == (origin, is_batch)]
        assert said(one) == said(*(hint for hint in some if (hint.origin, hint.is_batch) == (origin, is_batch)))


def said(*some: Hint) -> tuple[object, ...]:
    """Return what hints say, in the terms of those who receive them."""
    reached: dict[int, int] = {}
    first: dict[int, int] = {}
    marks: dict[tuple[int, int, bool], tuple[int, int]] = {}
    for hint in some:
        for chat_id, first_seq, last_seq in (msgspec.to_builtins(item) for item in hint.ranges):
            reached[chat_id] = max(reached.get(chat_id, 0), last_seq)
            first[chat_id] = min(first.get(chat_id, first_seq), first_seq)
        for is_own, receipts in ((False, hint.receipts), (True, hint.own_receipts)):
            for chat_id, user_id, delivered, read in receipts:
                before = marks.get((chat_id, user_id, is_own), (0, 0))
                marks[chat_id, user_id, is_own] = (max(before[0], delivered), max(before[1], read))
    return (
        reached,
        first,
        marks,
        {(change.chat_id, user_id) for hint in some for change in hint.members for user_id in change.user_ids},
        {device_id for hint in some for device_id in hint.revoked},
        {pair for hint in some for pair in hint.typing},
        dict(pair for hint in some for pair in hint.presence),
        [claim for hint in some for claim in hint.claims],
    )


def test_rows_of_batches_stay_apart_from_others() -> None:
    own, other = Hint("a", ranges=(SeqRange(1, 1, 1),), is_batch=True), Hint("a", ranges=(SeqRange(1, 2, 2),))
    assert merged([own, other, own]) == [own, other]
