"""Migrations on a real PostgreSQL: once, in order, from many places at once, and never from too old a code."""

from __future__ import annotations

import asyncio
import hmac
import uuid
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from chatserver.errors import RateLimited, ServiceUnavailable
from chatserver.messaging import changes, chats
from chatserver.model import Reaction
from chatserver.storage.database import Database, single_connection
from chatserver.storage.migrate import (
    MigrationBlocked,
    SchemaRefused,
    check_schema,
    migrate,
    parse_migrations,
    read_migrations,
)
from chatserver.storage.outages import StatementFailed
from tests.support.devices import sign_in as device_of
from tests.support.people import Server, make_accounts, running_server
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.model import MessageRow
    from chatserver.storage.database import Connection
    from chatserver.storage.migrate import Migration
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

NAMES = [migration.name for migration in read_migrations()]


@pytest.fixture
def empty_dsn(postgres: PostgresCluster) -> Callable[[], str]:
    dsn = postgres.dsn(postgres.create_database())
    return lambda: dsn


async def test_many_runners_at_once_apply_each_migration_once(empty_dsn: Callable[[], str]) -> None:
    results = await asyncio.gather(*(migrate(empty_dsn, wait_seconds=10) for _ in range(4)))
    assert sorted(results, key=len) == [[], [], [], NAMES]
    assert await migrate(empty_dsn, wait_seconds=10) == []


async def test_changes_of_messages_come_to_a_database_in_use(
    empty_dsn: Callable[[], str], postgres: PostgresCluster
) -> None:
    await migrate(empty_dsn, 10, read_migrations()[:2])
    name = empty_dsn().rsplit("/", 1)[1]
    postgres.sql(
        "INSERT INTO users (phone_number) VALUES ('+15550000001'), ('+15550000002'); "
        "SELECT append_messages('a', ARRAY[open_direct_chat('a', 1, 2)], ARRAY[1]::bigint[], ARRAY[gen_random_uuid()], "
        "ARRAY['x'::bytea], ARRAY['kept'], ARRAY['text'], ARRAY[NULL], ARRAY[NULL::bigint], ARRAY[NULL::timestamptz])",
        name,
    )
    assert await migrate(empty_dsn, 10) == NAMES[2:]
    database = await Database(empty_dsn, server_name="a").open()
    ((chat_id,),) = [tuple(row) for row in await database.fetch("SELECT chat_id FROM chats")]
    await changes.put_reaction(database, 2, chat_id, 1, "👍")
    await changes.edit_message(database, 1, chat_id, 1, "kept, and edited")
    await changes.hide_message(database, 2, chat_id, 1)
    (row, *events) = (await chats.read_history(database, 1, chat_id)).rows
    assert (row.text, row.reactions) == ("kept, and edited", (Reaction("👍", (2,)),))
    assert [event.kind for event in events] == ["reaction", "edit"]
    with pytest.raises(StatementFailed):
        await database.execute("UPDATE messages SET kind = 'nonsense'")
    await database.close()


async def test_a_code_that_was_sent_before_the_audit_log_came_signs_in_after(empty_dsn: Callable[[], str]) -> None:
    await migrate(empty_dsn, 10, read_migrations()[:3])
    database = await Database(empty_dsn, server_name="a").open()
    digest = hmac.digest(b"k" * 32, b"+15550000001:123456", "sha256")
    await database.execute(
        "INSERT INTO auth_codes (phone_number, code_hmac, tries_left, expires_at) "
        "VALUES ('+15550000001', $1, 5, now() + interval '5 minutes')",
        digest,
    )
    await database.execute("INSERT INTO users (phone_number, username, username_key) VALUES ('+15550000001', 'A', 'a')")
    assert await migrate(empty_dsn, 10) == NAMES[3:]
    accounts = make_accounts(database)
    with pytest.raises(RateLimited):
        await accounts.request_code("+15550000001", "192.0.2.1")
    session = await accounts.create_session("+15550000001", "123456")
    assert session.user.username == "A"
    with pytest.raises(StatementFailed):
        await database.execute("UPDATE users SET phone_number = NULL")
    await database.close()


