"""The Python client never hangs and never spins: whatever ends it reaches everybody who waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from chatcluster_client import (
    ChatClientError,
    ClientStopped,
    HistoryReplaced,
    Item,
    LiveClient,
    Problem,
    Replaced,
    RestClient,
    SignedOut,
)
from chatcluster_client.backoff import STEADY_SECONDS, Backoff, Replacements
from tests.support.scripted import CHAT, ME, WAIT_SECONDS, Script, message, scripted

LIMIT = 327_680


def ack(frame_id: str, seq: int) -> dict[str, Any]:
    return {"type": "ack", "id": frame_id, "message_id": seq, "chat_id": CHAT, "seq": seq, "created_at": "x"}


async def acknowledged(script: Script, live: LiveClient, text: str, seq: int) -> None:
    """Send a message and let the server acknowledge it: the client still works."""
    sending = asyncio.create_task(live.send(text, chat_id=CHAT))
    await script.say(ack((await script.hear("send"))["id"], seq))
    assert (await asyncio.wait_for(sending, WAIT_SECONDS)).seq == seq


async def acknowledge_all(script: Script) -> None:
    while True:
        frame = await script.hear("send")
        with contextlib.suppress(ConnectionClosed):
            await script.say(ack(frame["id"], 1))


async def test_a_message_above_the_servers_limit_is_refused_before_it_is_queued() -> None:
    async with scripted(limits={"max_frame_bytes": LIMIT}) as (script, live):
        with pytest.raises(Problem) as refused:
            await live.send("я" * 200_000, chat_id=CHAT)
        assert (refused.value.status, refused.value.code) == (413, "too_large")
        await acknowledged(script, live, "small", 1)
        assert (live.closes, script.connections) == ([], 1)


async def test_a_message_queued_before_the_limit_is_known_fails_when_it_is() -> None:
    async with scripted() as (script, live):
        script.limits = {"max_frame_bytes": 1000}
        script.away = True
        await script.hang_up()
        large = asyncio.create_task(live.send("x" * 1000, chat_id=CHAT))
        await asyncio.sleep(0)
        script.away = False
        with pytest.raises(Problem, match="too_large"):
            await asyncio.wait_for(large, WAIT_SECONDS)


async def test_a_frame_that_the_server_closes_for_fails_alone() -> None:
    async with scripted(max_frame_bytes=10_000) as (script, live):
        large = asyncio.create_task(live.send("x" * 20_000, chat_id=CHAT))
        small = asyncio.create_task(live.send("small", chat_id=CHAT))
        with pytest.raises(Problem, match="too_large"):
            await asyncio.wait_for(large, WAIT_SECONDS)
        await script.say(ack((await script.hear("send"))["id"], 1))
        assert (await asyncio.wait_for(small, WAIT_SECONDS)).seq == 1
        assert live.closes == [1009]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "half \ud83d", "chat_id": CHAT},
        {"text": "x", "to": "\udc00"},
        {"text": "x", "chat_id": 2**64},
        {"text": "x", "chat_id": CHAT, "client_id": "no uuid"},
        {"text": "x", "chat_id": CHAT, "client_id": "x" * 65},
        {"text": "x"},
        {"text": b"x", "chat_id": CHAT},
        {"text": None, "chat_id": CHAT},
        {"text": "x", "to": b"ben"},
        {"text": "x", "chat_id": "1"},
        {"text": "x", "chat_id": 1.5},
        {"text": "x", "chat_id": True},
    ],
)
async def test_what_can_never_be_sent_is_refused_and_ends_nothing(fields: dict[str, Any]) -> None:
    async with scripted() as (script, live):
        with pytest.raises(Problem) as refused:
            await asyncio.wait_for(live.send(**fields), WAIT_SECONDS)
        assert refused.value.status == 422
        await script.hang_up()
        await acknowledged(script, live, "later", 1)


async def test_a_watermark_that_no_server_takes_is_refused_and_not_repeated() -> None:
    async with scripted() as (script, live):
        for chat_id, seq in ((2**70, 1), (CHAT, 2**70), (0, 1), (CHAT, -1)):
            with pytest.raises(Problem, match="must be between"):
                await live.mark(chat_id, read_seq=seq)
        for wrong in (True, 1.5, "1"):
            with pytest.raises(Problem, match="seq: must be an int"):
                await live.mark(CHAT, read_seq=wrong)  # type: ignore[arg-type]
        await script.hang_up()
        await acknowledged(script, live, "later", 1)


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/api/chats", "api/chats", "", "/api/chats/\x00", "/api:x\n"])
async def test_a_path_that_is_none_is_refused_before_the_token_goes_anywhere(path: str) -> None:
    async with RestClient("http://127.0.0.1:9", "token", ME) as rest:
        with pytest.raises(Problem) as refused:
            await rest.call("GET", path)
    assert refused.value.status == 422


async def test_an_id_in_capitals_meets_its_acknowledgement() -> None:
    async with scripted() as (script, live):
        sending = asyncio.create_task(live.send("x", chat_id=CHAT, client_id=str(uuid.uuid4()).upper()))
        await script.say(ack((await script.hear("send"))["id"].lower(), 1))
        assert (await asyncio.wait_for(sending, WAIT_SECONDS)).seq == 1


async def test_two_sends_with_one_client_id_are_one_message_with_one_result() -> None:
    client_id = str(uuid.uuid4())
    async with scripted() as (script, live):
        first, second = (asyncio.create_task(live.send("x", chat_id=CHAT, client_id=client_id)) for _ in range(2))
        await script.hear("send")
        with pytest.raises(Problem, match="idempotency_conflict"):
            await live.send("y", chat_id=CHAT, client_id=client_id)
        first.cancel()
        await script.say(ack(client_id, 1))
        assert (await asyncio.wait_for(second, WAIT_SECONDS)).seq == 1


async def test_a_second_loop_that_waits_for_items_is_refused_and_one_after_the_other_works() -> None:
    async with scripted() as (script, live):
        waiting = asyncio.ensure_future(anext(live.items()))
        await asyncio.sleep(0)
        with pytest.raises(ChatClientError, match="already"):
            await anext(live.items())
        await script.say(message(1), message(2))
        first = await asyncio.wait_for(waiting, WAIT_SECONDS)
        second = await asyncio.wait_for(anext(live.items()), WAIT_SECONDS)
        assert [item.seq for item in (first, second) if isinstance(item, Item)] == [1, 2]


@pytest.mark.parametrize("code", [4001, 4003])
async def test_a_final_close_reaches_everybody_who_waits_and_who_comes_later(code: int) -> None:
    async with scripted() as (script, live):
        sending = asyncio.create_task(live.send("x", chat_id=CHAT))
        await script.hear("send")
        await script.hang_up(code)
        with pytest.raises(SignedOut):
            await asyncio.wait_for(sending, WAIT_SECONDS)
        for _ in range(2):
            with pytest.raises(SignedOut):
                await asyncio.wait_for(anext(live.items()), WAIT_SECONDS)
        for late in (live.send("y", chat_id=CHAT), live.mark(CHAT, read_seq=1), live.wait_connected()):
            with pytest.raises(SignedOut):
                await asyncio.wait_for(late, WAIT_SECONDS)
        assert script.connections == 1


async def test_who_is_replaced_by_a_connection_given_up_long_ago_comes_back_and_who_is_replaced_again_ends() -> None:
    async with scripted() as (script, live):
        await script.hang_up(4009)
        await acknowledged(script, live, "still here", 1)
        await script.hang_up(4009)
        with pytest.raises(Replaced):
            await asyncio.wait_for(live.send("x", chat_id=CHAT), WAIT_SECONDS)
        assert (script.connections, live.closes) == (2, [4009, 4009])
    replacements = Replacements()
    assert [replacements.may_come_back(STEADY_SECONDS) for _ in range(2)] == [True, True]
    assert not replacements.may_come_back(STEADY_SECONDS / 2)


async def test_an_ended_client_asks_rest_for_nothing_more() -> None:
    async with scripted() as (script, live):
        script.history = {CHAT: HTTPStatus.UNAUTHORIZED}
        await script.say(message(3))
        async with asyncio.timeout(WAIT_SECONDS):
            while not script.asked:
                await asyncio.sleep(0.01)
        await script.hang_up(4001)
        with pytest.raises(SignedOut):
            await asyncio.wait_for(live.wait_connected(), WAIT_SECONDS)
        tasks = list(live._tasks)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_SECONDS)
        assert not live._tasks


async def test_a_restored_database_ends_the_client_aloud_and_new_rows_are_not_taken_for_old_ones() -> None:
    async with scripted() as (script, live):
        await script.say(message(1), message(2))
        await script.hear("sync")
        script.epoch = "second"
        await script.hang_up()
        items = live.items()
        assert [await asyncio.wait_for(anext(items), WAIT_SECONDS) for _ in range(2)]
        with pytest.raises(HistoryReplaced, match="restored"):
            await asyncio.wait_for(anext(items), WAIT_SECONDS)


async def test_what_nobody_foresaw_ends_the_client_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted() as (script, live):
        sending = asyncio.create_task(live.send("x", chat_id=CHAT))
        await script.hear("send")
        monkeypatch.setattr(live, "_take", lambda _: 1 / 0)
        await script.say(message(1))
        with pytest.raises(ClientStopped, match="ZeroDivisionError"):
            await asyncio.wait_for(sending, WAIT_SECONDS)
        with pytest.raises(ClientStopped):
            await asyncio.wait_for(anext(live.items()), WAIT_SECONDS)


async def test_a_client_that_was_closed_or_not_entered_refuses_at_once() -> None:
    rest = RestClient("http://127.0.0.1:9", "token", ME)
    live = LiveClient(rest)
    with pytest.raises(ChatClientError, match="async with"):
        await live.send("x", chat_id=CHAT)
    async with live:
        pass
    with pytest.raises(ChatClientError, match="closed"):
        await live.send("x", chat_id=CHAT)
    assert [item async for item in live.items()] == []
    assert [item async for item in live.items()] == []
    await rest.close()


def test_waits_double_from_a_quarter_of_a_second_to_twenty_and_fall_back_after_a_steady_connection_only() -> None:
    backoff = Backoff()
    assert [backoff.seconds(0, 1) for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 16, 20]
    assert backoff.seconds(STEADY_SECONDS / 2, 1) == 20, "welcomed, and closed soon after: not good yet"
    assert [backoff.seconds(seconds, 1) for seconds in (STEADY_SECONDS, 0)] == [0.25, 0.5]


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KINDS = ("welcome", "ack", "message", "event", "receipt", "synced", "error", "reconnect", "hologram")
FIELDS = ("id", "chat_id", "seq", "message", "chats", "more", "code", "after_ms", "limits", "retry_after_seconds", "by")
hostile = (
    st.builds(
        lambda kind, fields: json.dumps({"type": kind, **fields}),
        st.sampled_from(KINDS) | nonsense,
        st.dictionaries(st.sampled_from(FIELDS), nonsense, max_size=5),
    )
    | st.binary(max_size=40)
    | st.text(max_size=40)
    | st.just("[" * 100_000)
    | st.just(json.dumps(message(2**62)))
    | st.just(json.dumps({"type": "error", "code": "unavailable", "retry_after_seconds": -1e300}))
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(frames=st.lists(hostile, min_size=1, max_size=6))
async def test_a_hostile_server_neither_stops_nor_hangs_the_client(frames: list[str | bytes]) -> None:
    async with scripted() as (script, live):
        with contextlib.suppress(ConnectionClosed):
            await script.say_raw(*frames)
        # It connects again if need be, and goes on.
        answering = asyncio.create_task(acknowledge_all(script))
        await asyncio.wait_for(live.send("still here", chat_id=CHAT), WAIT_SECONDS)
        answering.cancel()
