"""What backups of a large database cost: seconds, CPU, bytes over the network and in the repository.

CHAT_SOAK_GIGABYTES is the size of the database, and twice as much has to be free on the disk. It has messages as users
write them, in the order in which a server stores those of many chats.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.usage import TICKS
from chatoperator.parts.database import statefulset
from chatserver.storage.database import Database
from chatserver.storage.migrate import migrate
from tests.integration.test_backup import archived, has_backups, holds
from tests.integration.test_wal import bytes_each
from tests.support.background import background
from tests.support.backups import Authority, Chat, closing
from tests.support.findings import tell
from tests.support.network import private_network
from tests.support.postgresimage import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

GIGABYTES = float(os.environ.get("CHAT_SOAK_GIGABYTES", "10"))

GIGABYTE = 1_000_000_000

DISK_SHARE = 2.2
"""Of the size: the database, its copy, and its backup, which is a third of it or less."""

MESSAGE_BYTES = 300
"""With indexes, as in docs/operations/sizing.md."""

CHATS, TEXTS, WORDS = 10_000, 200_000, 5_000

ROWS_AT_ONCE = 1_000_000

MEASURED_MESSAGES, ROWS_OF_A_BATCH = 10_000, 20

STORAGE = "40Gi"

PATIENCE_SECONDS = 2 * 3600


def _texts(seed: int) -> Iterable[tuple[int, str]]:
    """Texts of words, of which few are used often and most rarely: they compress as those of a language do."""
    chance = random.Random(seed)  # noqa: S311 - texts, not secrets
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (place + 1) for place in range(len(letters))]
    words = ["".join(chance.choices(letters, weights, k=chance.randint(2, 10))) for _ in range(WORDS)]
    # Summed up once, and not for each text.
    frequencies = list(itertools.accumulate(1 / (place + 1) for place in range(WORDS)))
    for number in range(TEXTS):
        yield (
            number,
            " ".join(chance.choices(words, cum_weights=frequencies, k=1 + min(int(chance.expovariate(1 / 8)), 60))),
        )


CHAT_ROWS = """
INSERT INTO users (phone_number, username, username_key)
    SELECT '+1777' || lpad(n::text, 7, '0'), 'p' || n, 'p' || n FROM generate_series(0, 200) n;
INSERT INTO chats (chat_id, kind) SELECT 1000000 + n, 'direct' FROM generate_series(0, {chats} - 1) n;
INSERT INTO chat_members (chat_id, user_id)
    SELECT 1000000 + n, u.user_id FROM generate_series(0, {chats} - 1) n
    JOIN (SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS place FROM users) u
        ON u.place IN (0, 1 + n % 200);
CREATE UNLOGGED TABLE texts (number int PRIMARY KEY, written text);
"""

# Row after row of all chats in turn.
MESSAGE_ROWS = """
INSERT INTO messages (chat_id, seq, sender_id, client_id, client_hash, message_text, created_at)
SELECT 1000000 + n % {chats}, n / {chats} + 1, u.user_id, gen_random_uuid(), uuid_send(gen_random_uuid()), t.written,
    timestamptz '2026-01-01' + n * interval '10 ms'
FROM generate_series($1::bigint, $2::bigint - 1) n
JOIN texts t ON t.number = abs(hashint8(n)) % {texts}
CROSS JOIN (SELECT min(user_id) AS user_id FROM users) u
"""

ADVANCED = "UPDATE chats SET last_seq = (SELECT max(seq) FROM messages m WHERE m.chat_id = chats.chat_id)"

KEYS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'messages'::regclass AND contype IN ('p', 'u')
"""


async def _fill(connection: asyncpg.Connection[asyncpg.Record], messages: int) -> None:
    """Fill an empty database without WAL."""
    await connection.execute(CHAT_ROWS.format(chats=CHATS))
    await connection.copy_records_to_table("texts", records=_texts(1))
    await connection.execute("ANALYZE texts")
    keys = await connection.fetch(KEYS)
    async with connection.transaction():
        # What is new in its transaction needs no WAL with wal_level minimal. Keys are made afterwards, at once.
        await connection.execute("TRUNCATE messages")
        for name, _ in keys:
            await connection.execute(f"ALTER TABLE messages DROP CONSTRAINT {name}")
        await _insert(connection, 0, messages)
        for name, definition in keys:
            await connection.execute(f"ALTER TABLE messages ADD CONSTRAINT {name} {definition}")
    await connection.execute(ADVANCED)
    await connection.execute("VACUUM ANALYZE")