async def test_failing_migration_leaves_nothing_behind(empty_dsn: Callable[[], str], postgres: PostgresCluster) -> None:
    broken = parse_migrations(
        {
            "0001_make_one.sql": "-- oldest code: 1\nCREATE TABLE one ();",
            "0002_make_two.sql": "-- oldest code: 1\nCREATE TABLE two (); SELECT 1/0;",
        }
    )
    with pytest.raises(StatementFailed):
        await migrate(empty_dsn, 10, broken)
    name = empty_dsn().rsplit("/", 1)[1]
    assert postgres.sql("SELECT to_regclass('one') IS NOT NULL, to_regclass('two') IS NULL", name) == "t|t"
    fixed = parse_migrations(
        {"0001_make_one.sql": broken[0].sql, "0002_make_two.sql": "-- oldest code: 1\nCREATE TABLE two ();"}
    )
    assert await migrate(empty_dsn, 10, fixed) == ["0002_make_two.sql"]


TABLE = (
    "-- oldest code: 1\nCREATE TABLE one (n integer); INSERT INTO one SELECT n / 2 FROM generate_series(1, 100) AS n;"
)
COLUMN = "-- oldest code: 1\nALTER TABLE one ADD COLUMN m integer;"
UNIQUE = """-- oldest code: 1
-- transaction: none
-- Built while servers write.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_n ON one (n);
ANALYZE one;
"""


def files(*texts: str) -> tuple[Migration, ...]:
    return parse_migrations({f"{number:04d}_do_it.sql": text for number, text in enumerate(texts, start=1)})


async def locked(dsn: Callable[[], str], connection: Connection) -> None:
    """Return when a runner waits for a lock."""
    async with asyncio.timeout(30):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chatserver migrate' "
            "AND wait_event_type = 'Lock' AND datname = $1",
            dsn().rsplit("/", 1)[1],
        ):
            await asyncio.sleep(0.02)


async def test_a_long_lock_beside_holds_up_the_migration_and_not_those_who_come_after(
    empty_dsn: Callable[[], str],
) -> None:
    await migrate(empty_dsn, 10, files(TABLE))
    async with (
        single_connection(empty_dsn, "a report") as holder,
        single_connection(empty_dsn, "a server") as reader,
        single_connection(empty_dsn, "who looks") as looker,
    ):
        holding = holder.transaction()
        await holding.start()
        await holder.fetch("SELECT * FROM one")
        migrating = asyncio.create_task(migrate(empty_dsn, 60, files(TABLE, COLUMN)))
        await locked(empty_dsn, looker)
        # It waits behind the migration until that gives way; without lock_timeout that would be for ever.
        async with asyncio.timeout(30):
            assert len(await reader.fetch("SELECT * FROM one")) == 100
        assert not migrating.done()
        await holding.rollback()
        assert await migrating == ["0002_do_it.sql"]


async def test_a_lock_that_is_held_all_the_time_is_told_with_who_may_hold_it(empty_dsn: Callable[[], str]) -> None:
    await migrate(empty_dsn, 10, files(TABLE))
    async with single_connection(empty_dsn, "a report") as holder:
        async with holder.transaction():
            await holder.fetch("SELECT * FROM one")
            with pytest.raises(MigrationBlocked, match=r"0002_do_it\.sql needs a lock .*a report, open for"):
                await migrate(empty_dsn, 0, files(TABLE, COLUMN))
        assert await migrate(empty_dsn, 10, files(TABLE, COLUMN)) == ["0002_do_it.sql"]


async def test_each_file_is_kept_though_a_later_one_fails(empty_dsn: Callable[[], str]) -> None:
    with pytest.raises(StatementFailed):
        await migrate(empty_dsn, 10, files(TABLE, COLUMN, "-- oldest code: 1\nSELECT 1/0;"))
    assert await migrate(empty_dsn, 10, files(TABLE, COLUMN, UNIQUE.replace("UNIQUE ", ""))) == ["0003_do_it.sql"]


async def test_an_index_whose_build_was_interrupted_is_built_again(
    empty_dsn: Callable[[], str], postgres: PostgresCluster
) -> None:
    with pytest.raises(StatementFailed):
        await migrate(empty_dsn, 10, files(TABLE, UNIQUE))
    name = empty_dsn().rsplit("/", 1)[1]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_n'::regclass"
    assert postgres.sql(valid, name) == "f"
    postgres.sql("DELETE FROM one WHERE ctid NOT IN (SELECT min(ctid) FROM one GROUP BY n)", name)
    assert await migrate(empty_dsn, 10, files(TABLE, UNIQUE)) == ["0002_do_it.sql"]
    assert postgres.sql(valid, name) == "t"


