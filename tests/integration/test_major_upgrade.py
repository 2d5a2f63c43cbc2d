"""A chat moves from the image's PostgreSQL to the next major version, by the commands of the page for admins.

docs/operations/major-upgrade.md is run as it stands there. Its kubectl and its programs are those of the image's
container, and users write to each other all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chatcluster_client import HistoryReplaced, Item, LiveClient, Problem
from chatserver.storage.migrate import migrate
from tests.integration.test_backup import holds
from tests.support import newerpostgres
from tests.support.background import background
from tests.support.backups import Authority, Chat, closing
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.ledger import sign_in
from tests.support.network import private_network
from tests.support.pages import OPERATIONS, commands
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster
from tests.support.postgresimage import command_line, unpacked
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from chatcluster_client import RestClient
    from tests.support.postgresimage import Pod

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(900)]

PAGE = OPERATIONS / "major-upgrade.md"

PASSWORD = "a-password-of-a-test"

PATIENCE_SECONDS = 60

SCRIPT_SECONDS = 600

OLD_TRANSACTIONS = 5_000
"""That the old server has had and the new one has not: its numbers are in the new one's future."""

USE_TRANSACTIONS = f"""
DO $$ BEGIN FOR i IN 1..{OLD_TRANSACTIONS} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""

SHIM = """#!/bin/bash
# kubectl, for the container in which the old PostgreSQL runs.
case $1 in
  exec) while [ "$1" != -- ]; do shift; done; shift; exec {inside} "$@" ;;
  scale) kill -TERM {pid} && tail --pid={pid} -f /dev/null ;;
esac
"""

PROGRAM = """#!/bin/bash
exec {inside} {name} "$@"
"""


def _admin(folder: Path, pod: Pod, server: ServerProcess) -> str:
    """PATH of an admin who has kubectl and PostgreSQL's programs."""
    arguments, variables = command_line(pod, [], {})
    inside = shlex.join(["env", *(f"{name}={value}" for name, value in variables.items()), *arguments])
    programs = {"kubectl": SHIM.format(inside=inside, pid=server.pid)}
    programs |= {name: PROGRAM.format(inside=inside, name=name) for name in ("psql", "pg_restore")}
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def _script(heading: str) -> str:
    blocks = [*commands(PAGE, "Prepare"), *commands(PAGE, heading)]
    assert len(blocks) > 1
    return "set -euo pipefail\n" + "\n".join(blocks)


@pytest.mark.parametrize("heading", ["By a dump", "By replication"])
async def test_a_chat_moves_to_the_next_major_version(heading: str, tmp_path: Path) -> None:
    unpacked()
    binaries = newerpostgres.binaries()
    with private_network():
        await asyncio.to_thread(tmp_path.chmod, 0o755)
        old = Chat(tmp_path, 1, Authority())
        old.configure(archive_mode="off", wal_level="logical")
        with closing(old), PostgresCluster(superuser="admin", binaries=binaries) as new:
            assert new.major == int(newerpostgres.VERSION.partition(".")[0])
            old.start_postgres()
            await holds(lambda: old.psql("SELECT 1") == "1", "PostgreSQL answers", old)
            await migrate(old.dsn, wait_seconds=60)
            await _moves(heading, tmp_path, old, new)


@dataclass
class Talk:
    """Two users, of whom one writes and the other reads, for as long as the chat moves.

    Attributes:
        acknowledged: The texts in their order, each with the second in which it was acknowledged.
        read: What the other one has got since they last began from the beginning.
        begun: How often they did.
    """

    writer: RestClient
    reader: RestClient
    acknowledged: dict[str, float] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    begun: int = 0

    async def write(self) -> None:
        """Send one text after another, each until it is acknowledged."""
        while True:
            text = f"text {len(self.acknowledged)}"
            client_id = str(uuid.uuid4())
            while text not in self.acknowledged:
                try:
                    await self.writer.send(text, to=self.reader.username, client_id=client_id)
                except Problem as problem:
                    assert problem.retryable, problem
                    await asyncio.sleep(0.2)
                else:
                    self.acknowledged[text] = time.monotonic()
            await asyncio.sleep(0.05)

    async def follow(self) -> None:
        """Read on a live connection; from the beginning when the client says that this is another history."""
        while True:
            self.begun += 1
            self.read.clear()
            with contextlib.suppress(HistoryReplaced):
                async with LiveClient(self.reader) as live:
                    async for item in live.items():
                        if isinstance(item, Item) and item.kind == "message":
                            self.read.append(item.text or "")

    async def goes_on(self) -> None:
        """Wait until more is acknowledged."""
        count = len(self.acknowledged)

        async def more() -> bool:
            return len(self.acknowledged) > count + 5

        await until(more, "texts are acknowledged", PATIENCE_SECONDS)

    @property
    def gap(self) -> float:
        """Longest time without an acknowledgement, in seconds."""
        times = list(self.acknowledged.values())
        return max(later - earlier for earlier, later in itertools.pairwise(times))


