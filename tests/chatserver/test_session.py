"""One connection's state machine: frames in, actions out."""

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver import protocol
from chatserver.protocol import Error, Pong, decode_client_frame
from chatserver.socket.session import (
    Action,
    Close,
    RaiseWatermarks,
    RelayTyping,
    Reply,
    RunSync,
    SocketSession,
    State,
    SubmitMessage,
    WatchPresence,
)

UUID = str(uuid.UUID(int=7))


def send(**fields: object) -> str:
    return json.dumps({"type": "send", "id": UUID, "to": "ana", "text": "hello", **fields})


@pytest.mark.parametrize(
    ("frame", "action"),
    [
        ({"type": "ping"}, Reply(Pong())),
        ({"type": "ping", "added_later": [1]}, Reply(Pong())),
        ({"type": "delivered", "chat_id": 3, "seq": 9}, RaiseWatermarks(3, 9, None)),
        ({"type": "read", "chat_id": 3, "seq": 9}, RaiseWatermarks(3, 9, 9)),
        ({"type": "typing", "chat_id": 3}, RelayTyping(3)),
        ({"type": "subscribe", "user_ids": [2, 2, 5]}, WatchPresence(frozenset({2, 5}))),
        ({"type": "sync", "chats": {"3": 9, "4": 0}}, RunSync({3: 9, 4: 0})),
    ],
)
def test_each_frame_leads_to_its_action(frame: dict[str, object], action: Action) -> None:
    assert SocketSession().receive(json.dumps(frame), 0.0) == (action,)


def test_a_send_is_submitted_as_it_came() -> None:
    (action,) = SocketSession().receive(send(reply_to=4), 0.0)
    assert isinstance(action, SubmitMessage)
    assert (action.frame.client_id, action.frame.to, action.frame.text, action.frame.reply_to) == (
        UUID,
        "ana",
        "hello",
        4,
    )


@pytest.mark.parametrize(
    ("data", "code", "frame_id"),
    [
        ("", "bad_json", None),
        ("{", "bad_json", None),
        ("\ud800", "bad_json", None),
        ("[" * 100_000, "bad_frame", None),
        (b"\x00", "bad_frame", None),
        ("[]", "bad_frame", None),
        ("{}", "bad_frame", None),
        ('{"type": "edit"}', "bad_frame", None),
        ('{"type": "send", "id": "7", "to": "ana"}', "bad_frame", "7"),
        (send(chat_id=1), "bad_frame", UUID),
        (send(to=None), "bad_frame", UUID),
        (send(text=5), "bad_frame", UUID),
        (send(id="7" * 65), "bad_frame", "7" * 65),
        (send(id=7), "bad_frame", None),
        (send(text="half \ud83d"), "validation_failed", UUID),
        (send(text=5, later="\udc4d"), "bad_frame", UUID),
        (send(id="\ud83d"), "validation_failed", None),
        (send(**{"\ud83d": 1}), "validation_failed", UUID),
        (send(later=["\ud83d"]), "validation_failed", UUID),
        (send(text="half \ud83d")[:-1], "bad_json", None),
        ('{"type": "sync", "chats": {"\\ud83d": 1}}', "validation_failed", None),
        ('{"type": "read", "chat_id": 0, "seq": 1}', "bad_frame", None),
        ('{"type": "read", "chat_id": 1, "seq": -1}', "bad_frame", None),
        ('{"type": "read", "chat_id": 1, "seq": 1e400}', "bad_frame", None),
    ],
)
def test_a_bad_frame_earns_an_error_that_names_its_send(data: str | bytes, code: str, frame_id: str | None) -> None:
    session = SocketSession()
    (action,) = session.receive(data, 0.0)
    assert isinstance(action, Reply)
    assert isinstance(action.frame, Error)
    assert (action.frame.code, action.frame.id) == (code, frame_id)
    assert session.state is State.OPEN


