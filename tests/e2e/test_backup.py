"""Backups of `demo` as docs/operations/backup.md makes them, another chat restored from them, and `demo` in place."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.pages import OPERATIONS, Admin, commands

if TYPE_CHECKING:
    from pathlib import Path

RESTORED_SECONDS = 300
"""Until a small chat is restored, on a loaded machine."""

TALK_SECONDS = 60

COUNT = "SELECT count(*) FROM messages"

EPOCH = "SELECT chat_epoch()"


async def test_a_chat_is_restored_to_a_second_of_another_ones_past(cluster: Cluster, tmp_path: Path) -> None:
    admin, page = Admin(cluster, tmp_path), OPERATIONS / "backup.md"
    for part in ("Make backups", "The passphrase"):
        (block,) = commands(page, part)
        await admin.types(block)
    assert (tmp_path / "backup-passphrase").stat().st_size > 0
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
    assert account.clean, account
    said = ""
    for part in ("A backup now", "What there is"):
        (block,) = commands(page, part)
        said = await admin.types(block)
    window = json.loads(said)
    assert window["lastBackupType"] == "incremental", window
    before = int(await cluster.psql(COUNT))
    # A second of which nothing is on either side: what is committed in the target's own second is the later part.
    await asyncio.sleep(2)
    target = dt.datetime.now(dt.UTC).replace(microsecond=0)
    await asyncio.sleep(2)
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
    assert account.clean, account
    assert int(await cluster.psql(COUNT)) > before
    await cluster.psql("SELECT pg_switch_wal()")
    try:
        took = await _restore(cluster, target)
        assert int(await cluster.psql(COUNT, instance="restored")) == before
        epochs = {(await cluster.psql(EPOCH, instance=name)).strip() for name in ("demo", "restored")}
        assert len(epochs) == len(("demo", "restored")), "clients sync afresh"
    finally:
        await cluster.kubectl("delete", "cc", "restored", "-n", "chat", "--ignore-not-found", "--timeout=120s")
        await cluster.kubectl(
            "delete", "pvc", "restored-postgres-data", "-n", "chat", "--ignore-not-found", "--wait=false"
        )
    tell(f"{before} messages restored to a second of the past: the other chat was Ready after {took:.0f} s")


async def _restore(cluster: Cluster, target: dt.datetime) -> float:
    """Make the chat `restored` from `demo`; returns the seconds until it is Ready."""
    restore = {"from": {"chatCluster": {"name": "demo"}}, "targetTime": target.isoformat().replace("+00:00", "Z")}
    spec = {
        "chatserver": {"scaling": {"minReplicas": 1, "maxReplicas": 1}},
        "ingress": {"replicas": 1},
        "auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}},
        "database": {"restore": restore},
    }
    named = {"name": "restored", "namespace": "chat"}
    await cluster.apply(
        json.dumps({"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "metadata": named, "spec": spec})
    )

    async def ready() -> bool:
        return (await cluster.condition("Ready", "restored")).get("status") == "True"

    return await until(ready, "the restored chat answers", RESTORED_SECONDS)


@pytest.mark.soak
async def test_a_drill_restores_the_newest_backup_and_counts_every_message(cluster: Cluster, tmp_path: Path) -> None:
    admin, page = Admin(cluster, tmp_path), OPERATIONS / "backup.md"
    (block,) = commands(page, "Make backups")
    await admin.types(block)
    await _set_drill(admin, {"size": "1Gi"})
    try:
        await cluster.says("RestoreTested", "RestoreTested", RESTORED_SECONDS)
        async with Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
            await ledger.all_acknowledged(TALK_SECONDS)
            account = await ledger.finish()
        assert account.clean, account
        count = int(await cluster.psql(COUNT))
        await _all_archived(cluster)
        (block,) = commands(page, "Restore drills")
        said = await admin.types(block)
        (block,) = commands(page, "What there is")
        status = json.loads(await admin.types(block))
        assert status["lastDrillMessages"] == count, (said, status)
        assert "lastDrillError" not in status
        pods = await admin.types("kubectl get pods,pvc -n chat -l app.kubernetes.io/component=backup")
    finally:
        await _set_drill(admin, None)
    tell(f"a drill restored {count} messages in {status['lastDrillSeconds']} s, in:\n{pods}")


async def _set_drill(admin: Admin, drill: dict[str, str] | None) -> None:
    spec = json.dumps({"spec": {"database": {"backup": {"drill": drill}}}})
    await admin.types(f"kubectl patch cc demo -n chat --type=merge -p '{spec}'")


async def _all_archived(cluster: Cluster) -> None:
    last = (await cluster.psql("SELECT pg_walfile_name(pg_switch_wal() - 1)")).strip()

    async def is_archived() -> bool:
        return (await cluster.psql("SELECT last_archived_wal FROM pg_stat_archiver")).strip() >= last

    await until(is_archived, f"{last} is archived", RESTORED_SECONDS)


@pytest.mark.soak
async def test_a_chat_returns_to_a_second_of_its_own_past(cluster: Cluster, tmp_path: Path) -> None:
    """`DROP TABLE messages` in the running chat; the plugin restores it in place, undoes that, and does it again."""
    admin, page = Admin(cluster, tmp_path), OPERATIONS / "backup.md"
    (block,) = commands(page, "Make backups")
    await admin.types(block)
    await cluster.ready()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
    assert account.clean, account
    before, epochs = int(await cluster.psql(COUNT)), {(await cluster.psql(EPOCH)).strip()}
    await asyncio.sleep(2)
    target = dt.datetime.now(dt.UTC).replace(microsecond=0)
    await asyncio.sleep(2)
    await cluster.psql("DROP TABLE messages CASCADE")
    try:
        took = await _restore_in_place(admin, f"--to {_said(target)}")
        assert int(await cluster.psql(COUNT)) == before, "every message of before the second is there, and no other"
        epochs.add((await cluster.psql(EPOCH)).strip())
        # Users chat again; a second restore to the same second loses it, and its undoing returns to it.
        async with Ledger(cluster.url, tls=cluster.insecure, pairs=1) as ledger:
            await ledger.all_acknowledged(TALK_SECONDS)
            account = await ledger.finish()
        assert account.clean, account
        after = int(await cluster.psql(COUNT))
        assert after > before
        await cluster.says("BackedUp", "BackedUp", RESTORED_SECONDS)
        await _restore_in_place(admin, f"--to {_said(target)}")
        assert int(await cluster.psql(COUNT)) == before
        epochs.add((await cluster.psql(EPOCH)).strip())
        await _restore_in_place(admin, "--undo")
        assert int(await cluster.psql(COUNT)) == after
        epochs.add((await cluster.psql(EPOCH)).strip())
        assert len(epochs) == len(("before", "restored", "again", "undone")), "clients sync afresh each time"
        assert (await cluster.condition("DatabaseRestored"))["status"] == "True"
    finally:
        folders = "/var/lib/postgresql/data/pgdata.before-*"
        await cluster.kubectl(
            "exec", "-n", "chat", "demo-postgres-0", "-c", "postgres", "--", "sh", "-c", f"rm -rf {folders}"
        )
    tell(f"{before} messages restored in place after DROP TABLE: the chat was Ready after {took:.0f} s")


def _said(time: dt.datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


async def _restore_in_place(admin: Admin, what: str) -> float:
    """Restore `demo` by the plugin; returns the seconds until the command ended."""
    began = asyncio.get_running_loop().time()
    said = await admin.types(f"kubectl chatcluster restore demo -n chat {what} --yes --timeout {RESTORED_SECONDS}s")
    assert "restored" in said.splitlines()[-1], said
    return asyncio.get_running_loop().time() - began
