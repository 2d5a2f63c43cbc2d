"""Broken WebSocket frames on a real connection: the right close code, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.protocol import CLOSE_PACE, MAX_FRAME_BYTES
from tests.support.devices import WAIT_SECONDS, Device, Socket, sign_in
from tests.support.findings import tell
from tests.support.rawsocket import RawSocket
from tests.support.wsframes import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG = 1002, 1007, 1009
SEED = int(os.environ.get("CHAT_SOAK_SEED", "7"))
SURVIVES = None
"""The connection goes on, and answers the `ping` that follows."""


@asynccontextmanager
async def raw_socket(device: Device, process: ServerProcess) -> AsyncIterator[RawSocket]:
    """Open a WebSocket by hand and take its welcome."""
    host, port = process.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(device.handshake(process))
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        socket = RawSocket(reader, writer)
        _, welcome = await socket.read()
        assert json.loads(welcome)["type"] == "welcome"
        yield socket
    finally:
        writer.transport.abort()


@pytest.fixture(scope="module")
def people(process: ServerProcess) -> tuple[Device, Device]:
    async def make() -> tuple[Device, Device]:
        return await sign_in(process, "fuzzer"), await sign_in(process, "witness")

    return asyncio.run(make())


async def assert_serves(witness: Socket) -> None:
    """Check that the server still takes and answers a message of somebody else."""
    ack = await witness.message("still here", to="witness")
    assert ack["type"] == "ack"


PING_FRAME = frame(TEXT, b'{"type": "ping"}')
HALF, OTHER_HALF = b'{"type": "pi', b'ng"}'
SNOWMAN = "☃".encode()
BROKEN: dict[str, tuple[bytes, int | None]] = {
    "a frame without a mask": (frame(TEXT, b'{"type": "ping"}', masked=False), PROTOCOL_ERROR),
    "an empty frame without a mask": (frame(TEXT, masked=False), PROTOCOL_ERROR),
    **{f"the reserved opcode {opcode}": (frame(opcode), PROTOCOL_ERROR) for opcode in (3, 4, 5, 6, 7, 11, 12, 15)},
    **{
        f"the reserved bit {bit:#x}": (frame(TEXT, b"{}", flags=FIN | bit), PROTOCOL_ERROR)
        for bit in (RSV1, RSV2, RSV3)
    },
    "a continuation of nothing": (frame(CONTINUATION, b"{}"), PROTOCOL_ERROR),
    "a message within another": (frame(TEXT, HALF, flags=0) + PING_FRAME, PROTOCOL_ERROR),
    "a ping in pieces": (frame(PING, b"x", flags=0), PROTOCOL_ERROR),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), PROTOCOL_ERROR),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), PROTOCOL_ERROR),
    "a close with half a code": (frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "a close with a code below 1000": (frame(CLOSE, struct.pack("!H", 999)), PROTOCOL_ERROR),
    "a close with the code for no code": (frame(CLOSE, struct.pack("!H", 1005)), PROTOCOL_ERROR),
    "a close whose reason is no UTF-8": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), INVALID_TEXT),
    "text that is no UTF-8": (frame(TEXT, b'{"type": "\xff"}'), INVALID_TEXT),
    "half a surrogate pair in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), INVALID_TEXT),
    "text that ends within a character": (frame(TEXT, SNOWMAN[:2]), INVALID_TEXT),
    "pieces that are no UTF-8 together": (
        frame(TEXT, SNOWMAN[:1], flags=0) + frame(CONTINUATION, b"x"),
        INVALID_TEXT,
    ),
    "one byte too much": (frame(TEXT, b" " * (MAX_FRAME_BYTES + 1)), TOO_BIG),
    "one byte too much in pieces": (
        frame(TEXT, b" " * MAX_FRAME_BYTES, flags=0) + frame(CONTINUATION, b" "),
        TOO_BIG,
    ),
    "the claim of 2^63 - 1 bytes": (frame(TEXT, length=2**63 - 1), TOO_BIG),
    "a length of more than 63 bits": (frame(BINARY, length=2**64 - 1), PROTOCOL_ERROR),
    "as much as may be": (frame(TEXT, b'{"type": "ping"}' + b" " * (MAX_FRAME_BYTES - 16)), SURVIVES),
    "a binary message": (frame(BINARY, b'{"type": "ping"}'), SURVIVES),
    "a binary message that is no UTF-8": (frame(BINARY, b"\xff"), SURVIVES),
    "an empty text": (frame(TEXT), SURVIVES),
    "no JSON": (frame(TEXT, b"\x00"), SURVIVES),
    "a message in pieces, with pings between": (
        frame(TEXT, HALF, flags=0)
        + frame(PING, b"1")
        + frame(CONTINUATION, flags=0)
        + frame(PONG, b"2")
        + frame(CONTINUATION, OTHER_HALF),
        SURVIVES,
    ),
    "a character in two pieces": (
        frame(TEXT, b'{"type": "' + SNOWMAN[:1], flags=0) + frame(CONTINUATION, SNOWMAN[1:] + b'"}'),
        SURVIVES,
    ),
    "1,000 empty pieces": (
        frame(TEXT, HALF, flags=0) + frame(CONTINUATION, flags=0) * 1000 + frame(CONTINUATION, OTHER_HALF),
        SURVIVES,
    ),
    "a reserved bit in a ping": (frame(PING, flags=FIN | RSV1), PROTOCOL_ERROR),
    "a close with the code zero": (frame(CLOSE, struct.pack("!H", 0)), PROTOCOL_ERROR),
    "a close with a code above 4999": (frame(CLOSE, struct.pack("!H", 5000)), PROTOCOL_ERROR),
    "an unasked pong": (frame(PONG, b"x"), SURVIVES),
}


@pytest.mark.parametrize(("wire", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_frame_is_closed_with_its_code(
    process: ServerProcess, people: tuple[Device, Device], wire: bytes, code: int | None
) -> None:
    fuzzer, other = people
    async with other.socket(process) as witness, raw_socket(fuzzer, process) as socket:
        socket.writer.write(wire)
        if code is SURVIVES:
            assert await socket.answers()
        else:
            assert await socket.close_code() == code
        await assert_serves(witness)


async def test_a_ping_is_answered_with_its_own_payload(process: ServerProcess, people: tuple[Device, Device]) -> None:
    async with raw_socket(people[0], process) as socket:
        socket.writer.write(frame(PING, b"x" * 125))
        assert await socket.read() == (PONG, b"x" * 125)


async def test_a_frame_is_read_however_its_bytes_arrive(process: ServerProcess, people: tuple[Device, Device]) -> None:
    async with raw_socket(people[0], process) as socket:
        for byte in frame(TEXT, b'{"type": "ping"}' + b" " * 200):
            socket.writer.write(bytes([byte]))
            await socket.writer.drain()
        assert json.loads((await socket.read())[1])["type"] == "pong"
        socket.writer.write(PING_FRAME * 500)
        for _ in range(500):
            assert json.loads((await socket.read())[1])["type"] == "pong"


@pytest.mark.parametrize("flood", [frame(PING), frame(PONG, b"x" * 125), frame(CONTINUATION, flags=0)])
async def test_a_flood_of_frames_without_messages_is_closed_and_others_are_served_meanwhile(
    process: ServerProcess, people: tuple[Device, Device], flood: bytes
) -> None:
    fuzzer, other = people
    async with other.socket(process) as witness, raw_socket(fuzzer, process) as socket:
        first = frame(TEXT, b"x", flags=0) if flood == frame(CONTINUATION, flags=0) else b""
        socket.writer.write(first + flood * 200_000)
        payload, _ = await asyncio.gather(socket.close_frame(), assert_serves(witness))
        assert struct.unpack("!H", payload[:2]) == (CLOSE_PACE,)
        await assert_serves(witness)


async def test_garbage_and_cut_connections_leave_a_server_that_serves(
    process: ServerProcess, people: tuple[Device, Device]
) -> None:
    """Random bytes, half frames and hung-up connections; nobody else waits longer or is closed."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable, and no secret
    fuzzer, other = people
    ends: dict[int | str, int] = {}
    async with other.socket(process) as witness:
        for number in range(60):
            async with raw_socket(fuzzer, process) as socket:
                good = frame(TEXT, json.dumps({"type": "typing", "chat_id": number + 1}).encode())
                wire = bytearray(good * chance.randint(1, 4))
                for _ in range(chance.randint(0, 6)):
                    wire[chance.randrange(len(wire))] = chance.randrange(256)
                socket.writer.write(bytes(wire) + chance.randbytes(chance.randint(0, 40)))
                if chance.random() < 0.5:
                    # Hung up in the middle of whatever it was.
                    await asyncio.wait_for(socket.writer.drain(), WAIT_SECONDS)
                    ends["hung up"] = ends.get("hung up", 0) + 1
                    continue
                # Ends a frame that waits for more, if only by being too much.
                socket.writer.write(frame(TEXT, b" " * (MAX_FRAME_BYTES + 1)))
                code = await socket.close_code()
                ends[code or "none"] = ends.get(code or "none", 0) + 1
                assert code in {PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG} or code is None or 1000 <= code < 5000
            if number % 10 == 0:
                await assert_serves(witness)
        await assert_serves(witness)
    tell(f"random bytes on a WebSocket, seed {SEED}: connections by close code {ends}")
    assert '"level":"error"' not in process.log_text().replace(" ", "")