def test_more_sends_than_may_wait_are_refused_until_one_is_answered() -> None:
    session = SocketSession(max_in_flight=2)
    assert all(isinstance(session.receive(send(), 0.0)[0], SubmitMessage) for _ in range(2))
    (refusal,) = session.receive(send(), 0.0)
    assert isinstance(refusal, Reply)
    assert isinstance(refusal.frame, Error)
    assert (refusal.frame.code, refusal.frame.id, refusal.frame.retry_after_seconds) == ("overloaded", UUID, 1)
    session.finished()
    assert isinstance(session.receive(send(), 0.0)[0], SubmitMessage)


def test_a_stream_of_bad_frames_is_closed() -> None:
    session = SocketSession(max_refusals=3)
    assert all(isinstance(session.receive("x", 0.0)[0], Reply) for _ in range(3))
    assert session.receive("x", 0.0) == (Close(protocol.CLOSE_PACE, "too many refused frames"),)
    assert session.receive(send(), 0.0) == ()


def test_a_good_frame_forgives_the_bad_ones_before() -> None:
    session = SocketSession(max_refusals=1)
    for _ in range(5):
        assert isinstance(session.receive("x", 0.0)[0], Reply)
        assert session.receive('{"type": "ping"}', 0.0) == (Reply(Pong()),)


def test_a_closed_session_does_nothing() -> None:
    session = SocketSession()
    session.close()
    assert session.receive(send(), 0.0) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(["send", "delivered", "read", "typing", "sync", "subscribe", "ping", "welcome"])},
    optional=dict.fromkeys(("id", "to", "chat_id", "text", "seq", "chats", "user_ids", "reply_to"), JSON),
)


@given(st.lists(st.one_of(st.text(), st.binary(), JSON.map(json.dumps), FRAMES.map(json.dumps)), max_size=8))
def test_no_frame_crashes_a_session_or_overfills_it(frames: list[str | bytes]) -> None:
    session = SocketSession(max_in_flight=2, max_refusals=4)
    for frame in frames:
        for action in session.receive(frame, 0.0):
            if isinstance(action, Reply):
                json.loads(protocol.encode_frame(action.frame))
        assert 0 <= session.in_flight <= 2


@given(st.dictionaries(st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1), max_size=5))
def test_sync_positions_survive_the_wire(chats: dict[int, int]) -> None:
    frame = decode_client_frame(json.dumps({"type": "sync", "chats": chats}))
    assert isinstance(frame, protocol.Sync)
    assert frame.chats == chats


def test_frames_beyond_the_rate_close_the_connection_and_a_pause_earns_new_ones() -> None:
    session = SocketSession(frames_per_second=10, frames_at_once=20)
    ping = '{"type": "ping"}'
    assert all(session.receive(ping, 5.0) == (Reply(Pong()),) for _ in range(20))
    assert all(session.receive(ping, 6.0) == (Reply(Pong()),) for _ in range(10))
    assert session.receive(ping, 6.0) == (Close(protocol.CLOSE_PACE, "too many frames"),)
    assert session.state is State.CLOSED


def test_frames_without_a_message_count_as_those_with_one() -> None:
    session = SocketSession(frames_per_second=10, frames_at_once=20)
    assert all(session.count(0.0) == () for _ in range(19))
    assert session.receive('{"type": "ping"}', 0.0) == (Reply(Pong()),)
    assert session.count(0.0) == (Close(protocol.CLOSE_PACE, "too many frames"),)
    assert session.count(9.0) == ()
    assert session.state is State.CLOSED


def test_a_large_frame_counts_as_many_small_ones() -> None:
    session = SocketSession(frames_per_second=10, frames_at_once=20)
    large = json.dumps({"type": "ping", "padding": "x" * 9 * 4096})
    assert [isinstance(session.receive(large, 0.0)[0], Reply) for _ in range(2)] == [True, True]
    (close,) = session.receive(large, 0.0)
    assert isinstance(close, Close)
    assert close.code == protocol.CLOSE_PACE
