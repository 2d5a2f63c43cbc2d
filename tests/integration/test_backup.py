"""Backups and restores by the image's own containers, with a real pgBackRest, PostgreSQL, TLS and S3.

The tests of this file follow one chat, and the chats that are restored from it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from chatoperator.parts.backup import access
from chatserver.storage.migrate import migrate
from tests.support import s3
from tests.support.background import background
from tests.support.backups import KEY, PASSPHRASE, Authority, Chat, closing, write_private
from tests.support.cluster import until
from tests.support.network import private_network
from tests.support.postgresimage import unpacked
from tests.support.volume import FILLING, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.s3 import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PATIENCE_SECONDS = 180

VOLUME_MEBIBYTES = 384
"""Of the repository: small enough to be filled."""

ANOTHER_KEY = "another-key-of-a-test"

EPOCH = "SELECT chat_epoch()"


class World:
    """The chats of this file."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store, self.authority = folder, store, store.authority
        self.first = Chat(folder, 1, self.authority)
        # Its repository is an S3.
        secrets = {**store.secrets, PASSPHRASE: {"passphrase": ANOTHER_KEY}}
        self.restored = Chat(folder, 2, self.authority, store.repository("/chat-2"), secrets, store.hosts)
        self.latest = Chat(folder, 3, self.authority)
        self.chats = [self.first, self.restored, self.latest]
        self.has_begun = False


def _key(text: str) -> dict[str, str]:
    return {"PGBACKREST_REPO1_CIPHER_PASS": text}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The chats, of which the first one runs and has a full backup."""
    # First: the private network leads to no mirror.
    unpacked()
    folder = tmp_path_factory.mktemp("backups")
    folder.chmod(0o755)
    s3.program(folder / "build.log")
    with private_network(), s3.store(folder / "s3", "127.0.3.1", Authority()) as store:
        made = World(folder, store)
        volume = made.first.host.folder / "repository"
        options = f"size={VOLUME_MEBIBYTES}m,mode=1777"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(volume)], check=True)
        try:
            with closing(*made.chats):
                asyncio.run(_begin(made.first))
                yield made
        finally:
            subprocess.run(["umount", str(volume)], check=True)


async def _begin(chat: Chat) -> None:
    chat.start_database()
    chat.start_host()
    await holds(lambda: chat.psql("SELECT 1") == "1", "PostgreSQL answers", chat)
    await migrate(chat.dsn, wait_seconds=60)
    connection = await chat.connect()
    await connection.execute("CREATE TABLE ledger (n bigint PRIMARY KEY)")
    await connection.close()
    await has_backups(chat, 1)


async def holds(condition: Callable[[], Any], what: str, chat: Chat) -> None:
    """Wait until something observed is so."""

    async def asked() -> bool:
        return bool(await asyncio.to_thread(condition))

    await until(asked, what, PATIENCE_SECONDS, otherwise=chat.described)


async def has_backups(chat: Chat, count: int) -> list[dict[str, Any]]:
    """Wait until a repository has so many backups."""
    await holds(lambda: len(chat.status().get("backups", ())) >= count, f"{count} backups", chat)
    return list(chat.status()["backups"])


async def archived(chat: Chat) -> dict[str, Any]:
    """Wait until all that has been committed is in the repository; returns the status."""
    return await archived_by(chat.psql, chat)


async def archived_by(psql: Callable[[str], str], chat: Chat) -> dict[str, Any]:
    """The same, where the leader is one of several instances."""
    # Where nothing has been written since the last switch, the position is the first one of the next file.
    name = psql("SELECT pg_walfile_name(pg_switch_wal() - 1)")
    assert name
    await holds(lambda: (chat.status().get("last_archived_wal") or "") >= name, f"{name} is archived", chat)
    return chat.status()


class Ledger:
    """Inserts one after another, with the times between which each was committed."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.sent: dict[int, dt.datetime] = {}
        self.acknowledged: dict[int, dt.datetime] = {}

    async def run(self) -> None:
        """Insert until cancelled, or until the table is gone."""
        connection = await self._chat.connect()
        try:
            number = 0
            while True:
                number += 1
                self.sent[number] = dt.datetime.now(dt.UTC)
                await connection.execute("INSERT INTO ledger VALUES ($1)", number)
                self.acknowledged[number] = dt.datetime.now(dt.UTC)
                await asyncio.sleep(0.002)
        except asyncpg.UndefinedTableError:
            return
        finally:
            connection.terminate()

    def before(self, time: dt.datetime) -> set[int]:
        """What was acknowledged up to a time."""
        return {number for number, at in self.acknowledged.items() if at <= time}

    def after(self, time: dt.datetime) -> set[int]:
        """What was sent after a time."""
        return {number for number, at in self.sent.items() if at > time}


