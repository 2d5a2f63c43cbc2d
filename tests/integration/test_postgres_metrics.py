"""The agent's page of metrics, of a real PostgreSQL to which something happens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import getpass
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chatserver.dev.programs import wheel_binaries
from postgresagent import metrics, monitor, report, volume
from postgresagent.exporter import SHARED_SECONDS
from postgresagent.report import Page
from tests.support.cluster import ROOT, until
from tests.support.postgres import PostgresCluster
from tests.support.postgrespod import FIRST, Pod
from tests.support.prometheus import check

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 20

IMAGE = ROOT / "images" / "postgres"

ALWAYS = {metric.name for metric in metrics.METRICS} - {
    # Of connections and of the first vacuum.
    "chatpostgres_backends",
    "chatpostgres_table_last_vacuum_timestamp_seconds",
    # Of several instances.
    "chatpostgres_replica_lag_bytes",
    "chatpostgres_replica_synchronous",
    "chatpostgres_replay_lag_seconds",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster("deadlock_timeout = 50ms\nautovacuum = off\n", superuser="root") as made:
        yield made


@pytest.fixture
def pod(cluster: PostgresCluster) -> Iterator[Pod]:
    made = Pod(cluster)
    made.mount_logins(FIRST)
    made.round()
    made.postgres.sql("SET ROLE chat; CREATE TABLE notes (id int PRIMARY KEY, text text)", "chat")
    yield made
    made.postgres.thaw()
    made.remove()


async def _connect(pod: Pod, role: str = "chat_a", password: str = "first a") -> asyncpg.Connection:  # noqa: S107
    return await asyncpg.connect(
        host="127.0.0.1", port=pod.postgres.port, user=role, password=password, database="chat"
    )


async def _becomes(pod: Pod, key: tuple[str, ...], value: float) -> None:
    async def does() -> bool:
        return (await asyncio.to_thread(pod.metrics)).get(key) == value

    await until(does, f"{key} is {value}", PATIENCE_SECONDS)


def test_promtool_finds_nothing_in_a_page_with_every_metric() -> None:
    page = metrics.page({metric.name: [[*metric.labels, 1]] for metric in metrics.METRICS})
    assert check("metrics", page.decode()) == ""


def test_every_metric_is_there_and_promtool_finds_nothing(pod: Pod) -> None:
    page = pod.page()
    assert check("metrics", page) == ""
    found = pod.metrics()
    assert {name for name, *_ in found} >= ALWAYS
    assert found["chatpostgres_up",] == 1
    assert found["chatpostgres_max_connections",] == 100
    assert found["chatpostgres_start_time_seconds",] < pod.postgres.folder.stat().st_mtime + 1


async def test_connections_are_counted_by_state_and_role(pod: Pod) -> None:
    idle, busy = await _connect(pod), await _connect(pod, "chat_b", "first b")
    admin = await asyncpg.connect(pod.postgres.dsn("chat"))
    try:
        await busy.execute("BEGIN")
        await busy.execute("SELECT 1")
        await admin.execute("SELECT 1")
        found = pod.metrics()
        backends = {key[1:]: value for key, value in found.items() if key[0] == "chatpostgres_backends"}
        assert backends == {("chat_a", "idle"): 1, ("chat_b", "idle in transaction"): 1, ("other", "idle"): 1}
        assert found["chatpostgres_longest_transaction_seconds",] > 0
        await busy.execute("COMMIT")
        assert pod.metrics()["chatpostgres_longest_transaction_seconds",] == 0
    finally:
        for connection in (idle, busy, admin):
            await connection.close()


async def test_a_wait_for_a_lock_is_counted_and_the_page_waits_for_none(pod: Pod) -> None:
    """A table that somebody alters, or waits to, has no size meanwhile."""
    holder, waiter = await _connect(pod), await _connect(pod)
    try:
        assert ("chatpostgres_table_bytes", "notes") in pod.metrics()
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE notes")
        asked = asyncio.create_task(waiter.fetchval("SELECT count(*) FROM notes"))
        await _becomes(pod, ("chatpostgres_lock_waits",), 1)
        # Shorter ones are the commits of any busy chat.
        waits = "SELECT max(clock_timestamp() - waitstart) FROM pg_locks WHERE NOT granted"
        assert await holder.fetchval(waits) > dt.timedelta(seconds=1)
        found = pod.metrics()
        assert found["chatpostgres_up",] == 1
        assert ("chatpostgres_table_bytes", "notes") not in found
        assert ("chatpostgres_table_live_rows", "notes") in found
        await holder.execute("COMMIT")
        assert await asked == 0
        assert pod.metrics()["chatpostgres_lock_waits",] == 0
    finally:
        await holder.close()
        await waiter.close()


async def test_deadlocks_commits_and_rollbacks_are_counted(pod: Pod) -> None:
    before = pod.metrics()
    one, other = await _connect(pod), await _connect(pod)
    try:
        await one.execute("INSERT INTO notes VALUES (1, ''), (2, '')")
        for connection, number in ((one, 1), (other, 2)):
            await connection.execute("BEGIN")
            await connection.execute("UPDATE notes SET text = 'x' WHERE id = $1", number)
        results = await asyncio.gather(
            one.execute("UPDATE notes SET text = 'y' WHERE id = 2"),
            other.execute("UPDATE notes SET text = 'y' WHERE id = 1"),
            return_exceptions=True,
        )
        assert [type(result) for result in results].count(asyncpg.DeadlockDetectedError) == 1
    finally:
        # What a session counted is added at the latest when it ends.
        await one.close()
        await other.close()
    await _becomes(pod, ("chatpostgres_deadlocks_total",), before["chatpostgres_deadlocks_total",] + 1)
    after = pod.metrics()
    for name in ("chatpostgres_commits_total", "chatpostgres_rollbacks_total"):
        assert after[name,] > before[name,]


def test_dead_rows_and_the_last_vacuum_are_those_of_the_table(pod: Pod) -> None:
    insert = "INSERT INTO notes SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n"
    for statement in (insert, "DELETE FROM notes WHERE id > 400"):
        pod.postgres.sql(statement, "chat")
    found = pod.metrics()
    assert found["chatpostgres_table_live_rows", "notes"] == 400
    assert found["chatpostgres_table_dead_rows", "notes"] == 600
    assert found["chatpostgres_table_bytes", "notes"] > 1000 * 500
    assert ("chatpostgres_table_last_vacuum_timestamp_seconds", "notes") not in found
    pod.postgres.sql("VACUUM notes", "chat")
    found = pod.metrics()
    assert found["chatpostgres_table_dead_rows", "notes"] == 0
    at = found["chatpostgres_table_last_vacuum_timestamp_seconds", "notes"]
    assert at > found["chatpostgres_start_time_seconds",]


async def test_a_listener_that_does_not_listen_fills_the_queue_of_notifications(pod: Pod) -> None:
    assert pod.metrics()["chatpostgres_notification_queue_ratio",] == 0
    listener = await _connect(pod)
    try:
        await listener.execute("LISTEN hints")
        await listener.execute("BEGIN")
        pod.postgres.sql("SELECT pg_notify('hints', repeat('x', 7000) || n) FROM generate_series(1, 200) n", "chat")
        assert pod.metrics()["chatpostgres_notification_queue_ratio",] > 0
    finally:
        await listener.close()


def test_wal_and_checkpoints_are_counted(pod: Pod) -> None:
    before = pod.metrics()
    pod.postgres.sql("CHECKPOINT")
    pod.postgres.sql("INSERT INTO notes SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n", "chat")
    after = pod.metrics()
    requested = ("chatpostgres_checkpoints_total", "requested")
    assert after[requested] == before[requested] + 1
    assert after["chatpostgres_wal_bytes_total",] > before["chatpostgres_wal_bytes_total",] + 500_000
    assert after["chatpostgres_wal_full_page_images_total",] > before["chatpostgres_wal_full_page_images_total",]
    assert after["chatpostgres_wal_directory_bytes",] >= 16 * 1024 * 1024


def test_a_page_with_a_wrong_checksum_is_counted(pod: Pod) -> None:
    assert pod.postgres.sql("SHOW data_checksums") == "on"
    pod.postgres.sql("INSERT INTO notes VALUES (1, 'intact')", "chat")
    path = pod.postgres.data / pod.postgres.sql("SELECT pg_relation_filepath('notes')", "chat")
    pod.postgres.stop()
    with path.open("r+b") as file:
        file.seek(4000)
        file.write(b"damaged")
    pod.postgres.start()
    before = pod.metrics()["chatpostgres_checksum_failures_total",]
    assert pod.postgres.sql("SELECT count(*) FROM pg_class", "chat")
    with contextlib.suppress(Exception):
        pod.postgres.sql("SELECT * FROM notes", "chat")
    assert pod.metrics()["chatpostgres_checksum_failures_total",] > before


def test_without_postgresql_the_volume_is_still_reported(pod: Pod) -> None:
    pod.postgres.stop()
    found = pod.metrics()
    space = volume.look(pod.postgres.data)
    assert found["chatpostgres_up",] == 0
    assert found["chatpostgres_volume_size_bytes",] == space.size
    assert found["chatpostgres_volume_reserve_bytes",] == volume.reserve(space)
    assert found["chatpostgres_refusing_writes",] == 0
    assert {name for name, *_ in found} == {
        "chatpostgres_up",
        "chatpostgres_refusing_writes",
        *(f"chatpostgres_volume_{what}_bytes" for what in ("size", "free", "reserve")),
        *(f"chatpostgres_archive_{what}" for what in ("failing", "lag_seconds", "waiting_files")),
    }
    assert check("metrics", pod.page()) == ""
    pod.postgres.start()
    assert pod.metrics()["chatpostgres_up",] == 1


def test_a_postgresql_that_hangs_keeps_no_status_waiting(pod: Pod) -> None:
    pages = {
        report.STATUS_PATH: Page("application/json", lambda: b"{}"),
        report.METRICS_PATH: Page(metrics.CONTENT_TYPE, lambda: pod.page().encode()),
    }
    server = report.serve(0, pages)
    address = f"http://127.0.0.1:{server.server_port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    pod.postgres.freeze()
    try:
        with ThreadPoolExecutor() as threads:
            scrape = threads.submit(lambda: opener.open(address + report.METRICS_PATH).read())
            assert opener.open(address + report.STATUS_PATH).read() == b"{}"
            assert not scrape.done(), "it waits for PostgreSQL meanwhile"
            assert b"chatpostgres_up 0.0\n" in scrape.result(PATIENCE_SECONDS)
    finally:
        pod.postgres.thaw()
        server.shutdown()
        server.server_close()


def test_many_scrapers_cost_one_statement(pod: Pod) -> None:
    """Each statement is a transaction of its own, which the next one would count."""

    def commits(page: bytes) -> list[bytes]:
        return [line for line in page.splitlines() if line.startswith(b"chatpostgres_commits_total ")]

    now = 10 * SHARED_SECONDS
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(pod.agent.metrics, [now + 0.1 * number for number in range(16)]))
    assert len({tuple(commits(page)) for page in pages}) == 1
    assert commits(pod.agent.metrics(now + 2 * SHARED_SECONDS)) != commits(pages[0])


@pytest.fixture
def newest() -> Iterator[PostgresCluster]:
    """Of the version of the wheel, whose catalogs are the image's in what the metrics need."""
    settings = "max_connections = 12\nreserved_connections = 2\n"
    with PostgresCluster(settings, superuser="root", binaries=wheel_binaries()) as made:
        yield made


