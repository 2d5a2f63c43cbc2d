"""Migrations on a real PostgreSQL: once, in order, from many places at once, and never from too old a code."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING

import msgspec
import pytest

from chatserver.errors import RateLimited, ServiceUnavailable
from chatserver.model import Reaction
from chatserver.services import changes, chats
from chatserver.services.accounts import Accounts
from chatserver.storage.database import Database, StatementFailed
from chatserver.storage.migrate import SchemaRefused, check_schema, migrate, parse_migrations, read_migrations

if TYPE_CHECKING:
    from collections.abc import Callable

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
    accounts = Accounts(database, secret_key=b"k" * 32)
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
    with pytest.raises(SchemaRefused, match="another content"):
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