async def _moves(heading: str, folder: Path, old: Chat, new: PostgresCluster) -> None:
    port = free_port()
    target = f"postgresql://chat:{PASSWORD}@127.0.0.1:{new.port}/chat"
    with contextlib.ExitStack() as servers:
        before = servers.enter_context(_server(old.dsn(), "old", port))
        before.wait_ready()
        async with await sign_in(before.url) as writer, await sign_in(before.url) as reader:
            talk = Talk(writer, reader)
            async with background(talk.follow()):
                async with background(talk.write()):
                    await talk.goes_on()
                    old.psql(USE_TRANSACTIONS)
                    assert int(old.psql("SELECT pg_current_xact_id()")) > OLD_TRANSACTIONS
                    await talk.goes_on()
                    _, cursor = await reader.poll(None)
                    epoch = old.psql("SELECT chat_epoch()")
                    variables = {
                        "PATH": _admin(folder / "admin", old.database, before),
                        "ADMIN": new.dsn(),
                        "NEW": target,
                        "PASSWORD": PASSWORD,
                        "OLD_HOST": old.address,
                    }
                    # Else it stays a process that nobody has waited for.
                    ended = asyncio.create_task(asyncio.to_thread(before.wait, SCRIPT_SECONDS))
                    seconds = await _run(_script(heading), folder, variables)
                    assert await ended == 0, "the old server was stopped"
                    assert await migrate(lambda: target, wait_seconds=60) == []
                    after = servers.enter_context(_server(target, "new", port))
                    await talk.goes_on()
                await _has_moved(talk, cursor)
                # Also what asks for a new number of each kind.
                async with await sign_in(after.url) as newcomer:
                    await newcomer.send("hello", to=reader.username, client_id=str(uuid.uuid4()))
            await _is_whole(target, epoch)
            tell(f"PostgreSQL 17 to 18, {heading}: {len(talk.acknowledged)} acknowledged, 0 lost; the script took "
                 f"{seconds:.1f} s, and {talk.gap:.1f} s were without an acknowledgement")  # fmt: skip


async def _has_moved(talk: Talk, cursor: str) -> None:
    """Everything that was acknowledged is there, once and in its order, for who polls and who is connected."""
    sent = list(talk.acknowledged)

    async def arrived() -> bool:
        return talk.read[: len(sent)] == sent

    await until(arrived, "the live client has read all of it again", PATIENCE_SECONDS)
    assert talk.begun == 2, "it began from the beginning once"
    with pytest.raises(Problem) as expired:
        await talk.reader.poll(cursor)
    assert expired.value.code == "cursor_expired"
    assert (await _texts(talk.reader))[: len(sent)] == sent


def _server(dsn: str, name: str, port: int) -> ServerProcess:
    server = ServerProcess(dsn, name, CHAT_HTTP_PORT=port)
    # Not as a fork of a process that may be in another network.
    server.prefix = ("env",)
    return server


async def _run(script: str, folder: Path, variables: dict[str, str]) -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), SCRIPT_SECONDS)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, printed.decode()
    return time.monotonic() - began


async def _texts(reader: RestClient) -> list[str]:
    """All that a user has received, from the beginning."""
    texts: list[str] = []
    cursor = None
    while True:
        rows, cursor = await reader.poll(cursor)
        if not rows:
            return texts
        texts += [row["text"] for row in rows]


WHOLE = {
    "each number of a message is given once": "SELECT count(*) = count(DISTINCT message_id) FROM messages",
    "no row is in the future": """SELECT count(*) = 0 FROM messages
        WHERE NOT pg_visible_in_snapshot(xact, pg_current_snapshot())""",
    "no chat is": "SELECT count(*) = 0 FROM chats WHERE last_xact >= pg_snapshot_xmax(pg_current_snapshot())",
    "its numbers are smaller than the old ones": f"SELECT pg_current_xact_id() < '{OLD_TRANSACTIONS}'",
    "new rows have their own numbers": "SELECT count(*) = 0 FROM pg_trigger WHERE tgname = 'renumber'",
    "nothing is replicated any more": "SELECT count(*) = 0 FROM pg_subscription",
    "the role has no more than it needs": "SELECT NOT rolsuper FROM pg_roles WHERE rolname = current_user",
}


async def _is_whole(target: str, old_epoch: str) -> None:
    connection = await asyncpg.connect(target)
    try:
        for what, statement in WHOLE.items():
            assert await connection.fetchval(statement), what
        assert await connection.fetchval("SELECT chat_epoch()") != old_epoch
    finally:
        await connection.close()