async def rows(chat: Chat) -> set[int]:
    """The numbers in a chat's ledger."""
    connection = await chat.connect()
    try:
        return {row[0] for row in await connection.fetch("SELECT n FROM ledger")}
    finally:
        await connection.close()


@pytest.mark.soak
async def test_a_chat_is_restored_to_the_second_before_its_messages_were_dropped(world: World) -> None:
    await _restore_to_the_second(world)


@pytest.fixture
async def story(world: World) -> World:
    """The chats, of which the second one has been restored from the first."""
    if not world.has_begun:
        await _restore_to_the_second(world)
    return world


async def _restore_to_the_second(world: World) -> None:
    world.has_begun = True
    source, restored = world.first, world.restored
    source.write_settings(request="first")
    backups = await has_backups(source, 2)
    assert [one["type"] for one in backups] == ["full", "incremental"]
    assert source.status()["answered_request"] == "first"
    assert not source.is_from_a_standby(backups[-1]["label"]), "there is none"
    ledger = Ledger(source)
    async with background(ledger.run()):
        await until(_async(lambda: len(ledger.acknowledged) > 200), "there is load", PATIENCE_SECONDS)
        target = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=2)
        await until(_async(lambda: dt.datetime.now(dt.UTC) > target + dt.timedelta(seconds=1)), "the target", 30)
        connection = await source.connect()
        await connection.execute("DROP TABLE ledger")
        epoch = await connection.fetchval(EPOCH)
        await connection.close()
    assert ledger.before(target)
    assert ledger.after(target)
    await archived(source)
    restored.prepare_restore(source, target.isoformat().replace("+00:00", "Z"))
    assert await asyncio.to_thread(restored.restore) == 0, restored.described()
    restored.start_database()
    await holds(lambda: restored.psql("SELECT 1") == "1", "the restored chat answers", restored)
    found = await rows(restored)
    assert not ledger.before(target) - found, "all that was acknowledged before the target is there"
    assert not ledger.after(target) & found, "nothing from after the target is there"
    assert restored.psql(EPOCH) != epoch, "clients sync afresh"


def _async(condition: Callable[[], bool]) -> Callable[[], Any]:
    async def asked() -> bool:
        return condition()

    return asked


@pytest.mark.soak
async def test_two_restores_and_their_source_have_different_epochs_on_equal_timelines(story: World) -> None:
    source, latest = story.first, story.latest
    await archived(source)
    latest.prepare_restore(source)
    copied = latest.data.parent / "pgdata.new" / "PG_VERSION"
    # A first try is killed while it copies or replays.
    interrupted = latest.start_restore()
    await holds(copied.exists, "the restore copies", latest)
    interrupted.kill()
    # For a second one the repository becomes unavailable: that is not the end of WAL.
    copied.unlink()
    interrupted = latest.start_restore()
    await holds(copied.exists, "the restore copies again", latest)
    source.containers[-1].kill()
    assert await asyncio.to_thread(interrupted.process.wait, PATIENCE_SECONDS) == 1
    assert not latest.data.exists()
    source.start_host()
    await holds(lambda: source.status().get("repository", {}).get("reachable"), "the repository is there", source)
    assert await asyncio.to_thread(latest.restore) == 0, latest.described()
    latest.start_database()
    await holds(lambda: latest.psql("SELECT 1") == "1", "the restored chat answers", latest)
    timeline = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    assert latest.psql(timeline) == story.restored.psql(timeline)
    assert len({chat.psql(EPOCH) for chat in story.chats}) == len(story.chats)
    assert latest.psql("SELECT to_regclass('ledger') IS NULL") == "t", "it is the latest state"


@pytest.mark.soak
async def test_a_restored_chat_archives_to_its_own_repository_in_s3_and_leaves_its_source_alone(story: World) -> None:
    source, restored = story.first, story.restored
    before = _files(source)
    restored.start_host()
    backups = await has_backups(restored, 1)
    assert backups[0]["type"] == "full"
    status = await archived(restored)
    assert status["last_archived_wal"].startswith("00000002")
    assert status["repository"]["reachable"]
    assert not [name for name in _files(source) - before if "/00000002" in name]
    assert list((story.store.folder / "root" / s3.BUCKET / "chat-2" / "archive").rglob("00000002*"))


