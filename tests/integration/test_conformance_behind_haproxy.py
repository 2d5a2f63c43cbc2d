"""The requests and frames of the conformance tests through a real HAProxy with the operator's configuration."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import struct
from typing import TYPE_CHECKING, Any

import h11
import pytest

from chatserver.protocol import CLOSE_PACE
from tests.support.autobahn import CLOSING, OPCODES, PINGS, RESERVED
from tests.support.devices import WAIT_SECONDS, sign_in
from tests.support.front import ROUTE, in_front
from tests.support.malformed import GOOD, MALFORMED, NOT_OPENING, OPENING, TOO_LARGE, read_answers
from tests.support.rawsocket import RawSocket
from tests.support.server import ServerProcess
from tests.support.trickle import anybody
from tests.support.wsframes import CLOSE, PING, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.front import Front

pytestmark = pytest.mark.integration

OF_ITS_OWN = {
    "line: two spaces": 200,
    "line: a tab for a space": 200,
    "line: another major version": 200,
    "line: a line that LF alone ends": 200,
    "line: all lines end with LF alone": 200,
    "field: the same Host twice": 200,
    "field: a folded line": 200,
    "field: a bare LF": 200,
    "length: the same length twice": 422,
    "length: a list of lengths": 422,
    "length: a coding in a folded line": 422,
    "chunk: a trailer in a folded line": 422,
    "chunk: a trailer with a bare LF": 422,
    # Its own answers.
    "length: another coding": 422,
    "good: an absolute address without a path": 400,
    "good: HTTP/1.0": 400,
    "good: HTTP/1.0 that goes on": 400,
    "good: a WebSocket where there is none": 400,
}
"""What HAProxy mends, so that a server sees nothing of it, or refuses though a server would take it."""


@contextlib.asynccontextmanager
async def chat(postgres: Any, template: str, folder: Path) -> AsyncIterator[tuple[Front, ServerProcess]]:
    with ServerProcess(postgres.dsn(postgres.create_database(template)), "one") as server:
        server.wait_ready()
        async with in_front(
            folder, dataclasses.replace(ROUTE, body_seconds=2), behind=int(server.url.rsplit(":", 1)[1]), client="5s"
        ) as front:
            yield front, server
            assert [event for event in server.events() if event["level"] in {"warning", "error", "critical"}] == []


async def statuses(front: Front, raw: bytes, most: int = 100) -> list[int]:
    """Return the statuses of what is answered; none where HAProxy hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.https_port, ssl=anybody())
    method = "HEAD" if raw.lstrip().startswith(b"HEAD ") else "GET"
    try:
        writer.write(raw)
        async with asyncio.timeout(WAIT_SECONDS):
            return [answer.status for answer in await read_answers(reader, method, most=most)]
    except (ConnectionError, h11.RemoteProtocolError):
        return []
    finally:
        writer.transport.abort()


AT_ONCE = 20


async def test_each_request_gets_the_same_answer_through_haproxy_or_one_of_its_own(
    postgres: Any, migrated_template: str, tmp_path: Path
) -> None:
    # HAProxy refuses more than a server, and where it cannot answer it hangs up.
    cases: dict[str, tuple[bytes, list[list[int]]]] = {
        **{name: (raw, [[], [400]]) for name, raw in MALFORMED.items()},
        **{f"too large: {name}": (raw, [[], [400], [413]]) for name, raw in TOO_LARGE.items()},
        **{f"good: {name}": (raw, [[status]]) for name, (raw, status) in GOOD.items()},
        **{f"a WebSocket: {name}": (raw, [[101]]) for name, raw in OPENING.items()},
        **{f"no WebSocket: {name}": (raw, [[], [400], [status]]) for name, (raw, status) in NOT_OPENING.items()},
    }
    places = asyncio.Semaphore(AT_ONCE)
    async with chat(postgres, migrated_template, tmp_path) as (front, _):

        async def answered(raw: bytes) -> list[int]:
            async with places:
                return await statuses(front, raw, most=1)

        got = await asyncio.gather(*(answered(raw) for raw, _ in cases.values()))
    wrong = {
        name: answer
        for (name, (_, right)), answer in zip(cases.items(), got, strict=True)
        if answer not in [*right, [OF_ITS_OWN.get(name)]]
    }
    assert wrong == {}, wrong


FRAMES = {
    **PINGS,
    **{name: case for name, case in RESERVED.items() if name.startswith("3 the bits 0x40") and "behind" not in name},
    **{name: case for name, case in OPCODES.items() if "behind" not in name},
    **{name: case for name, case in CLOSING.items() if not case.frames and " text" not in name},
}


async def test_frames_lead_to_the_same_close_codes_through_haproxy(
    postgres: Any, migrated_template: str, tmp_path: Path
) -> None:
    async with chat(postgres, migrated_template, tmp_path) as (front, server):
        ana = await sign_in(server)
        wrong = {}
        for name, case in FRAMES.items():
            reader, writer = await asyncio.open_connection("127.0.0.1", front.https_port, ssl=anybody())
            async with asyncio.timeout(WAIT_SECONDS):
                writer.write(ana.handshake(server))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                socket = RawSocket(reader, writer)
                assert (await socket.read())[0] == TEXT, "the welcome"
                for part in case.writes:
                    writer.write(part)
                got = [await socket.read()]
                while got[-1][0] != CLOSE:
                    got.append(await socket.read())
            writer.transport.abort()
            *frames, (_, payload) = got
            if (*frames, struct.unpack("!H", payload[:2])[0]) != (*case.frames, case.code):
                wrong[name] = got
        assert wrong == {}, wrong


async def test_a_flood_of_pings_through_haproxy_is_closed_and_others_are_served(
    postgres: Any, migrated_template: str, tmp_path: Path
) -> None:
    async with chat(postgres, migrated_template, tmp_path) as (front, server):
        ana, ben = await sign_in(server), await sign_in(server, "ben")
        reader, writer = await asyncio.open_connection("127.0.0.1", front.https_port, ssl=anybody())
        writer.write(ana.handshake(server))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_SECONDS)
        writer.write(frame(PING) * 200_000)
        async with ben.socket(server) as witness:
            payload, ack = await asyncio.gather(RawSocket(reader, writer).close_frame(), witness.message("x", to="ben"))
        writer.transport.abort()
        assert struct.unpack("!H", payload[:2]) == (CLOSE_PACE,)
        assert ack["type"] == "ack"
