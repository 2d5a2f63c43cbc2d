"""Several instances of one database, run by Patroni as in the image: what is acknowledged is never lost."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.storage.migrate import migrate
from tests.support.apiserver import running
from tests.support.background import background
from tests.support.cluster import until
from tests.support.debian import library
from tests.support.findings import tell
from tests.support.network import private_network
from tests.support.postgresimage import Pod, unpacked
from tests.support.quorum import (
    FIRST_USER_ID,
    PATIENCE_SECONDS,
    SCOPE,
    SECRET,
    Instance,
    Instances,
    Ledger,
    cut_off,
    instances,
    join,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

EPOCH = "SELECT chat_epoch()"
DECIDED = "SELECT timeline IS NOT DISTINCT FROM left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM meta"

SWITCHOVERS = 4
"""Tries: Patroni waits for the start of the old leader's last record, so that a slow replica may lead without it."""

SEGMENTS = 14
"""Of WAL, 16 MiB each: more than PostgreSQL keeps for replicas without a slot."""

LOOP_TURNS = 10
"""Of the event loop: more than an answer that has arrived needs to its reader."""

FAKETIME = ("usr/lib/*/faketime/libfaketime.so.1", "libfaketime")

MOVED_SECONDS = 2400
"""Less than a clock is moved. The API server's certificate is valid since an hour before the test."""

