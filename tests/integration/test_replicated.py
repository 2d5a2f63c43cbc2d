"""A commit that no replica has is not acknowledged: neither at once, nor when the client tries again."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ServiceUnavailable
from chatserver.messaging import groups
from chatserver.storage.migrate import migrate
from tests.support.cluster import until
from tests.support.people import running_server, sign_in
from tests.support.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatserver.model import GroupInfo

pytestmark = pytest.mark.integration

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

STORED = "SELECT count(*) FROM messages"


@pytest.fixture
def primary() -> Iterator[PostgresCluster]:
    """A PostgreSQL of its own: what is set here makes every commit wait."""
    with PostgresCluster() as made:
        yield made


def require_replica(postgres: PostgresCluster, names: str) -> None:
    """Have commits wait for a replica with this name; there is none."""
    postgres.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    postgres.sql("SELECT pg_reload_conf()")


async def wait_cancelled(postgres: PostgresCluster) -> None:
    """Cancel the wait of a commit, once one waits."""

    async def waits() -> bool:
        return await asyncio.to_thread(postgres.sql, WAITING) != "0"

    await until(waits, "a commit waits for a replica", 10)
    await asyncio.to_thread(postgres.sql, CANCEL)


async def test_a_message_that_no_replica_has_is_acknowledged_only_when_one_has_it(primary: PostgresCluster) -> None:
    dsn = primary.dsn(primary.create_database())
    await migrate(lambda: dsn, wait_seconds=10)
    database = dsn.rpartition("/")[2]
    async with running_server(lambda: dsn) as server:
        ada = await sign_in(server.database, "Ada")
        await server.send(ada.user.user_id, "before", to="ada")
        require_replica(primary, "nobody")
        client_id = str(uuid.uuid4())
        first = asyncio.create_task(server.send(ada.user.user_id, "milk", to="ada", client_id=client_id))
        await wait_cancelled(primary)
        with pytest.raises(ServiceUnavailable):
            await first
        assert primary.sql(STORED, database) == "2", "it is committed, on this instance alone"
        # Of what is stored nothing changes, and still its answer waits.
        again = asyncio.create_task(server.send(ada.user.user_id, "milk", to="ada", client_id=client_id))
        await wait_cancelled(primary)
        with pytest.raises(ServiceUnavailable):
            await again
        require_replica(primary, "")
        last = await server.send(ada.user.user_id, "milk", to="ada", client_id=client_id)
        assert last.seq == 2
        assert primary.sql(STORED, database) == "2"


async def test_a_group_that_no_replica_has_is_acknowledged_only_when_one_has_it(primary: PostgresCluster) -> None:
    dsn = primary.dsn(primary.create_database())
    await migrate(lambda: dsn, wait_seconds=10)
    async with running_server(lambda: dsn) as server:
        ada = (await sign_in(server.database, "Ada")).user.user_id
        client_id = str(uuid.uuid4())

        def create() -> asyncio.Task[GroupInfo]:
            return asyncio.create_task(groups.create_group(server.database, ada, "tea", [], client_id=client_id))

        require_replica(primary, "nobody")
        for _ in range(2):
            made = create()
            await wait_cancelled(primary)
            with pytest.raises(ServiceUnavailable):
                await made
        require_replica(primary, "")
        group = await create()
        assert group.seq is None, "the first call made it"