def _files(chat: Chat) -> set[str]:
    root = chat.host.folder / "repository"
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.soak
async def test_an_s3_that_does_not_answer_is_reported_and_survived(story: World) -> None:
    chat = story.restored
    story.store.stop()
    await holds(lambda: chat.status()["repository"]["code"] == "unreachable", "it is unreachable", chat)
    assert not chat.status()["repository"]["reachable"]
    story.store.start()
    await holds(lambda: chat.status()["repository"]["reachable"], "it is reachable", chat)
    await archived(chat)


@pytest.mark.soak
async def test_a_chat_is_restored_from_s3_itself_to_its_last_commit(story: World, tmp_path: Path) -> None:
    source = story.restored
    source.psql("INSERT INTO ledger VALUES (-1)")
    status = await archived(source)
    chat = Chat(tmp_path, 6, story.authority)
    chat.prepare_restore(source, status["newest_archived"], direct=True)
    with closing(chat):
        assert await asyncio.to_thread(chat.restore) == 0, chat.described()
        chat.start_database()
        await holds(lambda: chat.psql("SELECT 1") == "1", "the restored chat answers", chat)
        assert await rows(chat) == await rows(source)
        assert chat.psql(EPOCH) != source.psql(EPOCH)
        assert not [name for name in (s3.SECRET, ANOTHER_KEY) if name in chat.log("restore")]


@pytest.mark.soak
async def test_a_restore_that_is_refused_says_why_and_leaves_nothing(story: World, tmp_path: Path) -> None:
    source = story.first
    chat = Chat(tmp_path, 4, story.authority)
    status = await archived(source)

    async def refusal() -> str:
        assert await asyncio.to_thread(chat.restore) == 1
        assert not chat.data.exists()
        return str(json.loads(chat.log("restore").splitlines()[-1])["error"])

    with closing(chat):
        for target, word in (("2020-01-01T00:00:00Z", "too early"), ("2100-01-01T00:00:00Z", "too late")):
            chat.prepare_restore(source, target)
            said = await refusal()
            assert word in said
            assert status["newest_archived"] in said
        chat.prepare_restore(source, begin=False)
        assert "its volume is empty" in await refusal()
        # The certificate of another chat opens no repository.
        chat.prepare_restore(source)
        write_private(chat.database, "restore-tls", story.authority.files(chat.name))
        assert "access_denied" in await refusal()


@pytest.mark.soak
async def test_a_backup_that_is_interrupted_is_made_again(story: World) -> None:
    chat = story.first
    chat.write_settings(request="interrupted")
    await holds(lambda: chat.status().get("phase") == "backup", "a backup runs", chat)
    chat.containers[-1].kill()
    chat.start_host()
    await holds(lambda: chat.status().get("answered_request") == "interrupted", "it is made again", chat)
    assert chat.status()["last_backup_error"] is None


@pytest.mark.soak
async def test_renewed_certificates_are_used_without_a_restart(story: World) -> None:
    chat = story.first
    chat.write_certificates()

    def reloaded() -> bool:
        return all("reads its configuration again" in chat.log(name) for name in ("backup-server", "backup"))

    await holds(reloaded, "both sides read it", chat)
    await archived(chat)


@pytest.mark.soak
async def test_a_wrong_key_is_reported(story: World) -> None:
    chat = story.first
    chat.containers[-1].stop()
    wrong = chat.start_host(**_key("a wrong key"))
    await holds(lambda: chat.status().get("repository", {}).get("code") == "wrong_key", "the key is wrong", chat)
    assert "a wrong key" not in chat.log("backup")
    wrong.stop()
    chat.start_host(**_key(KEY))
    await holds(lambda: chat.status().get("repository", {}).get("reachable"), "the key is right", chat)
    assert KEY not in chat.log("backup")


@pytest.mark.soak
async def test_a_full_repository_is_reported_and_survived(story: World) -> None:
    chat = story.first
    volume = chat.host.folder / "repository"
    fill(volume, leave_mebibytes=0)
    chat.write_settings(request="full")

    def code() -> str:
        return str((chat.status().get("last_backup_error") or {}).get("code"))

    await holds(lambda: code() == "full", "the repository is full", chat)
    assert chat.status()["answered_request"] == "full", "it has ended, though not well"
    backups = len(chat.status()["backups"])
    (volume / FILLING).unlink()
    await has_backups(chat, backups + 1)
    await holds(lambda: chat.status()["last_backup_error"] is None, "the backup is made", chat)