OUTAGE_SECONDS = 25
"""Longer than the validity of the leader's lock."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instances]:
    """A database of three instances, with a table for a ledger."""
    # First: the private network leads to no mirror.
    unpacked()
    if any(test.get_closest_marker("soak") for test in request.session.items):
        library(*FAKETIME)
    folder = tmp_path_factory.mktemp("instances")
    with private_network(), running() as api, instances(api, folder) as made:
        asyncio.run(_begin(made))
        yield made


@pytest.fixture
async def three(made: Instances) -> AsyncIterator[Instances]:
    """The same, each time with three instances that replicate."""
    await complete(made)
    yield made
    await complete(made)


async def _begin(made: Instances) -> None:
    """Begin as one instance, as before there were several, and become three."""
    first = made.add(1)
    first.pod.write("postgres", {"begin": "true"})
    made.start_alone(1)
    await holds(lambda: _answers(first), "the only instance answers", made)
    await migrate(made.dsn, wait_seconds=60)
    connection = await made.connect()
    await connection.execute("CREATE TABLE ledger (n bigint PRIMARY KEY)")
    epoch = await connection.fetchval(EPOCH)
    connection.terminate()
    first.stop()
    first.pod.write("postgres", {"begin": "false"})
    # Nothing is there to be cloned yet, and nothing begins here.
    made.start(made.add(2).number)
    await holds(lambda: "waiting for leader to bootstrap" in made.all[2].log(), "instance 2 waits", made)
    assert not made.all[2].data.exists()
    made.start(1)
    made.start(made.add(3).number)
    await complete(made)
    assert '"pg_basebackup" is now a candidate' not in made.all[1].log(), "a clone counts for no commit"
    await keeps_epoch(made, epoch)
    await is_decided(made)


def _answers(one: Instance) -> bool:
    return one.execute("pg_isready", "-q", "-h", "/var/run/postgresql").returncode == 0


async def complete(made: Instances) -> None:
    """Wait until all instances replicate and count for the quorum."""

    def whole() -> bool:
        leader = made.leader()
        others = {one.name for one in made.all.values() if one is not leader}
        roles = {number: "primary" if one is leader else "replica" for number, one in made.all.items()}
        return leader is not None and made.roles() == roles and made.synchronous() == others

    await holds(whole, "all instances replicate", made)


async def holds(condition: Callable[[], bool], what: str, made: Instances) -> None:
    """Wait until something observed is so."""

    async def asked() -> bool:
        return condition()

    await until(asked, what, PATIENCE_SECONDS, otherwise=made.described)


async def epoch_of(made: Instances) -> str:
    """The epoch of cursors at the leader."""
    connection = await made.connect()
    try:
        return str(await connection.fetchval(EPOCH))
    finally:
        connection.terminate()


async def is_decided(made: Instances) -> None:
    """Wait until the agent beside the leader has said whose epoch the timeline has."""

    async def entered() -> bool:
        connection = await made.connect()
        try:
            return bool(await connection.fetchval(DECIDED))
        finally:
            connection.terminate()

    await until(entered, "the epoch is decided", PATIENCE_SECONDS, otherwise=made.described)


async def keeps_epoch(made: Instances, epoch: str) -> None:
    """Wait until the agent beside a new leader has found that nothing was lost."""

    async def same() -> bool:
        return await epoch_of(made) == epoch

    await until(same, "cursors stay valid", PATIENCE_SECONDS, otherwise=made.described)


async def led(made: Instances) -> Instance:
    """The leader, which there is."""
    leader = made.leader()
    assert leader is not None, made.described()
    return leader


async def grows(ledger: Ledger, made: Instances) -> None:
    """Wait until more is acknowledged."""
    before = len(ledger.acknowledged)
    await holds(lambda: len(ledger.acknowledged) > before + 100, "writes are acknowledged", made)


@pytest.mark.parametrize(
    ("name", "begin", "begins"),
    [(f"{SCOPE}-0", "true", True), (f"{SCOPE}-0", "false", False), (f"{SCOPE}-2-0", "true", False)],
)
def test_a_database_is_begun_by_the_first_instance_and_only_where_there_was_none(
    tmp_path: Path, name: str, begin: str, *, begins: bool
) -> None:
    unpacked()
    pod = Pod(tmp_path / "pod", FIRST_USER_ID)
    pod.write("database", SECRET)
    pod.write("postgres", {"postgresql.conf": "", "revision": "c1", "begin": begin})
    # Patroni ends at once: it has no API server here.
    variables = {
        "PATRONI_SCOPE": SCOPE,
        "PATRONI_NAME": name,
        "PATRONI_KUBERNETES_NAMESPACE": "chat",
        "PATRONI_KUBERNETES_LABELS": "{}",
        "PATRONI_KUBERNETES_SCOPE_LABEL": "database",
        "POD_IP": "127.0.0.1",
    }
    pod.run("postgres", **variables).process.wait(PATIENCE_SECONDS)
    assert (pod.folder / "volume" / "pgdata" / "PG_VERSION").exists() is begins
    assert "starting Patroni" in (pod.folder / "postgres.log").read_text()


@pytest.mark.soak
async def test_a_leader_that_is_killed_loses_nothing_and_comes_back(three: Instances) -> None:
    ledger, old, epoch = Ledger(three), await led(three), await epoch_of(three)
    async with background(ledger.run()):
        await grows(ledger, three)
        old.kill()
        await holds(lambda: three.leader() not in {None, old}, "another instance leads", three)
        await grows(ledger, three)
        three.start(old.number)
        await complete(three)
    assert await ledger.lost() == set()
    await is_decided(three)
    assert await epoch_of(three) != epoch, "its last transactions may be unknown to the new one"
    tell(f"leader killed: {len(ledger.acknowledged)} acknowledged, 0 lost, {ledger.longest_gap():.1f} s without")


async def test_a_leader_that_is_cut_off_acknowledges_nothing_after_the_cut(three: Instances) -> None:
    ledger, old = Ledger(three), await led(three)
    async with background(ledger.run()):
        await grows(ledger, three)
        cut_off(old)
        # An acknowledgement that had arrived before is read now.
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        cut_at = time.monotonic()
        try:
            await holds(lambda: three.leader() not in {None, old}, "another instance leads", three)
            await holds(lambda: three.roles()[old.number] is None, "no Service finds it as the leader", three)
            await holds(lambda: old.psql("SELECT pg_is_in_recovery()") != "f", "it no longer leads", three)
            await grows(ledger, three)
        finally:
            join(old)
        await complete(three)
    assert not [at for at in ledger.acknowledged_by(old) if at > cut_at]
    assert await ledger.lost() == set()
    tell(f"leader cut off: {len(ledger.acknowledged)} acknowledged, 0 lost, {ledger.longest_gap():.1f} s without")


async def test_a_switchover_keeps_the_epoch_and_stops_writes_for_moments(three: Instances) -> None:
    for _ in range(SWITCHOVERS):
        if await _switch_over(three):
            return
        await complete(three)
    pytest.fail("no cursor stayed valid")


async def _switch_over(three: Instances) -> bool:
    """Have another instance lead; returns whether the agent beside it says that cursors stay valid, as they then do."""
    ledger, old, epoch = Ledger(three), await led(three), await epoch_of(three)
    new = next(one for one in three.all.values() if one is not old)
    before = new.promotions()
    async with background(ledger.run()):
        await grows(ledger, three)
        three.switch_over(old, new)
        await holds(lambda: three.leader() is new, "the other instance leads", three)
        await grows(ledger, three)
    await holds(lambda: len(new.promotions()) > len(before), "the agent has looked at the promotion", three)
    assert await ledger.lost() == set()
    tell(f"switchover: {len(ledger.acknowledged)} acknowledged, 0 lost, {ledger.longest_gap():.1f} s without")
    stays_valid = new.promotions()[-1]
    assert (await epoch_of(three) == epoch) is stays_valid
    return stays_valid


async def test_writes_go_on_while_the_api_server_is_unavailable(three: Instances) -> None:
    ledger, leader = Ledger(three), await led(three)
    server = three.api.pids["kube-apiserver"]
    async with background(ledger.run()):
        await grows(ledger, three)
        os.kill(server, signal.SIGSTOP)
        started = time.monotonic()
        try:
            while time.monotonic() < started + OUTAGE_SECONDS:
                await grows(ledger, three)
        finally:
            os.kill(server, signal.SIGCONT)
    assert ledger.longest_gap() < OUTAGE_SECONDS / 2
    assert {address for _, address in ledger.acknowledged.values()} == {leader.address}


@pytest.mark.soak
@pytest.mark.parametrize("ends", [Instance.kill, Instance.stop], ids=["killed", "restarted"])
async def test_writes_go_on_while_a_replica_comes_back(three: Instances, ends: Callable[[Instance], None]) -> None:
    ledger, leader, epoch = Ledger(three), await led(three), await epoch_of(three)
    replica = next(one for one in three.all.values() if one is not leader)
    async with background(ledger.run()):
        await grows(ledger, three)
        await asyncio.to_thread(ends, replica)
        await grows(ledger, three)
        three.start(replica.number)
        await complete(three)
        await grows(ledger, three)
    assert three.leader() is leader
    assert await ledger.lost() == set()
    assert await epoch_of(three) == epoch
    tell(f"replica {ends.__name__}: {len(ledger.acknowledged)} acknowledged, {ledger.longest_gap():.1f} s without")


@pytest.mark.soak
@pytest.mark.parametrize("moved", ["+1h", "-50m"])
async def test_a_leader_whose_clock_is_moved_loses_nothing(three: Instances, moved: str) -> None:
    old = await led(three)
    wrong = next(one for one in three.all.values() if one is not old)
    preload, offset = Path("/tmp/libfaketime.so.1"), wrong.pod.folder / "tmp" / "offset"  # noqa: S108 - in its pod
    shutil.copy(library(*FAKETIME), offset.with_name(preload.name))
    offset.write_text("+0s\n")
    await asyncio.to_thread(wrong.stop)
    three.start(
        wrong.number,
        LD_PRELOAD=str(preload),
        FAKETIME_TIMESTAMP_FILE=str(preload.with_name(offset.name)),
        FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    await complete(three)
    ledger = Ledger(three)
    async with background(ledger.run()):
        await grows(ledger, three)
        three.switch_over(old, wrong)
        await holds(lambda: three.leader() is wrong, "it leads", three)
        offset.write_text(f"{moved}\n")
        await holds(lambda: _wrong_seconds(wrong) > MOVED_SECONDS, "its clock is moved", three)
        begun = time.monotonic()
        while time.monotonic() < begun + OUTAGE_SECONDS:
            await grows(ledger, three)
        assert three.leader() is wrong, "a clock alone makes nobody else lead"
        wrong.kill()
        await holds(lambda: three.leader() not in {None, wrong}, "another instance leads", three)
        await grows(ledger, three)
    three.start(wrong.number)
    await complete(three)
    assert await ledger.lost() == set()
    tell(f"clock {moved}: {len(ledger.acknowledged)} acknowledged, 0 lost, {ledger.longest_gap():.1f} s without")


def _wrong_seconds(one: Instance) -> float:
    """How far the clock of PostgreSQL is from this machine's."""
    return abs(float(one.psql("SELECT extract(epoch FROM clock_timestamp())") or "nan") - time.time())


