"""Backups of `demo` as docs/operations/backup.md makes them, and another chat that is restored from them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING

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