@pytest.mark.soak
async def test_a_missing_wal_file_is_reported_and_ends_the_window(story: World, tmp_path: Path) -> None:
    chat = story.first
    first = await archived(chat)
    chat.psql("CREATE TABLE IF NOT EXISTS later (n int)")
    second = await archived(chat)
    assert second["last_archived_wal"] > first["last_archived_wal"]
    chat.psql("INSERT INTO later VALUES (1)")
    third = await archived(chat)
    folder = chat.host.folder / "repository" / "archive" / "chat"
    (lost,) = folder.rglob(f"{second['last_archived_wal']}-*")
    backups = len(third["backups"])
    lost.unlink()
    other = Chat(tmp_path, 5, story.authority)
    with closing(other):
        other.prepare_restore(chat, third["newest_archived"])
        assert await asyncio.to_thread(other.restore) == 1
        said = json.loads(other.log("restore").splitlines()[-1])["error"]
        assert "is missing in the repository" in said
    await holds(lambda: chat.status()["gaps"] == [second["last_archived_wal"]], "the gap is reported", chat)
    # Another backup is made at once: from it on everything can be restored.
    await has_backups(chat, backups + 1)
    await holds(
        lambda: (chat.status()["oldest_restorable"] or "") > third["newest_archived"], "the window is whole", chat
    )


@pytest.mark.soak
async def test_wal_that_was_discarded_is_missed_before_anybody_writes_again(story: World) -> None:
    chat = story.first
    before = await archived(chat)
    chat.write_settings(suspended=True)
    await _archives_by(chat, f"SET archive_command = '{access.DISCARD_COMMAND}'", access.DISCARD_COMMAND)
    chat.psql("CREATE TABLE lost (n int)")
    lost = chat.psql("SELECT pg_walfile_name(pg_switch_wal() - 1)")
    await holds(lambda: chat.psql("SELECT last_archived_wal FROM pg_stat_archiver") >= lost, "it is gone", chat)
    # The repository host starts while WAL is archived again, and nothing is written.
    chat.containers[-1].stop()
    await _archives_by(chat, "RESET archive_command", access.ARCHIVE_COMMAND)
    chat.write_settings()
    chat.start_host()
    await has_backups(chat, len(before["backups"]) + 1)
    status = chat.status()
    assert lost in status["gaps"], status
    assert status["oldest_restorable"] > before["newest_archived"], "what lies before the hole cannot be restored"


async def _archives_by(chat: Chat, change: str, command: str) -> None:
    # What the agent beside PostgreSQL, which has no container here, does with a changed configuration.
    chat.psql(f"ALTER SYSTEM {change}")
    chat.psql("SELECT pg_reload_conf()")
    await holds(lambda: chat.psql("SHOW archive_command") == command, f"WAL is archived by {command}", chat)


@pytest.mark.soak
async def test_a_damaged_backup_is_reported(story: World) -> None:
    chat = story.first
    backups = chat.status()["backups"]
    folder = chat.host.folder / "repository" / "backup" / "chat" / backups[0]["label"]
    (bundle, *_) = sorted(path for path in folder.rglob("*") if path.parent.name == "bundle")
    with bundle.open("r+b") as file:
        file.seek(bundle.stat().st_size // 2)
        file.write(b"damaged" * 100)
    chat.write_settings(schedule={"full": "", "incremental": "", "verify": "* * * * *"})
    await holds(lambda: not (chat.status()["last_verify"] or {"ok": True})["ok"], "the damage is found", chat)
    chat.write_settings()
    # What was damaged is no ground for the next one.
    assert (await has_backups(chat, len(backups) + 1))[-1]["type"] == "full"


@pytest.mark.soak
async def test_postgresql_shuts_down_in_time_while_the_archive_fails(story: World) -> None:
    chat = story.latest
    # Nobody listens at its repository host's address.
    assert chat.status() == {}
    chat.psql("CREATE TABLE unsent (n int)")
    chat.psql("SELECT pg_switch_wal()")
    server = next(one for one in chat.containers if one.log.name == "postgres.log")
    await asyncio.to_thread(server.stop, 60)
    assert "database system is shut down" in chat.log("postgres")
