"""The postgres image's agent, its reserve for WAL and the derived parameters, on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chatoperator.parts.database.logins import Logins
from chatoperator.parts.database.parameters import AT_START_ONLY
from chatoperator.parts.database.statefulset import config_map, parameters
from postgresagent.configuration import KILLED
from tests.support.chatclusters import cluster as chatcluster
from tests.support.cluster import ROOT
from tests.support.postgres import PostgresCluster
from tests.support.postgrespod import FIRST, Pod, programs
from tests.support.volume import fill, small_volume

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """One server for the tests of this file, whose owner of everything is not yet there."""
    with PostgresCluster(superuser="root") as made:
        yield made


@pytest.fixture
def pod(cluster: PostgresCluster) -> Iterator[Pod]:
    made = Pod(cluster)
    yield made
    made.remove()


async def test_a_new_server_gets_roles_that_act_as_the_owner_of_everything(pod: Pod) -> None:
    revision = pod.mount_logins(FIRST)
    pod.round()
    assert pod.agent.status()["credentials"] == revision
    assert await pod.logged_in("chat_a", "first a", "CREATE TABLE made ()") is None
    assert pod.postgres.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'made'", "chat") == "chat"
    assert await pod.logged_in("chat_b", "first b", "DROP TABLE made") is None
    assert await pod.logged_in("chat_b", "first b") == "chat"
    assert await pod.refused("chat", "first a")
    before = pod.postgres.sql("SELECT pg_current_wal_lsn()")
    pod.clock += 100
    pod.round()
    assert pod.postgres.sql("SELECT pg_current_wal_lsn()") == before, "what is right is not written again"


async def test_a_rotation_leaves_open_connections_and_refuses_the_old_password(pod: Pod) -> None:
    pod.mount_logins(FIRST)
    pod.round()
    old = await asyncpg.connect(
        host="127.0.0.1", port=pod.postgres.port, user="chat_a", password="first a", database="chat"
    )
    try:
        pod.mount_logins(replace(FIRST, passwords={**FIRST.passwords, "chat_b": "second b"}))
        pod.round()
        assert not await pod.refused("chat_a", "first a"), "both are good while servers change over"
        assert not await pod.refused("chat_b", "second b")
        pod.mount_logins(Logins("chat_b", {"chat_a": "second a", "chat_b": "second b"}))
        pod.round()
        assert await pod.refused("chat_a", "first a")
        assert await pod.refused("chat_b", "first b")
        assert await old.fetchval("SELECT 1") == 1
    finally:
        await old.close()


async def test_an_old_volume_keeps_its_login_until_the_servers_have_another(pod: Pod) -> None:
    """Its one role owns everything and is logged in as."""
    pod.postgres.sql("CREATE ROLE chat LOGIN PASSWORD 'old'")
    pod.postgres.sql("CREATE DATABASE chat OWNER chat")
    await pod.logged_in("chat", "old", "CREATE TABLE from_before ()")
    pod.mount_logins(Logins("chat", {"chat": "old", "chat_a": "a", "chat_b": "b"}, "preparing"))
    pod.round()
    assert not await pod.refused("chat", "old")
    assert await pod.logged_in("chat_a", "a", "DROP TABLE from_before") is None
    pod.mount_logins(Logins("chat_a", {"chat_a": "a", "chat_b": "b"}))
    pod.round()
    assert await pod.refused("chat", "old")
    assert not await pod.refused("chat_a", "a")


async def test_what_others_did_to_a_role_is_undone(pod: Pod) -> None:
    pod.mount_logins(FIRST)
    pod.round()
    for damage in (
        "ALTER ROLE chat_a PASSWORD 'theirs'",
        "ALTER ROLE chat_a NOLOGIN",
        "ALTER ROLE chat_a RESET role",
        "REVOKE chat FROM chat_a",
        "DROP ROLE chat_b",
    ):
        pod.postgres.sql(damage)
        pod.clock += 100
        pod.round()
        assert await pod.logged_in("chat_a", "first a") == "chat", damage
        assert await pod.logged_in("chat_b", "first b") == "chat", damage


async def test_no_password_reaches_the_servers_log(pod: Pod) -> None:
    pod.mount_logins(FIRST)
    pod.mount_parameters(log_statement="all", log_min_duration_statement="0", log_min_error_statement="debug5")
    pod.round()
    pod.mount_logins(replace(FIRST, passwords={"chat_a": "canary a", "chat_b": "canary b"}))
    pod.round()
    assert not await pod.refused("chat_a", "canary a")
    log = (pod.postgres.folder / "postgres.log").read_text()
    assert "canary" not in log
    assert "SCRAM-SHA-256" not in log


def test_parameters_are_taken_over_in_place_unless_they_are_wrong(pod: Pod) -> None:
    pod.mount_logins(FIRST)
    revision = pod.mount_parameters(work_mem="5MB")
    pod.round()
    volume = pod.agent.status()["volume"]
    assert 0 < volume["free_bytes"] <= volume["size_bytes"]
    assert volume["kept"] == []
    assert pod.agent.status() | {"credentials": None, "volume": None} == {
        "credentials": None,
        "configuration": revision,
        "refused": None,
        "volume_full": False,
        "archive": None,
        "volume": None,
        "member": None,
    }
    assert pod.postgres.sql("SHOW work_mem") == "5MB"
    for wrong, words in (
        ({"work_mem": "banana"}, 'invalid value for parameter "work_mem": "banana"'),
        ({"no_such": "1"}, 'unrecognized configuration parameter "no_such"'),
        ({"timezone": "Nowhere/Land"}, 'invalid value for parameter "TimeZone": "Nowhere/Land"'),
        ({"block_size": "8192"}, 'parameter "block_size" cannot be changed'),
    ):
        revision = pod.mount_parameters(**wrong)
        pod.round()
        status = pod.agent.status()
        assert status["configuration"] == revision
        assert words in status["refused"]
        assert pod.postgres.sql("SHOW work_mem") == "5MB"
        assert "banana" not in pod.accepted.read_text()
    pod.mount_parameters(work_mem="6MB")
    pod.round()
    assert pod.agent.status()["refused"] is None
    assert pod.postgres.sql("SHOW work_mem") == "6MB"


@pytest.mark.parametrize(("memory", "volume"), [("64Mi", "256Mi"), ("1Gi", "10Gi"), ("256Gi", "4Ti")])
def test_derived_parameters_are_ones_that_postgres_takes(pod: Pod, memory: str, volume: str) -> None:
    sized = chatcluster(database={"resources": {"limits": {"memory": memory, "cpu": "8"}}})
    pod.mount(pod.config, config_map(sized, parameters(sized, volume_size=volume))["data"])
    pod.round()
    assert pod.agent.status()["refused"] is None
    assert pod.postgres.sql("SHOW synchronous_commit") == "on"
    assert pod.postgres.sql("SHOW jit") == "off"


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ("FATAL:  could not map anonymous shared memory\n", "could not map anonymous shared memory"),
        # The kernel kills without a word.
        ("", KILLED),
    ],
)
def test_what_the_server_did_not_start_with_stays_refused_until_it_changes(pod: Pod, left: str, told: str) -> None:
    """The entrypoint says so: no check can know how much memory there is."""
    pod.mount_logins(FIRST)
    revision = pod.mount_parameters(shared_buffers="900GB")
    pod.places.refused.write_text(f"{revision}\n{left}")
    pod.round()
    assert pod.agent.status()["refused"] == told
    assert not pod.accepted.exists()
    pod.mount_parameters(shared_buffers="1GB")
    pod.round()
    assert pod.agent.status()["refused"] is None


def test_a_server_that_is_away_is_waited_for(pod: Pod) -> None:
    revision = pod.mount_logins(FIRST)
    pod.mount_parameters()
    pod.postgres.stop()
    pod.round()
    applied = ("credentials", "configuration", "refused", "volume_full", "archive", "member")
    nothing = dict.fromkeys(applied)
    assert {name: pod.agent.status()[name] for name in applied} == nothing
    assert not pod.accepted.exists(), "while the server starts, the file is the entrypoint's"
    pod.postgres.start()
    pod.round()
    assert pod.agent.status()["credentials"] == revision


def test_the_list_of_what_needs_a_restart_is_postgres_own(cluster: PostgresCluster) -> None:
    rows = cluster.sql("SELECT name, context FROM pg_settings").splitlines()
    contexts = dict(row.split("|") for row in rows)
    assert len(contexts) > 300
    assert {name for name, context in contexts.items() if context == "postmaster"} <= AT_START_ONLY
    assert {contexts[name] for name in AT_START_ONLY & contexts.keys()} == {"postmaster"}


def test_wal_needs_no_room_that_it_has_not_got_from_the_start() -> None:
    """Twice as much of it as max_wal_size is written while the volume has no room for one more file of it."""
    with small_volume(mebibytes=256) as volume:
        settings = "max_wal_size = 64MB\nmin_wal_size = 64MB\n"
        with PostgresCluster(settings, superuser="root", parent=volume) as postgres:
            postgres.stop()
            environment = {"PATH": f"{programs(postgres)}:{os.environ['PATH']}", "REAL": str(postgres.binaries)}
            config = volume / "config" / "postgresql.conf"
            config.parent.mkdir()
            config.write_text(f"include '{postgres.data}/postgresql.conf'\n")
            reserve = [str(ROOT / "images" / "postgres" / "reserve-wal"), str(postgres.data), str(config)]
            subprocess.run(reserve, env=environment, check=True)
            owner, segments = (postgres.data / "PG_VERSION").stat(), list((postgres.data / "pg_wal").glob("0*"))
            assert [file.stat().st_size for file in segments] == [16 * 1024 * 1024] * 4
            for file in segments:
                os.chown(file, owner.st_uid, owner.st_gid)
            postgres.start()
            leader, start = postgres.processes()[0], postgres.sql("SELECT pg_current_wal_lsn()")
            fill(volume, leave_mebibytes=8)
            written = 0
            while written < 128 * 1024 * 1024:
                # As rows that are replaced in place are, it is WAL and nothing else.
                postgres.sql(
                    "SELECT pg_logical_emit_message(true, '', repeat('x', 1000000)) FROM generate_series(1, 8)"
                )
                written = int(postgres.sql(f"SELECT pg_current_wal_lsn() - '{start}'"))
            assert postgres.processes()[0] == leader
            assert "PANIC" not in (postgres.folder / "postgres.log").read_text()
