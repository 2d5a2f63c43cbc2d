"""Restore drills by the image's own containers, with a real pgBackRest and PostgreSQL.

The tests of this file follow one chat.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.storage.migrate import migrate
from postgresbackup.drilled import REMEMBERED_MAX
from tests.integration.test_backup import archived, has_backups, holds
from tests.support.backups import Authority, Chat, closing
from tests.support.network import private_network
from tests.support.postgresimage import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

CONTENT = """
    INSERT INTO users (phone_number) VALUES ('+15550000001'), ('+15550000002');
    INSERT INTO chats (chat_id, kind) VALUES (1, 'direct'), (2, 'self');
    INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
        SELECT 1, n, 1, repeat('hello ', 20), clock_timestamp() FROM generate_series(1, 500) AS n;
    INSERT INTO messages (chat_id, seq, sender_id, kind, target_seq, created_at) VALUES (1, 501, 1, 'edit', 1, now());
    CREATE TABLE ledger (n bigint PRIMARY KEY, m bigint);
    CREATE INDEX ledger_m ON ledger (m);
    INSERT INTO ledger SELECT n, n FROM generate_series(1, 1000) AS n;
"""

UNINDEXED = """
    UPDATE pg_index SET indisready = false WHERE indexrelid = 'ledger_m'::regclass;
    INSERT INTO ledger VALUES (0, 0);
    UPDATE pg_index SET indisready = true WHERE indexrelid = 'ledger_m'::regclass;
