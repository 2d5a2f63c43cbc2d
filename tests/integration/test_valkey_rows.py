"""Messages that hints by Valkey carry: the recipient's server reads nothing, and nobody gets what is not theirs."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.fanout.rendered_rows import MOST_ROW_BYTES
from chatserver.storage.database import Database
from tests.support.devices import Device, sign_in
from tests.support.server import ServerProcess
from tests.support.statements import StatementLog
from tests.support.valkey import ValkeyProcess, bus_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

MESSAGES = 20
READ_TABLES = ("messages", "chat_members", "chats")
"""What a server reads to deliver a message; sweeps, heartbeats and probes, which go by the clock, do not."""


@pytest.fixture
def valkeys() -> Iterator[list[ValkeyProcess]]:
    with ValkeyProcess() as one, ValkeyProcess() as other:
        yield [one, other]


@pytest.fixture
def log(postgres: PostgresCluster, read_dsn: Callable[[], str]) -> StatementLog:
    return StatementLog(postgres, read_dsn().rsplit("/", 1)[1], "chatserver server-1")


@pytest.fixture
def two(
    read_dsn: Callable[[], str],
    valkeys: list[ValkeyProcess],
    log: StatementLog,  # noqa: ARG001 - made before they connect
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(ServerProcess(read_dsn(), f"server-{number}", **bus_environment(valkeys)))
            for number in range(2)
        )
        for process in (one, other):
            process.wait_ready()
        yield one, other


def of_messages(log: StatementLog) -> list[str]:
    return [text for text in log.statements() if any(table in text for table in READ_TABLES)]


async def make_group(server: ServerProcess, owner: Device, *others: Device) -> int:
    made = {"group_name": "All", "members": [device.phone_number for device in others]}
    async with owner.http(server) as http:
        answer = await http.post("/api/groups", json=made)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    chat_id: int = answer.json()["chat_id"]
    return chat_id


async def test_the_server_of_the_recipient_reads_nothing(
    two: tuple[ServerProcess, ServerProcess], log: StatementLog
) -> None:
    one, other = two
    ana, ben = [await sign_in(one, name) for name in ("ana", "ben")]
    async with ana.socket(one) as a, ben.socket(other) as b:
        group = await make_group(one, ana, ben)
        for target in ({"to": "ben"}, {"chat_id": group}):
            # The chat is new: whoever joins it is read.
            await a.message("first", **target)
            await b.text("first")
            b.frames.clear()
            log.forget()
            for number in range(MESSAGES):
                await a.message(f"text {number}", **target)
            await b.text(f"text {MESSAGES - 1}")
            # Together, too: their batches and hints are fewer than they.
            for number in range(MESSAGES):
                await a.send(type="send", id=str(uuid.uuid4()), text=f"more {number}", **target)
            for number in range(MESSAGES):
                await b.text(f"more {number}")
            assert of_messages(log) == []
            seqs = [seq for _, seq in b.rows()]
            assert seqs == list(range(seqs[0], seqs[0] + 2 * MESSAGES))
    assert other.metric("chatserver_gaps_healed_total") == 0


async def test_a_message_that_is_too_large_is_read(two: tuple[ServerProcess, ServerProcess], log: StatementLog) -> None:
    one, other = two
    ana, ben = [await sign_in(one, name) for name in ("ana", "ben")]
    async with ana.socket(one) as a, ben.socket(other) as b:
        await a.message("first", to="ben")
        await b.text("first")
        log.forget()
        await a.message("x" * MOST_ROW_BYTES, to="ben")
        await b.text("x" * MOST_ROW_BYTES)
        assert len(of_messages(log)) > 0
        log.forget()
        await a.message("last", to="ben")
        await b.text("last")
        assert of_messages(log) == []


async def test_members_get_messages_of_their_time_in_the_group_and_no_other(
    two: tuple[ServerProcess, ServerProcess],
) -> None:
    one, other = two
    ana, ben, eve = [await sign_in(one, name) for name in ("ana", "ben", "eve")]
    async with ana.socket(one) as a, ben.socket(other) as b, eve.socket(other) as e:
        group = await make_group(one, ana, ben, eve)
        async with ana.http(one) as http:
            for text, act in (("with", http.delete), ("without", http.post), ("again", http.delete)):
                await a.message(text, chat_id=group)
                await b.text(text)
                changed = await act(f"/api/groups/{group}/members/{eve.user_id}")
                assert changed.is_success, changed.text
        await a.message("last", chat_id=group)
        await b.text("last")
        await e.until(lambda frame: frame["type"] == "event" and frame.get("action") == "removed")
        await e.text("again")
        texts = [frame["message"]["text"] for frame in e.frames if frame["type"] == "message"]
        assert texts == ["with", "again"]


async def test_a_notify_has_no_text_of_a_message(read_dsn: Callable[[], str], valkeys: list[ValkeyProcess]) -> None:
    notified: list[str] = []
    database = await Database(read_dsn, server_name="listener", pool_size=1).open()
    listener = await database.listen(notified.append)
    with (
        ServerProcess(read_dsn(), "server-0") as one,
        ServerProcess(read_dsn(), "server-1", **bus_environment(valkeys)) as other,
    ):
        for process in (one, other):
            await asyncio.to_thread(process.wait_ready)
        ana, ben = [await sign_in(one, name) for name in ("ana", "ben")]
        async with ben.socket(one) as b, ana.socket(other) as a:
            for number in range(MESSAGES):
                await a.message(f"secret {number}", to="ben")
            await b.text(f"secret {MESSAGES - 1}")
        slots = await database.fetch("SELECT hint FROM hint_slots")
    listener.close()
    await database.close()
    assert any('"c":' in payload for payload in notified)
    assert not [text for text in (*notified, *(slot[0] for slot in slots)) if "secret" in text]
