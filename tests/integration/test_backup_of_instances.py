"""Backups of several instances that Patroni runs: from a standby, and through a failover."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.storage.migrate import migrate
from tests.integration.test_backup import archived_by, has_backups, holds
from tests.support.apiserver import running
from tests.support.backups import Authority, Chat, closing, write_private
from tests.support.cluster import until
from tests.support.network import private_network
from tests.support.postgresimage import unpacked
from tests.support.quorum import PATIENCE_SECONDS, UNAVAILABLE, instances

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.quorum import Instances

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(900)]


async def test_backups_come_from_a_standby_and_survive_a_failover(tmp_path: Path) -> None:
    # First: the private network leads to no mirror.
    unpacked()
    with private_network(), running() as api, instances(api, tmp_path / "instances") as made:
        # Not before: a thread stays in the network in which it began.
        await asyncio.to_thread(tmp_path.chmod, 0o755)
        authority, addresses = Authority(), [made.add(number).address for number in (1, 2)]
        chat = Chat(tmp_path, 1, authority, instances=addresses)
        restored = Chat(tmp_path, 2, authority)
        with closing(chat, restored):
            await _begin(made, chat)
            await _fails_over_and_is_restored(made, chat, restored)


async def _begin(made: Instances, chat: Chat) -> None:
    """Become two instances, and have a first backup."""
    for number in (1, 2):
        one = made.all[number]
        one.pod.write_hosts(chat.names)
        one.pod.write("postgres", {"postgresql.conf": "archive_mode = 'on'\narchive_timeout = '60'\n", "revision": "a"})
        write_private(one.pod, "backup-tls", chat.authority.backup_files(chat.cluster(), 2))
        one.pod.write("backup", {"client.conf": chat.client(one.address)})
        chat.containers.append(one.pod.run("backup-server", "backup-server"))
    made.all[1].pod.write("postgres", {"begin": "true"})
    made.start(1)
    await holds(lambda: made.leader() is made.all[1], "instance 1 leads", chat)
    made.all[1].pod.write("postgres", {"begin": "false"})
    made.start(2)
    await holds(lambda: made.synchronous() == {made.all[2].name}, "instance 2 replicates", chat)
    await migrate(made.dsn, wait_seconds=60)
    chat.start_host()
    (first,) = await has_backups(chat, 1)
    assert chat.is_from_a_standby(first["label"])


async def _fails_over_and_is_restored(made: Instances, chat: Chat, restored: Chat) -> None:
    old = made.all[1]
    await archived_by(old.psql, chat)
    old.kill()
    new = made.all[2]
    await holds(lambda: made.leader() is new, "instance 2 leads", chat)
    # Alone it acknowledges nothing, until the old leader replicates.
    made.start(1)
    epoch = ""

    async def writes() -> bool:
        nonlocal epoch
        try:
            connection = await made.connect()
        except UNAVAILABLE:
            return False
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS later AS SELECT 1")
            epoch = await connection.fetchval("SELECT chat_epoch()")
        except UNAVAILABLE:
            return False
        finally:
            connection.terminate()
        return True

    await until(writes, "instance 1 replicates", PATIENCE_SECONDS, otherwise=made.described)
    await archived_by(new.psql, chat)
    chat.write_settings(request="after the failover")
    await holds(lambda: chat.status().get("answered_request") == "after the failover", "it is backed up", chat)
    status = chat.status()
    assert status["last_backup_error"] is None
    assert int(status["last_archived_wal"][:8], 16) > 1
    assert chat.is_from_a_standby(status["backups"][-1]["label"])
    restored.prepare_restore(chat)
    assert await asyncio.to_thread(restored.restore) == 0, restored.described()
    restored.start_database()
    await holds(lambda: restored.psql("SELECT count(*) FROM later") == "1", "the restored chat has all", restored)
    assert restored.psql("SELECT chat_epoch()") != epoch
    assert _leaves_no_trace_of_patroni(restored)


def _leaves_no_trace_of_patroni(restored: Chat) -> bool:
    return not any((restored.data / name).exists() for name in ("patroni.dynamic.json", "standby.signal"))