async def _insert(connection: asyncpg.Connection[asyncpg.Record], first: int, end: int) -> None:
    statement = MESSAGE_ROWS.format(chats=CHATS, texts=TEXTS)
    for begin in range(first, end, ROWS_AT_ONCE):
        await connection.execute(statement, begin, min(begin + ROWS_AT_ONCE, end), timeout=PATIENCE_SECONDS)


SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Spent:
    """What has been used so far.

    Attributes:
        at: Seconds of a clock.
        cpu: Seconds of CPU of each kind of container.
        network: Bytes that were sent in the test's network.
    """

    at: float
    cpu: dict[str, float]
    network: int

    def since(self, before: Spent) -> str:
        """What was used between two moments, for people."""
        cpu = ", ".join(f"{name} {total - before.cpu.get(name, 0):.1f} s" for name, total in self.cpu.items())
        return f"CPU: {cpu}; {(self.network - before.network) / GIGABYTE:.3f} GB sent"


@dataclass
class Meter:
    """Adds up what containers use.

    pgBackRest's server does not wait for its processes, whose CPU then counts nowhere: each one's is looked at
    until it has ended.

    Args:
        chats: Whose containers these are.
    """

    chats: Sequence[Chat]
    used: dict[str, dict[int, float]] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look at all processes again and again."""
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_SECONDS)

    def look(self) -> None:
        """Look at all processes."""
        for container in (one for chat in self.chats for one in chat.containers):
            used = self.used.setdefault(container.log.stem, {})
            for pid in _processes(container.process.pid):
                used[pid] = max(used.get(pid, 0), own_cpu_seconds(pid))

    def spent(self) -> Spent:
        """What has been used so far."""
        self.look()
        line = next(line for line in Path("/proc/thread-self/net/dev").read_text().splitlines() if "lo:" in line)
        cpu = {name: sum(used.values()) for name, used in self.used.items()}
        return Spent(time.monotonic(), cpu, int(line.split()[9]))


def own_cpu_seconds(pid: int) -> float:
    """Seconds of CPU of a process, without its children; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _processes(pid: int) -> list[int]:
    """A process and what it has begun, from any of its threads."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


async def test_backups_and_a_restore_of_a_large_database(tmp_path: Path) -> None:
    unpacked()
    free = shutil.disk_usage(tmp_path).free
    needed = GIGABYTES * GIGABYTE * DISK_SHARE
    assert free > needed, f"{tmp_path} has {free / GIGABYTE:.0f} GB, and {needed / GIGABYTE:.0f} GB are needed"
    messages = int(GIGABYTES * GIGABYTE / MESSAGE_BYTES)
    with private_network():
        await asyncio.to_thread(tmp_path.chmod, 0o755)
        authority = Authority()
        chat, restored = Chat(tmp_path, 1, authority), Chat(tmp_path, 2, authority)
        try:
            with closing(chat, restored):
                await _make(chat, messages)
                meter = Meter([chat, restored])
                async with background(meter.watch()):
                    await _is_backed_up(chat, messages, meter)
                    await _is_restored(chat, restored, meter)
        finally:
            for pod in (chat.database, chat.host, restored.database):
                await asyncio.to_thread(shutil.rmtree, pod.folder, ignore_errors=True)


async def _make(chat: Chat, messages: int) -> None:
    sized = statefulset.parameters(chat.cluster(storage={"size": STORAGE}), volume_size=STORAGE)
    without_wal = {"archive_mode": "off", "wal_level": "minimal", "max_wal_senders": "0"}
    chat.configure(**{**sized, **without_wal, "maintenance_work_mem": "1GB", "autovacuum": "off"})
    server = chat.start_postgres()
    await holds(lambda: chat.psql("SELECT 1") == "1", "PostgreSQL answers", chat)
    await migrate(chat.dsn, wait_seconds=60)
    began = time.monotonic()
    connection = await chat.connect(command_timeout=PATIENCE_SECONDS)
    await _fill(connection, messages)
    await connection.close()
    tell(f"{messages:,} messages in {time.monotonic() - began:.0f} s: {_size(chat) / GIGABYTE:.2f} GB, "
         f"{_size(chat) / messages:.0f} bytes a message")  # fmt: skip
    await asyncio.to_thread(server.stop, 300)
    chat.configure(**sized)
    chat.start_database()
    await holds(lambda: chat.psql("SELECT 1") == "1", "PostgreSQL answers", chat)


def _size(chat: Chat) -> int:
    return int(chat.psql("SELECT pg_database_size('chat')"))


def _repository(chat: Chat, part: str = "") -> int:
    root = chat.host.folder / "repository" / part
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _seconds(backup: dict[str, Any]) -> float:
    return (dt.datetime.fromisoformat(backup["stopped"]) - dt.datetime.fromisoformat(backup["started"])).total_seconds()


async def _is_backed_up(chat: Chat, messages: int, meter: Meter) -> None:
    size = _size(chat)
    before = meter.spent()
    chat.start_host()
    (full,) = await _backups(chat, 1)
    stored = _repository(chat, "backup")
    tell(f"full backup: {_seconds(full):.0f} s, {_seconds(full) / size * GIGABYTE:.1f} s per GB, "
         f"{stored / GIGABYTE:.2f} GB in the repository, {stored / size:.3f} of the database; "
         f"{meter.spent().since(before)}")  # fmt: skip
    await _write(chat, messages)
    stored, before = _repository(chat, "backup"), meter.spent()
    chat.write_settings(request="incremental")
    incremental = (await _backups(chat, 2))[-1]
    assert incremental["type"] == "incremental"
    more = _repository(chat, "backup") - stored
    tell(f"incremental backup after 1 % more messages: {_seconds(incremental):.0f} s, {more / GIGABYTE:.3f} GB, "
         f"{more / size:.4f} of the database; {meter.spent().since(before)}")  # fmt: skip


async def _backups(chat: Chat, count: int) -> list[dict[str, Any]]:
    ends = time.monotonic() + PATIENCE_SECONDS
    while len(chat.status().get("backups", ())) < count and time.monotonic() < ends:
        assert not chat.status().get("last_backup_error"), chat.described()
        await asyncio.sleep(1)
    return await has_backups(chat, count)


async def _write(chat: Chat, messages: int) -> None:
    """One per cent more: some as servers store them, and the others at once."""
    await archived(chat)
    archive, position = _repository(chat, "archive"), chat.psql("SELECT pg_current_wal_insert_lsn()")
    database = await Database(chat.dsn, server_name="one", pool_size=1).open()
    user_id = int(chat.psql("SELECT min(user_id) FROM users"))
    chat_ids = [1_000_000 + number for number in range(MEASURED_MESSAGES)]
    first, again = [await bytes_each(database, user_id, chat_ids, ROWS_OF_A_BATCH) for _ in range(2)]
    await database.close()
    connection = await chat.connect(command_timeout=PATIENCE_SECONDS)
    begin = (messages // CHATS + 3) * CHATS
    await _insert(connection, begin, begin + messages // 100)
    await connection.close()
    await archived(chat)
    wal = int(chat.psql(f"SELECT pg_current_wal_insert_lsn() - '{position}'::pg_lsn"))
    kept = _repository(chat, "archive") - archive
    tell(f"WAL: {first:.0f} bytes a message, each of another chat, after a checkpoint, and {again:.0f} of these again, "
         f"in batches of {ROWS_OF_A_BATCH}; {kept / wal:.3f} of it in the repository")  # fmt: skip


async def _is_restored(chat: Chat, restored: Chat, meter: Meter) -> None:
    size = _size(chat)
    expected = await _counted(chat)
    before = meter.spent()
    restored.prepare_restore(chat)
    began = time.monotonic()
    container = restored.start_restore()
    while container.process.poll() is None:
        await asyncio.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    spent = meter.spent()
    assert container.process.returncode == 0, restored.described()
    restored.start_database()
    await holds(lambda: restored.psql("SELECT 1") == "1", "the restored chat answers", restored)
    tell(f"restore: {seconds:.0f} s, {seconds / size * GIGABYTE:.1f} s per GB, and {time.monotonic() - began:.0f} s "
         f"until PostgreSQL answers; {spent.since(before)}")  # fmt: skip
    assert await _counted(restored) == expected


async def _counted(chat: Chat) -> object:
    connection = await chat.connect(command_timeout=PATIENCE_SECONDS)
    try:
        return await connection.fetchrow("SELECT count(*), sum(seq), sum(length(message_text)) FROM messages")
    finally:
        await connection.close()
