"""Whatever bytes a client sends as a frame: one action or one refusal, no other exception, and books that balance."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chatserver import bounds, protocol
from chatserver.protocol import BadFrame, Send, decode_client_frame, encode_frame
from chatserver.socket.session import Action, Close, Reply, RunSync, SocketSession, State, SubmitMessage

if TYPE_CHECKING:
    from collections.abc import Callable

SOAK_EXAMPLES = int(os.environ.get("CHAT_SOAK_EXAMPLES", "200")) * 50
"""Inputs of a soak, other ones each time: a few minutes for 10,000."""

UUID = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
CORPUS: tuple[str | bytes, ...] = (
    "",
    " ",
    "null",
    "\ud800",
    "\x00",
    "\ufeff{}",
    "[" * 100_000,
    '{"type":' * 50_000,
    '{"type": "ping"} {}',
    '{"type": "ping", "type": "read"}',
    '{"type": ["ping"]}',
    f'{{"type": "{"A" * 300_000}"}}',
    f'{{"type": "send", "id": "{"7" * 300_000}", "to": "ben"}}',
    # A regular expression's end of the text may be in front of a newline.
    f'{{"type": "send", "id": "{UUID}\\n", "to": "ben", "text": "x"}}',
    f'{{"type": "send", "id": "{UUID}", "to": "ben", "text": "\\ud800"}}',
    f'{{"type": "send", "id": "{UUID}", "chat_id": 1e18, "text": "x"}}',
    f'{{"type": "send", "id": "{UUID}", "chat_id": {"9" * 5000}, "text": "x"}}',
    f'{{"type": "send", "id": "{UUID}", "to": "ben", "text": "x", "timestamp": 1e309}}',
    f'{{"type": "send", "id": "{UUID}", "to": "ben", "text": "x", "timestamp": -0.0}}',
    '{"type": "sync", "chats": {"1": 1, "1": 2, "01": 3}}',
    '{"type": "sync", "chats": {"": 1}}',
    f'{{"type": "sync", "chats": {json.dumps(dict.fromkeys(map(str, range(1, 5002)), 0))}}}',
    f'{{"type": "subscribe", "user_ids": {[1] * 1001}}}',
    '{"type": "read", "chat_id": true, "seq": false}',
    '{"type": "read", "chat_id": 9223372036854775808, "seq": 0}',
    b"\xff\xfe",
    b'{"type": "ping"}',
)
"""Frames that once were trouble here or elsewhere."""

IDS = st.integers(1, bounds.MAX_ID)
SEQS = st.integers(0, bounds.MAX_ID)
VALID: st.SearchStrategy[protocol.ClientFrame] = st.one_of(
    st.builds(
        Send,
        client_id=st.uuids().map(str),
        text=st.none() | st.text(max_size=20),
        to=st.none() | st.text(max_size=20),
        chat_id=st.none() | IDS,
        reply_to=st.none() | IDS,
        timestamp=st.none() | st.floats(0, bounds.LAST_SECOND),
    ),
    st.builds(protocol.Delivered, chat_id=IDS, seq=SEQS),
    st.builds(protocol.Read, chat_id=IDS, seq=SEQS),
    st.builds(protocol.Typing, chat_id=IDS),
    st.builds(protocol.Sync, chats=st.dictionaries(IDS, SEQS, max_size=4)),
    st.builds(protocol.Subscribe, user_ids=st.lists(IDS, max_size=4)),
    st.just(protocol.Ping()),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated_fields(draw: st.DrawFn) -> str:
    """Return a valid frame with a member that is missing, more, or of another value."""
    frame: dict[str, Any] = json.loads(encode_frame(draw(VALID)))
    name = draw(st.sampled_from([*frame, "id", "to", "chat_id", "type", "text"]))
    if draw(st.booleans()):
        frame.pop(name, None)
    else:
        frame[name] = draw(JSON)
    return json.dumps(frame)


@st.composite
def mutated_bytes(draw: st.DrawFn) -> str | bytes:
    """Return a valid frame with a piece cut, doubled or replaced; as text where it is still UTF-8."""
    data = encode_frame(draw(VALID))
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    piece = draw(st.just(b"") | st.just(data[start:end] * 2) | st.binary(max_size=6))
    changed = data[:start] + piece + data[end:]
    try:
        return changed.decode()
    except UnicodeDecodeError:
        return changed


FRAMES = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60),
    st.sampled_from([frame for frame in CORPUS if len(frame) < 1000]),
    VALID.map(lambda frame: encode_frame(frame).decode()),
    mutated_fields(),
    mutated_bytes(),
)


def check_decoding(data: str | bytes) -> None:
    """Check that what is read is a frame of the protocol, and what is refused is told in a few words."""
    try:
        frame = decode_client_frame(data)
    except BadFrame as refused:
        assert refused.code in {"bad_json", "bad_frame", "validation_failed"}
        assert 0 < len(refused.detail) <= BadFrame.MAX_DETAIL_CHARS
        told = json.loads(encode_frame(protocol.Error(refused.code, refused.detail, refused.frame_id)))
        assert told.get("id") == refused.frame_id
        return
    assert decode_client_frame(encode_frame(frame)) == frame
    if isinstance(frame, Send):
        assert str(uuid.UUID(frame.client_id)) == frame.client_id.lower()


def check_session(events: list[str | bytes | None]) -> None:
    """Check that a session counts what it hands on and what it refuses; None stands for an answer."""
    session = SocketSession(max_in_flight=3, max_refusals=4)
    in_flight = refusals = 0
    for event in events:
        if event is None:
            if in_flight:
                session.finished()
                in_flight -= 1
            continue
        was_open = session.state is State.OPEN
        actions = session.receive(event, 0.0)
        assert len(actions) == (1 if was_open else 0)
        for action in actions:
            refused = is_refusal(action)
            refusals = refusals + 1 if refused or isinstance(action, Close) else 0
            in_flight += isinstance(action, SubmitMessage | RunSync)
            assert isinstance(action, Close) == (refusals > 4)
            if isinstance(action, Reply):
                assert msgspec.json.decode(encode_frame(action.frame))["type"] in {"error", "pong"}
        assert session.in_flight == in_flight <= 3
        assert (session.state is State.CLOSED) == (refusals > 4)


def is_refusal(action: Action) -> bool:
    return isinstance(action, Reply) and isinstance(action.frame, protocol.Error)


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_the_corpus_is_read_or_refused(data: str | bytes) -> None:
    check_decoding(data)
    check_session([data] * 6)


@settings(max_examples=400)
@given(FRAMES)
def test_no_frame_raises_anything_but_a_refusal(data: str | bytes) -> None:
    check_decoding(data)


@settings(max_examples=200)
@given(st.lists(st.none() | FRAMES, max_size=12))
@example(["x", "x", "x", "x", '{"type": "ping"}', "x", "x", "x", "x", "x", "x"])
def test_a_session_balances_whatever_it_is_sent(events: list[str | bytes | None]) -> None:
    check_session(events)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("strategy", "check"),
    [(FRAMES, check_decoding), (st.lists(st.none() | FRAMES, max_size=12), check_session)],
    ids=["decoding", "session"],
)
def test_many_frames_are_read_or_refused(strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    @settings(max_examples=SOAK_EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategy)
    def fuzz(data: Any) -> None:
        check(data)

    fuzz()