async def test_runners_at_once_build_an_index_beside_an_open_transaction(empty_dsn: Callable[[], str]) -> None:
    plain = UNIQUE.replace("UNIQUE ", "")
    await migrate(empty_dsn, 10, files(TABLE))
    async with (
        single_connection(empty_dsn, "a server") as holder,
        single_connection(empty_dsn, "who looks") as looker,
    ):
        holding = holder.transaction()
        await holding.start()
        await holder.execute("INSERT INTO one VALUES (1000)")
        runners = [asyncio.create_task(migrate(empty_dsn, 60, files(TABLE, plain))) for _ in range(3)]
        await locked(empty_dsn, looker)
        # Writers go on meanwhile.
        await looker.execute("INSERT INTO one VALUES (1001)")
        await holding.commit()
        assert sorted(await asyncio.gather(*runners), key=len) == [[], [], ["0002_do_it.sql"]]


@pytest.mark.parametrize(
    "text",
    ["CREATE INDEX CONCURRENTLY one_n ON one (n);", "-- nothing"],
    ids=["not to be run again", "nothing"],
)
def test_a_file_without_a_transaction_that_cannot_be_run_so_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="0001"):
        files(f"-- oldest code: 1\n-- transaction: none\n{text}")


async def test_newer_schema_is_served_unless_it_excludes_this_code(empty_dsn: Callable[[], str]) -> None:
    known = read_migrations()
    await migrate(empty_dsn, 10)
    number = len(known) + 1
    expanding = msgspec.structs.replace(
        known[-1], number=number, name="new", oldest_code=1, checksum="1", sql="CREATE TABLE new ()"
    )
    await migrate(empty_dsn, 10, (*known, expanding))
    database = await Database(empty_dsn, server_name="a").open()
    assert await migrate(empty_dsn, 10) == []
    await check_schema(database)
    contracting = msgspec.structs.replace(
        expanding, number=number + 1, name="contract", oldest_code=number, checksum="2", sql="DROP TABLE new"
    )
    await migrate(empty_dsn, 10, (*known, expanding, contracting))
    for refused in (migrate(empty_dsn, 10), check_schema(database)):
        with pytest.raises(SchemaRefused, match="newer release"):
            await refused
    await database.close()


async def test_server_refuses_a_database_without_its_schema(empty_dsn: Callable[[], str]) -> None:
    database = await Database(empty_dsn, server_name="a").open()
    with pytest.raises(SchemaRefused, match="chatserver migrate"):
        await check_schema(database)
    await migrate(empty_dsn, 10)
    await check_schema(database)
    await database.close()


async def test_edited_migration_is_refused(empty_dsn: Callable[[], str]) -> None:
    await migrate(empty_dsn, 10)
    known = read_migrations()
    edited = (msgspec.structs.replace(known[0], checksum="0"), *known[1:])
    with pytest.raises(SchemaRefused, match="differs from the one that was applied"):
        await migrate(empty_dsn, 10, edited)


async def test_waits_for_the_database_and_gives_up(postgres: PostgresCluster, empty_dsn: Callable[[], str]) -> None:
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(ServiceUnavailable):
            await migrate(empty_dsn, wait_seconds=0.5)
        waiting = asyncio.create_task(migrate(empty_dsn, wait_seconds=60))
        await asyncio.sleep(0.5)
    finally:
        await asyncio.to_thread(postgres.start)
    assert await waiting == NAMES


# What a release knows of the schema is the list of its migrations and the highest number in it; nothing else of it
# decides whether it serves. So an older or newer release stands here for this code with fewer or more migrations.


# From the oldest on all migrations run; whose functions a server calls meanwhile differs by where it begins.
FIRST = [
    first if first in {2, len(NAMES) - 2, len(NAMES) - 1} else pytest.param(first, marks=pytest.mark.soak)
    for first in range(2, len(NAMES))
]