async def test_a_replica_that_does_not_start_with_its_configuration_gets_the_one_before(three: Instances) -> None:
    leader = await led(three)
    replica = next(one for one in three.all.values() if one is not leader)
    proven = replica.pod.folder / "volume" / "proven.conf"
    await holds(proven.exists, "a configuration is proven", three)
    replica.stop()
    replica.pod.write("postgres", {"postgresql.conf": "shared_preload_libraries = 'nowhere'\n", "revision": "c2"})
    three.start(replica.number)
    await holds(lambda: "does not start" in str(_status(replica).get("refused")), "it is refused", three)
    await complete(three)
    expected = {
        "role": "replica",
        "state": "streaming",
        "timeline": three.member(leader.number)["timeline"],
        "lag_bytes": 0,
        "synchronous": True,
        "pending_restart": False,
        "paused": False,
        "leader": leader.name,
    }
    await holds(lambda: _status(replica)["member"] == expected, "the operator sees the replica", three)
    status = _status(replica)
    assert (status["configuration"], status["credentials"]) == ("c2", "r1")
    assert _status(leader)["member"]["role"] == "primary"
    replica.pod.write("postgres", {"postgresql.conf": "work_mem = '6MB'\n", "revision": "c3"})
    await holds(lambda: _status(replica)["refused"] is None, "another configuration is accepted", three)
    assert replica.psql("SHOW work_mem") == "6MB"