"""
"""What a fault of a storage or of an upgrade does: every page has a right checksum, and a row is not in an index."""

ONCE_A_YEAR = "0 0 1 1 *"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    """A chat with messages and a full backup, and no drill yet."""
    # First: the private network leads to no mirror.
    unpacked()
    folder = tmp_path_factory.mktemp("drills")
    folder.chmod(0o755)
    with private_network():
        made = Chat(folder, 1, Authority())
        with closing(made):
            asyncio.run(_begin(made))
            yield made


async def _begin(chat: Chat) -> None:
    chat.start_database()
    chat.start_host()
    await holds(lambda: chat.psql("SELECT 1") == "1", "PostgreSQL answers", chat)
    await migrate(chat.dsn, wait_seconds=60)
    connection = await chat.connect()
    await connection.execute(CONTENT)
    await connection.close()
    await has_backups(chat, 1)


def ask(chat: Chat, request: str, **more: Any) -> None:
    """Request a drill."""
    chat.write_settings(drill={"schedule": ONCE_A_YEAR, "request": request, **more})


async def drilled(chat: Chat, request: str) -> dict[str, Any]:
    """Wait until a request is answered; returns the drill."""
    await holds(lambda: chat.status().get("answered_drill") == request, f"{request} is answered", chat)
    await holds(lambda: chat.status().get("phase") != "drill", "it is over", chat)
    return dict(chat.status()["last_drill"])


def scratch(chat: Chat) -> list[str]:
    """What is on the scratch volume."""
    return sorted(path.name for path in (chat.host.folder / "drill").iterdir())


async def test_a_drill_restores_all_messages_and_leaves_nothing(chat: Chat) -> None:
    newest = chat.psql("SELECT max(created_at) FROM messages WHERE kind = 'message'")
    written = chat.psql("INSERT INTO ledger VALUES (-1, -1) RETURNING clock_timestamp()").splitlines()[0]
    name = chat.psql("SELECT pg_walfile_name(pg_switch_wal())")
    archived_wal = "SELECT last_archived_wal FROM pg_stat_archiver"
    await holds(lambda: chat.psql(archived_wal) >= name, f"{name} is archived", chat)
    ask(chat, "good")
    last = await drilled(chat, "good")
    assert (last["ok"], last["code"], last["text"]) == (True, "", "")
    assert (last["users"], last["chats"], last["messages"]) == (2, 1, 500)
    assert at(last["newest_message"]) == at(newest)
    assert at(last["restored_to"]) >= at(written), "the commit after the backup is there"
    assert last["good_at"] == last["at"]
    assert scratch(chat) == []
    assert chat.psql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == "0", "the chat is untouched"


@pytest.mark.soak
async def test_the_repository_remembers_a_drill_and_so_does_the_next_backup(chat: Chat) -> None:
    ask(chat, "remembered")
    last = await drilled(chat, "remembered")
    await _restart_and_compare(chat, last)
    backups = chat.status()["backups"]
    chat.write_settings(drill={"schedule": ONCE_A_YEAR, "request": "remembered"}, request="another")
    (*_, backup) = await has_backups(chat, len(backups) + 1)
    assert backup["label"] != last["backup"]
    await _restart_and_compare(chat, last)


async def _restart_and_compare(chat: Chat, last: dict[str, Any]) -> None:
    chat.containers[-1].stop()
    chat.start_host()
    await holds(lambda: chat.status().get("last_drill"), "it knows of the drill", chat)
    assert chat.status()["last_drill"] == last


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.soak
async def test_a_drill_that_is_killed_begins_again_and_is_reported_when_that_does_not_help(chat: Chat) -> None:
    chat.write_settings(drill={"schedule": "* * * * *", "request": "good"})
    for number in range(1, 4):
        await holds(lambda: "pgdata" in scratch(chat), "a drill restores", chat)
        chat.containers[-1].kill()
        # What a restart would take for the next one.
        shutil.rmtree(chat.host.folder / "drill" / "pgdata")
        if number == 3:
            chat.write_settings(drill={"schedule": ONCE_A_YEAR, "request": "good"})
        chat.start_host()
    await holds(lambda: (chat.status().get("last_drill") or {}).get("code") == "interrupted", "it is reported", chat)
    last = chat.status()["last_drill"]
    assert "3 times" in last["text"]
    assert last["good_at"] != last["at"]
    ask(chat, "after")
    assert (await drilled(chat, "after"))["ok"]


@pytest.fixture
def confined(chat: Chat) -> Iterator[Chat]:
    """The chat with a scratch volume of 16 MiB."""
    folder = chat.host.folder / "drill"
    # A mount that is made now is not in the containers that run.
    chat.containers[-1].stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "tmpfs", str(folder)], check=True)
    try:
        chat.start_host()
        yield chat
        chat.containers[-1].stop()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    chat.start_host()


@pytest.mark.soak
async def test_a_scratch_volume_that_is_too_small_is_named(confined: Chat) -> None:
    ask(confined, "small")
    last = await drilled(confined, "small")
    assert last["code"] == "scratch_full", last
    assert "16 MiB" in last["text"]
    assert "database.backup.drill.size" in last["text"]
    assert scratch(confined) == []


@pytest.mark.soak
async def test_a_drill_that_takes_too_long_ends(chat: Chat) -> None:
    ask(chat, "long", timeoutSeconds=1)
    last = await drilled(chat, "long")
    assert last["code"] == "timed_out", last
    assert "timeoutSeconds" in last["text"]
    assert scratch(chat) == []


@pytest.mark.soak
async def test_a_row_that_is_not_in_an_index_is_found(chat: Chat) -> None:
    connection = await chat.connect()
    await connection.close()
    for statement in filter(str.strip, UNINDEXED.split(";")):
        chat.psql(statement)
    assert chat.psql("SET enable_seqscan = off; SELECT count(*) FROM ledger WHERE m = 0").endswith("0")
    backups = len((await archived(chat))["backups"])
    # pgBackRest finds nothing: all checksums are right.
    chat.write_settings(request="with damage", drill={"schedule": ONCE_A_YEAR, "request": "long"})
    assert not (await has_backups(chat, backups + 1))[-1]["error"]
    ask(chat, "damaged")
    last = await drilled(chat, "damaged")
    assert last["code"] == "damaged", last
    assert "ledger_m" in last["text"]
    chat.containers[-1].stop()
    chat.start_host()
    await holds(lambda: (chat.status().get("last_drill") or {}).get("code") == "damaged", "it is remembered", chat)
    assert chat.status()["last_drill"]["text"] == last["text"][:REMEMBERED_MAX]
    chat.psql("REINDEX INDEX ledger_m")
    await archived(chat)
    ask(chat, "repaired")
    assert (await drilled(chat, "repaired"))["ok"], "WAL after the backup has the repair"


@pytest.mark.soak
async def test_a_database_without_the_tables_of_a_chat_is_no_success(chat: Chat) -> None:
    chat.psql("ALTER TABLE messages RENAME TO lost")
    await archived(chat)
    ask(chat, "empty")
    last = await drilled(chat, "empty")
    chat.psql("ALTER TABLE lost RENAME TO messages")
    assert last["code"] == "no_chat", last
    assert "messages" in last["text"]
    await archived(chat)


@pytest.mark.soak
async def test_a_missing_wal_file_fails_a_drill_also_while_no_backup_can_be_made(chat: Chat) -> None:
    first = await archived(chat)
    chat.psql("INSERT INTO ledger VALUES (-2, -2)")
    second = await archived(chat)
    chat.psql("INSERT INTO ledger VALUES (-3, -3)")
    await archived(chat)
    assert second["last_archived_wal"] > first["last_archived_wal"]
    for container in chat.containers:
        if container.log.name != "backup.log":
            container.kill()
    archive = chat.host.folder / "repository" / "archive" / "chat"
    (lost,) = archive.rglob(f"{second['last_archived_wal']}-*")
    lost.unlink()
    await holds(lambda: chat.status()["last_backup_error"] is not None, "another backup would be needed", chat)
    ask(chat, "gap")
    last = await drilled(chat, "gap")
    assert last["code"] == "wal_missing", last
    assert second["last_archived_wal"] in last["text"]
