"""Faults of a database of several instances, and of its backups, make each of their alerts fire and resolve."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from chatoperator.metadata import backup_claim_name
from tests.support.alerts import only_pages, quiet
from tests.support.background import background
from tests.support.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.chatinstances import ChatInstances
    from tests.support.cluster import Cluster
    from tests.support.monitored import Monitored
    from tests.support.nodes import Nodes

pytestmark = pytest.mark.soak

FIRES_SECONDS = 300
RESOLVES_SECONDS = 480

SAID_SECONDS = 300

TALK_SECONDS = 120

DEMO = {"namespace": "chat", "chatcluster": "demo"}

REPOSITORY = "test-repository"
"""The volume of the repository, a small file system of its own on the first node."""

REPOSITORY_MEBIBYTES = 400

FULL_MEBIBYTES = 370

EACH_MINUTE = "* * * * *"

UNINDEXED = (
    "CREATE TABLE drilled (n int)",
    "CREATE INDEX drilled_n ON drilled (n)",
    "UPDATE pg_index SET indisready = false WHERE indexrelid = 'drilled_n'::regclass",
    "INSERT INTO drilled VALUES (1)",
    "UPDATE pg_index SET indisready = true WHERE indexrelid = 'drilled_n'::regclass",
)
"""A row that is not in an index, with right checksums everywhere."""


async def test_lost_instances_are_told(
    cluster: Cluster, watched: Monitored, instances: ChatInstances, nodes: Nodes
) -> None:
    await instances.become(3)
    await quiet(watched)
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        await ledger.gap(TALK_SECONDS)

        async with only_pages(watched, cause="ChatDatabaseHasNoLeader"):
            leader = await instances.led()
            await nodes.kill_container(leader, "postgres")
            await watched.fires("ChatDatabaseHasNoLeader", FIRES_SECONDS, severity="page", **DEMO)
            await watched.fires("ChatDatabaseFailedOver", FIRES_SECONDS, severity="info", **DEMO)
            await watched.resolves("ChatDatabaseHasNoLeader", RESOLVES_SECONDS, severity="page", **DEMO)
            await instances.complete(3)
        await quiet(watched)

        leader = await instances.led()
        replicas = [one["metadata"]["name"] for one in await instances.pods() if one["metadata"]["name"] != leader]
        async with only_pages(watched):
            await _signal_replay(cluster, replicas[0], "STOP")
            await watched.fires("ChatReplicaBehind", FIRES_SECONDS, **DEMO)
            await _signal_replay(cluster, replicas[0], "CONT")
            await watched.resolves("ChatReplicaBehind", RESOLVES_SECONDS, **DEMO)
        await quiet(watched)

        async with cluster.without_new_pods():
            async with only_pages(watched):
                await _delete(cluster, replicas[0])
                await watched.fires("ChatReplicaMissing", FIRES_SECONDS, **DEMO)
            async with only_pages(watched, cause="ChatDatabaseNotReplicated"):
                await _delete(cluster, replicas[1])
                await watched.fires("ChatDatabaseNotReplicated", FIRES_SECONDS, severity="page", **DEMO)
                await watched.fires("ChatDatabaseNotReplicated", FIRES_SECONDS, severity="ticket", **DEMO)
        await instances.complete(3)
        for severity in ("page", "ticket"):
            await watched.resolves("ChatDatabaseNotReplicated", RESOLVES_SECONDS, severity=severity, **DEMO)
        await watched.resolves("ChatReplicaMissing", RESOLVES_SECONDS, **DEMO)
        account = await ledger.finish()
        assert account.clean, account


async def test_a_repository_that_cannot_be_read_or_is_full_is_a_ticket(
    cluster: Cluster, watched: Monitored, nodes: Nodes
) -> None:
    async with _repository(cluster, nodes) as folder, Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
        await cluster.says("BackedUp", "BackedUp", SAID_SECONDS)
        await quiet(watched)
        tickets = ("ChatArchiveBehind", "ChatBackupFailing", "ChatBackupOverdue")
        async with only_pages(watched), background(_write_wal(cluster)):
            await nodes.run(nodes.first, "chmod", "000", folder)
            for alert in tickets:
                await watched.fires(alert, FIRES_SECONDS, **DEMO)
            await nodes.run(nodes.first, "chmod", "777", folder)
            for alert in tickets:
                await watched.resolves(alert, RESOLVES_SECONDS, **DEMO)
            filling = f"{folder}/filling"
            await nodes.run(nodes.first, "dd", "if=/dev/zero", f"of={filling}", "bs=1M", f"count={FULL_MEBIBYTES}")
            await watched.fires("ChatBackupRepositoryFilling", FIRES_SECONDS, **DEMO)
            await nodes.run(nodes.first, "rm", filling)
            await watched.resolves("ChatBackupRepositoryFilling", RESOLVES_SECONDS, **DEMO)
        account = await ledger.finish()
        assert account.clean, account


async def test_a_drill_that_restores_a_damaged_database_is_a_ticket(
    cluster: Cluster, watched: Monitored, nodes: Nodes
) -> None:
    async with _repository(cluster, nodes):
        await cluster.says("BackedUp", "BackedUp", SAID_SECONDS)
        await cluster.patch({"database": {"backup": {"drill": {"schedule": EACH_MINUTE, "size": "1Gi"}}}})
        await cluster.says("RestoreTested", "RestoreTested", SAID_SECONDS)
        await quiet(watched)
        async with only_pages(watched), background(_write_wal(cluster)):
            for statement in UNINDEXED:
                await cluster.psql(statement)
            try:
                await watched.fires("ChatRestoreDrillFailed", FIRES_SECONDS, **DEMO)
            finally:
                await cluster.psql("DROP TABLE drilled")
            await watched.resolves("ChatRestoreDrillFailed", RESOLVES_SECONDS, **DEMO)


async def _signal_replay(cluster: Cluster, pod: str, signal: str) -> None:
    """Stop what replays in a pod, or let it go on: a replay that is paused by SQL is resumed by Patroni."""
    find = 'for one in /proc/[0-9]*; do if grep -q "^postgres: .*startup" "$one/cmdline"; then'
    script = f'{find} kill -{signal} "${{one#/proc/}}"; fi; done'
    await cluster.kubectl("exec", pod, "-n", "chat", "-c", "postgres", "--", "sh", "-c", script)


async def _delete(cluster: Cluster, pod: str) -> None:
    await cluster.kubectl("delete", "pod", pod, "-n", "chat", "--wait=false")


async def _write_wal(cluster: Cluster) -> None:
    """Have a file of WAL to archive now and then: an idle one is written once a minute at most."""
    while True:
        # PostgreSQL restarts when backups are turned on.
        with contextlib.suppress(AssertionError):
            await cluster.psql("SELECT pg_switch_wal(), pg_sleep(5)")


@contextlib.asynccontextmanager
async def _repository(cluster: Cluster, nodes: Nodes) -> AsyncIterator[str]:
    """Back `demo` up into a small volume on the first node, each minute; gives its folder there."""
    claim = backup_claim_name("demo")
    async with nodes.small_file_system(REPOSITORY, REPOSITORY_MEBIBYTES) as folder:
        made = nodes.volume(REPOSITORY, folder, f"{REPOSITORY_MEBIBYTES}Mi", ("chat", claim))
        await cluster.apply(json.dumps(made))
        backup = {
            "repository": {"volume": {"size": f"{REPOSITORY_MEBIBYTES}Mi", "storageClassName": ""}},
            "schedule": {"incremental": EACH_MINUTE},
        }
        try:
            await cluster.patch({"database": {"backup": backup}})
            yield folder
        finally:
            await cluster.patch({"database": {"backup": None}})
            await cluster.settled()
            await cluster.kubectl("delete", "pvc", claim, "-n", "chat", "--ignore-not-found")
            await cluster.kubectl("delete", "pv", REPOSITORY, "--ignore-not-found")
