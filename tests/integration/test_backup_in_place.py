"""Restores in place by the image's own containers, with a real pgBackRest and PostgreSQL, and the way back."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.storage.migrate import migrate
from postgresbackup.outcome import RECORD
from tests.support.backups import Authority, Chat, closing
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.network import private_network
from tests.support.postgresimage import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(900)]

PATIENCE_SECONDS = 180

EPOCH = "SELECT chat_epoch()"

TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    """A chat that runs and has a full backup."""
    # First: the private network leads to no mirror.
    unpacked()
    tmp_path.chmod(0o755)
    with private_network():
        made = Chat(tmp_path, 1, Authority())
        with closing(made):
            made.start_host()
            yield made


async def holds(condition: Callable[[], Any], what: str, chat: Chat) -> None:
    """Wait until something observed is so."""

    async def asked() -> bool:
        return bool(await asyncio.to_thread(condition))

    await until(asked, what, PATIENCE_SECONDS, otherwise=chat.described)


async def runs(chat: Chat) -> None:
    chat.start_database()
    await holds(lambda: chat.psql("SELECT 1") == "1", "PostgreSQL answers", chat)


async def archived(chat: Chat) -> None:
    """Wait until all that has been committed is in the repository."""
    name = chat.psql("SELECT pg_walfile_name(pg_switch_wal() - 1)")
    assert name
    await holds(lambda: (chat.status().get("last_archived_wal") or "") >= name, f"{name} is archived", chat)


async def restored(chat: Chat, request: str, *, target: str = "", undo: str = "") -> dict[str, Any]:
    """Restore in place and start PostgreSQL again; returns the record of the restore."""
    await asyncio.to_thread(chat.stop_database)
    assert await asyncio.to_thread(chat.restore_in_place, request, target=target, undo=undo) == 0, chat.described()
    record = json.loads((chat.data / RECORD).read_text())
    assert record["id"] == request
    await runs(chat)
    return dict(record)


def numbers(chat: Chat) -> str:
    return chat.psql("SELECT string_agg(n::text, ',' ORDER BY n) FROM ledger")


def kept(chat: Chat) -> set[str]:
    return {path.name for path in chat.data.parent.glob("pgdata.*")}


async def a_second_between() -> str:
    """Let a whole second pass in which nothing is committed; returns it."""
    await asyncio.sleep(2)
    between = dt.datetime.now(dt.UTC).replace(microsecond=0)
    await asyncio.sleep(2)
    return between.isoformat().replace("+00:00", "Z")


async def test_a_chat_goes_back_to_a_second_and_forward_again(chat: Chat) -> None:  # noqa: PLR0915 - one story
    await runs(chat)
    await migrate(chat.dsn, wait_seconds=60)
    chat.psql("CREATE TABLE ledger (n bigint PRIMARY KEY)")
    await holds(lambda: chat.status().get("backups"), "there is a backup", chat)
    chat.psql("INSERT INTO ledger VALUES (1)")
    target = await a_second_between()
    chat.psql("INSERT INTO ledger VALUES (2)")
    chat.psql("DROP TABLE ledger")
    await archived(chat)
    epochs = [chat.psql(EPOCH)]

    # A time that the repository does not have: nothing has changed.
    await asyncio.to_thread(chat.stop_database)
    assert await asyncio.to_thread(chat.restore_in_place, "late", target="2100-01-01T00:00:00Z") == 1
    said = json.loads(chat.log("restore-in-place").splitlines()[-1])
    assert said["code"] == "outside_window"
    assert "the target time 2100-01-01T00:00:00Z is too late" in said["error"]
    assert kept(chat) == set()
    # And who goes back from it finds what was there.
    assert (await restored(chat, "back", undo="late"))["kept"] == ""
    assert chat.psql(EPOCH) == epochs[0]

    began = dt.datetime.now(dt.UTC)
    record = await restored(chat, "first", target=target)
    took = (dt.datetime.now(dt.UTC) - began).total_seconds()
    assert (record["target"], record["kept"]) == (target, "pgdata.before-first")
    assert record["restored_to"] < target
    assert numbers(chat) == "1"
    epochs.append(chat.psql(EPOCH))
    # The container begins again with its pod, and does nothing.
    before = chat.data.stat().st_ino
    await restored(chat, "first", target=target)
    assert chat.data.stat().st_ino == before
    assert kept(chat) == {"pgdata.before-first"}

    # A full backup of the new history, and all that came since can be restored.
    chat.write_settings(request="restored-first")
    await holds(lambda: len(chat.status().get("backups", ())) > 1, "a backup is made", chat)
    assert [one["type"] for one in chat.status()["backups"]] == ["full", "full"]
    chat.psql("INSERT INTO ledger VALUES (3)")
    await archived(chat)
    assert chat.status()["last_archived_wal"].startswith("00000002")
    assert not chat.status()["gaps"]
    await holds(lambda: chat.status()["oldest_restorable"] < target, "what was before the restore counts", chat)
    chat.psql("INSERT INTO ledger VALUES (4)")
    await restored(chat, "second")
    assert numbers(chat) == "1,3,4", "WAL of the last moments is archived when PostgreSQL stops"
    epochs.append(chat.psql(EPOCH))
    # The same time again: from the first backup, and by the timelines that lead to the present one.
    await restored(chat, "third", target=target)
    assert numbers(chat) == "1"
    epochs.append(chat.psql(EPOCH))
    timeline = chat.psql(TIMELINE)

    # Back to what was there before the third one, from where WAL goes on, on a timeline that no other one had.
    record = await restored(chat, "fourth", undo="third")
    assert (record["target"], record["kept"]) == ("undo", "pgdata.before-fourth")
    assert numbers(chat) == "1,3,4"
    assert chat.psql(TIMELINE) > timeline
    epochs.append(chat.psql(EPOCH))
    assert kept(chat) == {f"pgdata.before-{name}" for name in ("first", "second", "fourth")}
    chat.psql("INSERT INTO ledger VALUES (5)")
    await archived(chat)
    assert not chat.status()["gaps"]

    # Killed between the two renamings: the next try continues.
    await restored(chat, "fifth")
    await asyncio.to_thread(chat.stop_database)
    chat.data.rename(chat.data.with_name("pgdata.new"))
    await restored(chat, "fifth")
    assert numbers(chat) == "1,3,4,5"
    epochs.append(chat.psql(EPOCH))
    # Killed there, and given up.
    await asyncio.to_thread(chat.stop_database)
    chat.data.rename(chat.data.with_name("pgdata.new"))
    assert (await restored(chat, "sixth", undo="fifth"))["kept"] == ""
    assert numbers(chat) == "1,3,4,5"
    epochs.append(chat.psql(EPOCH))
    assert len(set(epochs)) == len(epochs), "clients sync afresh each time"
    # What was restored once is not restored again when somebody puts older data in its place.
    await asyncio.to_thread(chat.stop_database)
    chat.data.rename(chat.data.with_name("pgdata.away"))
    chat.data.with_name("pgdata.before-second").rename(chat.data)
    before = chat.data.stat().st_ino
    assert await asyncio.to_thread(chat.restore_in_place, "sixth", state="done") == 0, chat.described()
    assert chat.data.stat().st_ino == before
    tell(f"a small chat restored in place in {took:.1f} s, from the stop of PostgreSQL to its first answer")
