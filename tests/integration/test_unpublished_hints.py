"""What a server committed and did not publish before it ended reaches everybody: nothing is lost, late or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest

from chatserver.fanout import sweeping
from chatserver.hints import Hint
from chatserver.messaging import groups
from chatserver.model import Principal, SeqRange
from chatserver.storage import database as storage_database
from chatserver.storage import hint_sweep, publishing
from chatserver.storage.messages import open_direct_chat
from chatserver.storage.publishing import notify
from tests.support import inprocess
from tests.support.devices import sign_in
from tests.support.findings import tell
from tests.support.inprocess import ChatServer, Wire
from tests.support.mortal import Mortal, World
from tests.support.people import running_server
from tests.support.people import sign_in as make_account
from tests.support.playedbus import Air, published
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.support.valkey import BUSES, bus_environment, running_bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.inprocess import Frame
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

DEATHS = 150
SOAK_DEATHS = 1000
SOAK_SECONDS = float(os.environ.get("CHAT_SOAK_SECONDS", "600"))
LATE_SECONDS = 10.0
"""What the fault table promises."""


@contextlib.asynccontextmanager
async def world(read_dsn: Callable[[], str], seed: int, bus: str) -> AsyncIterator[World]:
    """Users on one server, and another one that dies."""
    chance = random.Random(seed)  # noqa: S311 - a seed repeats it
    air = Air(read_dsn)
    await air.open()
    by_valkey = bus == "Valkey"
    survivor = ChatServer(read_dsn, "survivor", air, by_valkey=by_valkey)
    await survivor.start()
    try:
        async with running_server(read_dsn, "mortal") as server:
            publish = air.publish if by_valkey else partial(notify, server.database)
            made = World(Mortal(server, chance, publish), survivor, air, chance)
            await made.begin()
            sweep = asyncio.create_task(survivor.context.sweep.run())
            try:
                async with made.handing_over():
                    yield made
                await made.mortal.die()
            finally:
                sweep.cancel()
                await asyncio.gather(sweep, return_exceptions=True)
    finally:
        await survivor.kill()
        await air.close()


async def _die(made: World, deaths: int) -> None:
    while made.mortal.deaths < deaths:
        await made.act()
        await made.mortal.die()
    await made.finish()


def _shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(sweeping, "STALE_SECONDS", 0.1)
    monkeypatch.setattr(hint_sweep, "CLAIM_SECONDS", 0.05)


@pytest.mark.parametrize("bus", BUSES)
async def test_a_server_that_dies_between_commits_and_publications_loses_and_doubles_nothing(
    read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch, bus: str
) -> None:
    _shorten(monkeypatch)
    async with world(read_dsn, 62, bus) as made:
        await _die(made, DEATHS)
        tell(f"{bus}: {DEATHS} deaths, {made.mortal.unpublished} with unpublished hints: {dict(made.acts)}")
        assert made.mortal.unpublished > DEATHS / 3
        assert len(made.acts) == 11, "each kind of hint is left"


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 600)
@pytest.mark.parametrize("bus", ["PostgreSQL", "Valkey"])
async def test_a_server_that_dies_loses_nothing_for_as_long_as_wanted(
    read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch, bus: str
) -> None:
    _shorten(monkeypatch)
    seed = int(os.environ.get("CHAT_SOAK_SEED") or secrets.randbelow(10**6))
    deadline, deaths, unpublished = time.monotonic() + SOAK_SECONDS, 0, 0
    while time.monotonic() < deadline:
        tell(f"unpublished hints: CHAT_SOAK_SEED={seed}")
        async with world(read_dsn, seed, bus) as made:
            await _die(made, SOAK_DEATHS)
            unpublished += made.mortal.unpublished
        seed, deaths = seed + 1, deaths + SOAK_DEATHS
    tell(f"{bus}: {deaths} deaths, {unpublished} of them with unpublished hints")


@pytest.mark.parametrize("bus", BUSES)
async def test_what_a_killed_process_committed_arrives_within_ten_seconds(
    postgres: PostgresCluster, migrated_template: str, bus: str
) -> None:
    database = postgres.create_database(migrated_template)
    dsn = postgres.dsn(database)
    # Its transactions commit, and the bus that it has to publish their hints by is not there.
    no_bus = {"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": f"valkey://127.0.0.1:{free_port()}"}
    with (
        running_bus(bus) as valkeys,
        ServerProcess(dsn, "survivor", **bus_environment(valkeys)) as survivor,
        ServerProcess(dsn, "mortal", **no_bus) as mortal,
    ):
        survivor.wait_ready()
        mortal.wait_ready()
        ana, ben = await sign_in(survivor, "ana"), await sign_in(survivor, "ben")
        tablet = await sign_in(survivor, phone_number=ana.phone_number)
        async with ana.socket(survivor) as at_ana, tablet.socket(survivor) as at_tablet:
            async with ben.http(survivor) as http:
                first = (await http.post("/api/messages", json={"to": "ana", "text": "first"})).json()
            await at_ana.text("first")
            chat_id, seq = first["chat_id"], first["seq"]
            async with ben.http(mortal) as http, ana.http(mortal) as own:
                committed_at = time.monotonic()
                assert (await http.post("/api/messages", json={"chat_id": chat_id, "text": "second"})).is_success
                edited = await http.patch(f"/api/chats/{chat_id}/messages/{seq}", json={"text": "better"})
                assert edited.is_success
                read = {"chats": {str(chat_id): {"read_seq": seq}}}
                assert (await http.post("/api/receipts", json=read)).is_success
                assert (await own.delete(f"/api/devices/{tablet.device_id}")).is_success
            mortal.signal(signal.SIGKILL)
            mortal.wait(20)
            # Under the same name, and with slots of its own.
            with ServerProcess(dsn, "mortal", **no_bus) as again:
                again.wait_ready()
                async with ben.http(again) as http:
                    assert (await http.post("/api/messages", json={"chat_id": chat_id, "text": "third"})).is_success
                    third_at = time.monotonic()
                again.signal(signal.SIGKILL)
                again.wait(20)
            await at_ana.text("second")
            await at_ana.of_type("event", chat_id=chat_id, target_seq=seq)
            await at_ana.of_type("receipt", chat_id=chat_id, read_seq=seq)
            assert await at_tablet.close_code() == 4001
            seconds = time.monotonic() - committed_at
            await at_ana.text("third")
            third_seconds = time.monotonic() - third_at
        rows = at_ana.rows()
        assert len(rows) == len(set(rows))
        # What recovery of a fleet with two buses has brought already is swept as well.
        async with asyncio.timeout(LATE_SECONDS):
            while (swept := survivor.metric("chatserver_hints_swept_total")) < 3:
                await asyncio.sleep(0.1)
        survivor.terminate()
        survivor.wait(30)
    left = postgres.sql("SELECT hint FROM hint_slots WHERE owner LIKE 'survivor%'", database)
    assert left == "", "a server that drains leaves nothing"
    tell(
        f"a killed process: {swept:.0f} hints swept, all after {seconds:.1f} s, of its next life {third_seconds:.1f} s"
    )
    assert third_seconds < LATE_SECONDS


async def test_a_message_that_is_alone_is_announced_by_its_commit_and_the_next_one_from_a_slot(
    read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(read_dsn, "here") as server:
        database = server.database
        ana, ben = [await make_account(database, f"u{secrets.token_hex(8)}") for _ in range(2)]
        chat_id = await open_direct_chat(database, ana.user.user_id, ben.user.user_id)
        assert chat_id is not None
        await published(database)
        heard: list[Hint] = []
        listener = await database.listen(lambda payload: heard.append(Hint.decode(payload)))
        try:
            # Nothing was published for so long as hints are collected, and then for an hour something was.
            database.hints._due_at = 0
            monkeypatch.setattr(publishing, "COLLECT_SECONDS", 3600)
            for text in ("first", "second"):
                await server.send(ana.user.user_id, text, chat_id=chat_id)
            slots = await database.fetch("SELECT hint FROM hint_slots WHERE hint LIKE '%\"c\":%'")
            assert [Hint.decode(row[0]).ranges for row in slots] == [(SeqRange(chat_id, 2, 2),)]
            async with asyncio.timeout(LATE_SECONDS):
                while not heard:
                    await asyncio.sleep(0.01)
            assert [(hint.origin, hint.ranges, hint.is_batch) for hint in heard] == [
                ("here", (SeqRange(chat_id, 1, 1),), True)
            ]
        finally:
            listener.close()


async def test_rows_of_a_commit_whose_answer_was_lost_are_delivered(
    postgres: PostgresCluster, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_database, "CALL_SECONDS", 0.5)
    # One connection, which has prepared the statement: nothing but the statement is sent.
    monkeypatch.setattr(inprocess, "POOL_SIZE", 1)
    air = Air(read_dsn)
    await air.open()
    server = ChatServer(read_dsn, "one", air)
    await server.start()
    sweep = None
    try:
        ana, ben = [await make_account(server.database, f"u{secrets.token_hex(8)}") for _ in range(2)]
        wires = [Wire(server, Principal(who.user.user_id, who.device_id)) for who in (ana, ben)]
        for wire in wires:
            await wire.open()
        wires[0].submit({"type": "send", "id": str(uuid.uuid4()), "to": ben.user.username, "text": "known"})
        await server.quiet()
        await published(server.database)
        [chat_id] = [frame["chat_id"] for frame in wires[0].take() if frame["type"] == "ack"]
        wires[0].submit({"type": "send", "id": str(uuid.uuid4()), "chat_id": chat_id, "text": "unknown"})
        # The statement is on its way, and its answer comes when nobody waits for it any more.
        postgres.freeze()
        errors: list[Frame] = []
        try:
            async with asyncio.timeout(LATE_SECONDS):
                while not errors:
                    errors = [frame for frame in wires[0].take() if frame["type"] == "error"]
                    await asyncio.sleep(0.01)
        finally:
            postgres.thaw()
        sweep = asyncio.create_task(server.context.sweep.run())
        [error] = errors
        assert error["code"] == "unavailable"
        texts: list[str] = []
        async with asyncio.timeout(LATE_SECONDS):
            while "unknown" not in texts:
                server.hear_all()
                texts += [frame["message"]["text"] for frame in wires[1].take() if frame["type"] == "message"]
                await asyncio.sleep(0.01)
        assert texts == ["known", "unknown"]
    finally:
        if sweep is not None:
            sweep.cancel()
            await asyncio.gather(sweep, return_exceptions=True)
        await server.kill()
        await air.close()


async def test_servers_of_the_release_before_are_heard(read_dsn: Callable[[], str]) -> None:
    air = Air(read_dsn)
    await air.open()
    server = ChatServer(read_dsn, "new", air)
    await server.start()
    try:
        ana, ben = [await make_account(server.database, f"u{secrets.token_hex(8)}") for _ in range(2)]
        chat_id = await open_direct_chat(server.database, ana.user.user_id, ben.user.user_id)
        wire = Wire(server, Principal(ben.user.user_id, ben.device_id))
        await wire.open()
        # The functions that such servers call; each notifies in its transaction.
        await server.database.fetch(
            "SELECT * FROM store_messages('old', $1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [chat_id], [ana.user.user_id], [uuid.uuid4()], [b"hash"], ["old"], ["text"], [None], [None], [None],
        )  # fmt: skip
        await server.database.fetch("SELECT append_event('old', $1, $2, 'delete', 1, NULL)", chat_id, ana.user.user_id)
        frames: list[Frame] = []
        async with asyncio.timeout(LATE_SECONDS):
            while not {"message", "event"} <= {frame["type"] for frame in frames}:
                server.hear_all()
                frames += wire.take()
                await asyncio.sleep(0.01)
        assert await server.database.fetchrow("SELECT FROM hint_slots WHERE owner LIKE 'old%'") is None
    finally:
        await server.kill()
        await air.close()


async def test_rows_that_were_hinted_before_the_joining_are_delivered(read_dsn: Callable[[], str]) -> None:
    air = Air(read_dsn)
    await air.open()
    here = ChatServer(read_dsn, "here", air)
    await here.start()
    try:
        async with running_server(read_dsn, "other") as other:
            ana, ben = [await make_account(other.database, f"u{secrets.token_hex(8)}") for _ in range(2)]
            wire = Wire(here, Principal(ana.user.user_id, ana.device_id))
            await wire.open()
            air.databases.append(other.database)
            group = await groups.create_group(other.database, ben.user.user_id, "new", [ana.user.username or ""])
            await air.catch_up()
            # What "other" commits next is published by a server that is faster.
            joining = [here.bus.waiting.pop(place) for place, hint in _with_members(here.bus.waiting)]
            for text in ("two", "three"):
                await other.send(ben.user.user_id, text, chat_id=group.chat_id)
            await air.catch_up()
            here.hear_all()
            while here.context.deliverer._pending:
                await asyncio.sleep(0)
            for hint in joining:
                here.hear(hint)
            seqs: list[int] = []
            async with asyncio.timeout(LATE_SECONDS):
                while len(seqs) < 3:
                    seqs += [frame.get("message", frame)["seq"] for frame in wire.take() if "seq" in str(frame)]
                    await asyncio.sleep(0.01)
            assert seqs == [1, 2, 3]
    finally:
        await here.kill()
        await air.close()


def _with_members(waiting: list[Hint]) -> list[tuple[int, Hint]]:
    """Return the hints of joining, with their places, the last one first."""
    return [(place, hint) for place, hint in enumerate(waiting) if hint.members][::-1]
