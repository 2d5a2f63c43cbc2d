"""A DSN with several hosts, of which some drop packets, do not answer or are replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatserver.storage.database import Database, single_connection
from tests.support.network import private_network
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster
from tests.support.standby import Standby

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


async def ping(read_dsn: Callable[[], str]) -> None:
    """Connect in each of the ways in which a server does."""
    database = await Database(read_dsn, server_name="one").open()
    try:
        await database.ping()
        (await database.listen(lambda _: None)).close()
    finally:
        await database.close()
    async with single_connection(read_dsn, "migrate") as connection:
        assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")


async def test_a_host_that_drops_packets_takes_no_time_of_the_others() -> None:
    with private_network() as network, PostgresCluster() as postgres:
        lost = [free_port(), free_port()]
        for port in lost:
            network.drop(port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in (*lost, postgres.port))
        await ping(lambda: f"postgresql://{postgres.superuser}@{hosts}/postgres")


async def test_a_host_that_is_frozen_or_a_replica_takes_no_time_of_the_others() -> None:
    with PostgresCluster() as postgres, PostgresCluster() as frozen, Standby(postgres) as standby:
        frozen.freeze()
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in (standby, frozen, postgres))
        await ping(lambda: f"postgresql://{postgres.superuser}@{hosts}/postgres")