def _status(one: Instance) -> dict[str, Any]:
    """What the agent answers the operator; nothing while it does not."""
    try:
        answer = httpx.get(f"http://{one.address}:8010/status", trust_env=False)
    except httpx.TransportError:
        return {}
    return dict(answer.json())


@pytest.mark.soak
async def test_a_replica_that_lacks_wal_is_copied_again_as_its_runbook_says(three: Instances) -> None:
    leader = await led(three)
    replica, other = (one for one in three.all.values() if one is not leader)
    await holds(lambda: _followed_by(leader) == {replica.name, other.name}, "its metrics have both", three)
    assert leader.psql("SHOW max_slot_wal_keep_size") not in {"", "-1"}, "no replica fills the leader's volume"
    leader.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'")
    leader.psql("SELECT pg_reload_conf()")
    replica.stop()
    for _ in range(SEGMENTS):
        leader.psql("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
    leader.psql("CHECKPOINT")
    leader.psql("ALTER SYSTEM RESET max_slot_wal_keep_size")
    leader.psql("SELECT pg_reload_conf()")
    assert leader.psql("SELECT wal_status FROM pg_replication_slots WHERE NOT active") == "lost"
    refused = three.patronictl(leader, "reinit", SCOPE, leader.name, "--force")
    assert (refused.returncode, refused.stderr) == (1, "Error: No replica among provided members\n")
    three.start(replica.number)
    await holds(lambda: "has already been removed" in replica.log(), "it cannot follow", three)
    assert three.member(replica.number)["state"] != "streaming"
    # What ChatReplicaMissing compares.
    await holds(lambda: _followed_by(leader) == {other.name}, "the leader's metrics do not have it", three)
    await holds(lambda: "chatpostgres_in_recovery 1.0\n" in _metrics(replica), "its own say that it runs", three)
    # PostgreSQL never uses such a slot again; Patroni makes another one.
    leader.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE wal_status = 'lost'")
    again = three.patronictl(replica, "reinit", SCOPE, replica.name, "--force")
    assert again.returncode == 0, again.stderr
    await complete(three)
    assert three.leader() is leader
    slots = "SELECT count(*) FROM pg_replication_slots WHERE active AND wal_status IN ('reserved', 'extended')"
    await holds(lambda: leader.psql(slots) == "2", "the leader keeps WAL for both again", three)


def _metrics(one: Instance) -> str:
    """The agent's page of metrics; nothing while it does not answer."""
    try:
        return httpx.get(f"http://{one.address}:8010/metrics", trust_env=False).text
    except httpx.TransportError:
        return ""


def _followed_by(leader: Instance) -> set[str]:
    """The replicas of which the leader's metrics say what they lack."""
    return set(re.findall(r'^chatpostgres_replica_lag_bytes{replica="([^"]+)"}', _metrics(leader), re.MULTILINE))


async def test_the_last_instance_goes_on_alone_with_nothing_of_patroni(made: Instances) -> None:
    """The last test of this file: the others need what ends here."""
    await complete(made)
    leader, first = await led(made), made.all[1]
    if leader is not first:
        made.switch_over(leader, first)
        await holds(lambda: made.leader() is first, "instance 1 leads", made)
        await complete(made)
    connection = await made.connect()
    await connection.execute("INSERT INTO ledger VALUES (-1)")
    connection.terminate()
    for one in (made.all[2], made.all[3], first):
        one.stop()
    made.start_alone(1)
    await holds(lambda: _answers(first), "the only instance answers", made)
    connection = await made.connect()
    try:
        await connection.execute("INSERT INTO ledger VALUES (-2)")
        assert await connection.fetchval("SELECT count(*) FROM ledger WHERE n < 0") == 2
    finally:
        connection.terminate()
    assert first.psql("SHOW synchronous_standby_names") == ""
    assert first.psql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert not {path.name for path in first.data.iterdir()} & {"patroni.dynamic.json", "postgresql.conf.backup"}