async def test_the_page_is_there_when_clients_have_taken_every_connection(newest: PostgresCluster) -> None:
    assert newest.major >= 17
    pod = Pod(newest)
    pod.mount_logins(FIRST)
    pod.round()
    taken: list[asyncpg.Connection] = []
    try:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while len(taken) < 12:
                taken.append(await _connect(pod))
        found = pod.metrics()
        assert found["chatpostgres_backends", "chat_a", "idle"] == len(taken) == 12 - 3 - 2
        assert {name for name, *_ in found} >= ALWAYS - {name for name in ALWAYS if "_table_" in name}
    finally:
        for connection in taken:
            await connection.close()


async def test_only_the_agents_user_may_be_the_role_that_reads_statistics(newest: PostgresCluster) -> None:
    """By the image's own rules. The role has no password, so that nobody comes over TCP either."""
    pod = Pod(newest)
    pod.mount_logins(FIRST)
    pod.round()
    owner = "root" if newest.user is None else newest.user.pw_name
    runs_as = getpass.getuser() if newest.user is None else owner
    ident = (IMAGE / "pg_ident.conf").read_text().replace("agent  postgres", f"agent  {runs_as}")
    (newest.folder / "ident.conf").write_text(ident)
    hba = (IMAGE / "pg_hba.conf").read_text()
    (newest.folder / "hba.conf").write_text(hba)
    with (newest.data / "postgresql.conf").open("a") as file:
        file.write(f"ident_file = '{newest.folder}/ident.conf'\n")
    newest.stop()
    newest.start()
    who = ("--no-psqlrc", "-AtX", "-h", str(newest.folder), "-p", str(newest.port), "-U", monitor.ROLE, "chat")
    asked = "SELECT current_user, pg_has_role('pg_monitor', 'MEMBER')"
    assert newest.run("psql", *who, "-c", asked).strip() == f"{monitor.ROLE}|t"
    for database in ("chat", "postgres"):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(host="127.0.0.1", port=newest.port, user=monitor.ROLE, password="", database=database)
    if os.geteuid() == 0:
        # Another user of the machine, at the same socket.
        assert pod.metrics()["chatpostgres_up",] == 0
