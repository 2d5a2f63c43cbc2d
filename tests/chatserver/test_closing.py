"""Each end of a connection has one reason, and what a server cannot know it does not claim."""

from __future__ import annotations

import asyncio
import time

import pytest

from chatserver.closing import End, Reason, reason_of
from chatserver.metrics.connections import CLOSED
from chatserver.protocol import PING_SECONDS
from tests.chatserver.test_websocket_conformance import connected

CASES = {
    (End.GOODBYE, 0, False, False): Reason.CLIENT,
    (End.GOODBYE, 0, False, True): Reason.MOVED,
    (End.LOST, 0, False, False): Reason.NETWORK,
    (End.LOST, 0, False, True): Reason.MOVED,
    (End.SILENT, 0, False, True): Reason.PING_TIMEOUT,
    (End.CUT, 0, False, True): Reason.DEFECT,
    (End.CLOSED_HERE, 1012, False, True): Reason.RESTART,
    (End.CLOSED_HERE, 4001, False, False): Reason.SIGNED_OUT,
    (End.CLOSED_HERE, 4009, False, False): Reason.REPLACED,
    (End.CLOSED_HERE, 4008, True, False): Reason.SLOW_READER,
    (End.CLOSED_HERE, 4008, False, False): Reason.PROTOCOL,
    (End.CLOSED_HERE, 1009, False, False): Reason.PROTOCOL,
    (End.CLOSED_HERE, 1011, False, False): Reason.DEFECT,
}


@pytest.mark.parametrize(("case", "reason"), CASES.items())
def test_a_reason_follows_from_what_both_sides_did(case: tuple[End, int, bool, bool], reason: Reason) -> None:
    end, code, too_slow, moving = case
    assert reason_of(end, code, too_slow=too_slow, moving=moving) is reason
    assert (str(code), reason.value) in CLOSED, "its series begins with its first end, which no rule sees"


def test_each_reason_has_a_series_from_the_start() -> None:
    assert {reason for _, reason in CLOSED} == set(Reason)


async def test_a_peer_that_answers_no_ping_and_one_whose_network_failed_are_distinguished() -> None:
    async with connected() as (_, echo):
        assert echo._socket is not None
        echo._socket.look_after(time.monotonic() + 2 * PING_SECONDS + 1)
        await echo.is_over.wait()
    async with connected() as (client, lost):
        client.writer.transport.abort()
        await lost.is_over.wait()
    async with connected() as (_, cut):
        assert cut._socket is not None
        cut._socket.cut()
        await cut.is_over.wait()
    assert [echo.end, lost.end, cut.end] == [End.SILENT, End.LOST, End.CUT]


async def test_sockets_whose_peer_does_not_read_are_counted_until_they_read_or_end() -> None:
    async with connected() as (_, echo):
        socket = echo._socket
        assert socket is not None
        sockets = socket._open_sockets
        socket.pause_writing()
        socket.pause_writing()
        assert sockets.paused == 1
        socket.resume_writing()
        assert sockets.paused == 0
        socket.pause_writing()
    await asyncio.sleep(0)
    assert sockets.paused == 0
