"""Ids at their ends: the last that the database gives out reaches clients exactly, and above it there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatserver import bounds
from chatserver.dev.programs import EmbeddedPostgresError
from chatserver.routes import CALLS
from chatserver.storage.outages import StatementFailed
from tests.support.devices import sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.devices import Device
    from tests.support.people import Server
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

LAST = bounds.MAX_ID
LAST_OF_SHARD = 2**bounds.LOCAL_ID_BITS - 1
# Sequences of what no client sees.
INTERNAL = {"audit_events_event_id_seq", "code_requests_request_id_seq", "user_numbers"}


@pytest.fixture(scope="module")
def database(postgres: PostgresCluster, migrated_template: str) -> str:
    return postgres.create_database(migrated_template)


@pytest.fixture(scope="module")
def process(postgres: PostgresCluster, database: str) -> Iterator[ServerProcess]:
    with ServerProcess(postgres.dsn(database), "one") as running:
        running.wait_ready()
        yield running


async def test_the_last_ids_reach_clients_exactly(
    postgres: PostgresCluster, database: str, process: ServerProcess
) -> None:
    ana = await sign_in(process, "ana")
    for sequence, last in (
        ("chats_chat_id", LAST_OF_SHARD),
        ("messages_message_id", LAST_OF_SHARD),
        ("devices_device_id", LAST),
    ):
        postgres.sql(f"ALTER SEQUENCE {sequence}_seq RESTART WITH {last}", database)
    ben = await sign_in(process, "ben")
    assert ben.device_id == LAST
    async with ana.socket(process) as sender, ben.socket(process) as recipient:
        ack = await sender.message("the last one", to="ben")
        assert (ack["chat_id"], ack["message_id"]) == (LAST_OF_SHARD, LAST_OF_SHARD)
        pushed = await recipient.text("the last one")
    async with ben.http(process) as http:
        (row,) = (await http.get(f"/api/chats/{ack['chat_id']}/messages")).json()
        (device,) = (await http.get("/api/devices")).json()
        (chat,) = (await http.get("/api/chats")).json()["chats"]
    assert pushed["message_id"] == row["message_id"] == LAST_OF_SHARD
    assert device["device_id"] == LAST
    assert chat["chat_id"] == LAST_OF_SHARD
    # As JavaScript keeps them.
    given = [ack["chat_id"], ack["message_id"], row["from_id"], device["device_id"]]
    assert [int(float(number)) for number in given] == given


@pytest.mark.parametrize("sequence", ["chats_chat_id", "messages_message_id", "devices_device_id"])
async def test_no_id_is_given_out_above_the_last(
    postgres: PostgresCluster, migrated_template: str, sequence: str
) -> None:
    database = postgres.create_database(migrated_template)
    last = LAST if sequence == "devices_device_id" else LAST_OF_SHARD
    postgres.sql(f"ALTER SEQUENCE {sequence}_seq RESTART WITH {last}", database)
    assert postgres.sql(f"SELECT nextval('{sequence}_seq')", database) == str(last)
    with pytest.raises(EmbeddedPostgresError, match="reached maximum value of sequence"):
        postgres.sql(f"SELECT nextval('{sequence}_seq')", database)


async def test_every_sequence_ends_where_javascript_does(server: Server) -> None:
    found = await server.database.fetch("SELECT sequencename, max_value FROM pg_sequences WHERE schemaname = 'public'")
    assert {name for name, most in found if most > LAST} == INTERNAL


async def test_user_ids_end_in_2089_and_not_before(server: Server) -> None:
    (row,) = await server.database.fetch("SELECT user_id_at((1::bigint << 41) - 1), user_id_at(0)")
    assert LAST - 4096 < row[0] <= LAST
    assert 0 <= row[1] < 4096
    for beyond in (2**41, -1):
        with pytest.raises(StatementFailed) as refused:
            await server.database.fetch("SELECT user_id_at($1)", beyond)
        assert refused.value.sqlstate == "22003"


BODIES: dict[str, dict[str, Any]] = {
    "POST /api/groups/{group_id}/invites": {},
    "PATCH /api/groups/{group_id}": {"group_name": "team"},
    "PUT /api/groups/{group_id}/members/{user_id}/role": {"role": "member"},
    "PATCH /api/chats/{chat_id}/messages/{seq}": {"text": "new"},
}


async def said(http: httpx.AsyncClient, method: str, path: str, body: object) -> tuple[int, object]:
    response = await http.request(method, path, json=body)
    content = response.json() if response.content else {}
    return response.status_code, {name: value for name, value in content.items() if name != "request_id"}


async def answers(http: httpx.AsyncClient, group_id: int, number: int) -> dict[str, object]:
    """Every call that names an id or a seq, with this one in each of the places."""
    found: dict[str, object] = {}
    for call in CALLS:
        for name in ("chat_id", "user_id", "group_id", "device_id", "invite_id", "seq"):
            if f"{{{name}}}" not in call.path:
                continue
            others = {"chat_id": group_id, "group_id": group_id, "emoji": "👍"}
            others |= dict.fromkeys(("user_id", "device_id", "invite_id", "seq"), 1)
            path = call.path.format(**(others | {name: number}))
            found[f"{call.route} {name}"] = await said(http, call.method, path, BODIES.get(call.route))
    found["send"] = await said(http, "POST", "/api/messages", {"chat_id": number, "text": "hello"})
    reply = {"chat_id": group_id, "text": "hello", "reply_to": number}
    found["reply"] = await said(http, "POST", "/api/messages", reply)
    marks = {"chats": {str(number): {"read_seq": number}}}
    found["receipts"] = await said(http, "POST", "/api/receipts", marks)
    return found


async def group_of(device: Device, process: ServerProcess) -> int:
    async with device.http(process) as http:
        made: int = (await http.post("/api/groups", json={"group_name": "team", "members": []})).json()["group_id"]
        return made


@pytest.fixture(scope="module")
def fresh(postgres: PostgresCluster, migrated_template: str) -> Iterator[ServerProcess]:
    with ServerProcess(postgres.dsn(postgres.create_database(migrated_template)), "one") as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize("number", [LAST + 1, bounds.MAX_NUMBER])
async def test_an_id_above_the_last_is_answered_as_one_that_does_not_exist(fresh: ServerProcess, number: int) -> None:
    cleo = await sign_in(fresh)
    group_id = await group_of(cleo, fresh)
    async with cleo.http(fresh) as http:
        unknown, above = await answers(http, group_id, LAST), await answers(http, group_id, number)
    assert len(unknown) > 20
    assert above == unknown


async def test_a_connection_outlives_ids_above_the_last(fresh: ServerProcess) -> None:
    dan = await sign_in(fresh)
    for number in (LAST + 1, bounds.MAX_NUMBER):
        async with dan.socket(fresh) as socket:
            refused = await socket.message("hello", chat_id=number)
            assert (refused["type"], refused["code"]) == ("error", "chat_not_found")
            await socket.send(type="read", chat_id=number, seq=number)
            await socket.send(type="typing", chat_id=number)
            await socket.send(type="subscribe", user_ids=[number])
            await socket.send(type="sync", chats={str(number): number})
            await socket.of_type("synced")
            await socket.send(type="ping")
            await socket.of_type("pong")
            assert {frame["type"] for frame in socket.frames if frame is not refused} == {"welcome", "synced", "pong"}