@pytest.mark.parametrize("first", FIRST)
async def test_each_migration_runs_while_servers_work_and_keeps_every_message(
    empty_dsn: Callable[[], str], first: int
) -> None:
    known = read_migrations()
    await migrate(empty_dsn, 10, known[:first])
    async with single_connection(empty_dsn, "filling") as connection:
        # By SQL alone: calls of this code may need columns that are not there yet.
        await connection.execute(
            "INSERT INTO users (user_id, phone_number) OVERRIDING SYSTEM VALUE "
            "SELECT n, '+1555000' || lpad(n::text, 4, '0') FROM generate_series(1, 3) n"
        )
        chat_id: int = await connection.fetchval("SELECT open_direct_chat('old', 1, 2)")
        stored = await connection.fetch(_APPEND, *_batch(chat_id, "before", 300))
    before = [(row[0], row[1]) for row in stored]
    stop = asyncio.Event()
    during: list[int] = []

    async def old_server() -> None:
        """What a server of that release sends: its calls of the functions that were there then."""
        async with single_connection(empty_dsn, "old") as connection:
            while not stop.is_set():
                rows = await connection.fetch(_APPEND, *_batch(chat_id, "during", 3))
                during.extend(row[1] for row in rows)

    working = asyncio.create_task(old_server())
    while len(during) < 6:
        await asyncio.sleep(0.01)
    for number in range(first + 1, len(known) + 1):
        assert await migrate(empty_dsn, 10, known[:number]) == [NAMES[number - 1]]
        reached = len(during)
        while len(during) < reached + 6:
            assert not working.done(), working.exception()
            await asyncio.sleep(0.01)
    stop.set()
    await working
    async with running_server(empty_dsn) as server:
        rows = await read_all(server, 1, chat_id)
    assert [(row.message_id, row.seq, row.text) for row in rows[:300]] == [
        (message_id, seq, f"before {seq}") for message_id, seq in before
    ]
    assert [row.seq for row in rows] == list(range(1, 301 + len(during)))
    assert sorted(during) == [row.seq for row in rows[300:]]


_APPEND = (
    "SELECT o_message_id, o_seq FROM append_messages('old', $1::bigint[], $2::bigint[], $3::uuid[], $4::bytea[], "
    "$5::text[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[]) ORDER BY o_ord"
)


def _batch(chat_id: int, text: str, rows: int) -> list[list[object]]:
    return [
        [chat_id] * rows, [1] * rows, [uuid.uuid4() for _ in range(rows)], [b"x"] * rows,
        [f"{text} {number}" for number in range(1, rows + 1)], ["text"] * rows,
        [None] * rows, [None] * rows, [None] * rows,
    ]  # fmt: skip


async def read_all(server: Server, user_id: int, chat_id: int) -> list[MessageRow]:
    """Return the whole history of a chat."""
    rows: list[MessageRow] = []
    more = True
    while more:
        after = rows[-1].seq if rows else 0
        page = await chats.read_history(server.database, user_id, chat_id, after=after, limit=1000)
        rows += page.rows
        more = page.more
    return rows


async def test_old_servers_serve_on_after_a_migration_whose_new_version_failed(empty_dsn: Callable[[], str]) -> None:
    await migrate(empty_dsn, 10)
    known = read_migrations()
    newer = msgspec.structs.replace(
        known[-1], number=len(known) + 1, name="0099_add_things.sql", oldest_code=1, checksum="new",
        sql="CREATE TABLE things (thing_id bigint PRIMARY KEY); ALTER TABLE messages ADD COLUMN thing_id bigint;",
    )  # fmt: skip
    with ServerProcess(empty_dsn(), "old-1") as process:
        process.wait_ready()
        ana, ben = await device_of(process, "ana"), await device_of(process, "ben")
        async with ana.socket(process) as socket, ben.socket(process) as other:
            await socket.message("before", to="ben")
            # The new release migrates while the old one has open connections, and then fails to start.
            assert await migrate(empty_dsn, 10, (*known, newer)) == [newer.name]
            await socket.message("after", to="ben")
            assert (await other.text("after"))["seq"] == 2
    # All old servers are gone at once, and come back to a schema that they do not know.
    with ServerProcess(empty_dsn(), "old-2") as first, ServerProcess(empty_dsn(), "old-3") as second:
        first.wait_ready()
        second.wait_ready()
        async with ana.socket(first) as socket, ben.socket(second) as other:
            await other.send(type="sync", chats={})
            await other.of_type("synced")
            await socket.message("later", to="ben")
            await other.text("later")
            assert [seq for _, seq in other.rows()] == [1, 2, 3]
    excluding = msgspec.structs.replace(
        newer, number=newer.number + 1, name="0100_drop_things.sql", oldest_code=newer.number, checksum="drop",
        sql="DROP TABLE things",
    )  # fmt: skip
    await migrate(empty_dsn, 10, (*known, newer, excluding))
    with ServerProcess(empty_dsn(), "too-old") as refused:
        while not [event for event in refused.events() if event["event"] == "schema_not_ready"]:
            await asyncio.sleep(0.05)
        async with ana.http(refused) as http:
            assert (await http.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE
        (event,) = [event for event in refused.events() if event["event"] == "schema_not_ready"]
        assert "Run a newer release" in event["reason"]
