"""The admin's pages on the real cluster: their commands are run as they stand there, and what they promise holds.

Run by `make soak`: releases come and go here, each of which replaces every pod.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatcluster_client import Problem
from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger, sign_in
from tests.support.nodes import Nodes
from tests.support.pages import OPERATIONS, Admin, commands
from tests.support.running import running, same

pytestmark = pytest.mark.soak

OPERATOR = "chatcluster-operator"
SYSTEM = "chatcluster-system"

TAKEN_OVER_SECONDS = 20
"""The standby reconciles within it after the leader was killed: the promise to the admin."""

TOLD_SECONDS = 120
SWEEPS_SECONDS = 35
"""Two sweeps and a bit, in which an operator with something to do would have done it."""

ROWS = """
SELECT table_name, md5(query_to_xml(
    format('SELECT to_jsonb(t) - ARRAY[''xact'', ''last_xact'', ''epoch''] AS r FROM %I t ORDER BY 1', table_name),
    false, false, '')::text)
FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'servers'
"""
"""A hash of each table but what servers say of themselves, without the columns that a restore changes on purpose."""


@pytest.fixture
def admin(cluster: Cluster, tmp_path: Path) -> Admin:
    return Admin(cluster, tmp_path)


async def test_uninstall_install_two_operators_upgrade_and_back(cluster: Cluster, admin: Admin, nodes: Nodes) -> None:
    uninstall, install = OPERATIONS / "uninstall.md", OPERATIONS / "install.md"
    upgrade, two = OPERATIONS / "upgrade.md", OPERATIONS / "high-availability.md"
    for tag in ("0.1.0", "0.2.0"):
        await nodes.publish("registry.example.com/chat/", tag)
    async with _as_it_was(cluster, admin), Ledger(cluster.url, tls=cluster.insecure) as ledger:
        await cluster.settled()
        before = await running(cluster)
        (remove, *_) = commands(uninstall, "The operator")
        await admin.types(remove)
        assert await cluster.get("crd", "chatclusters.chatcluster.io", namespace=""), "or every chat would go"
        assert await same(cluster, before), "chats go on without it"
        await ledger.all_acknowledged(TOLD_SECONDS)

        (put,) = commands(install, "The operator")
        await admin.types(put)
        await cluster.says("UpgradeAvailable", "NewerOperator", TOLD_SECONDS)
        await asyncio.sleep(SWEEPS_SECONDS)
        assert await same(cluster, before), "an operator upgrade touches no child and no pod"
        await _upgrade(cluster, "0.1.0")

        (double, look) = commands(two)
        await admin.types(double)
        await _standby_takes_over(cluster, await admin.types(look))

        newer, name_it = (commands(upgrade, part)[0] for part in ("1. The operator", "2. Each chat, when it suits you"))
        await cluster.settled()
        before = await running(cluster)
        await admin.types(newer)
        await asyncio.sleep(SWEEPS_SECONDS)
        assert await same(cluster, before), "an operator upgrade touches no child and no pod"
        began = time.monotonic()
        said = await admin.types(name_it)
        tell(f"upgrade.md, an upgrade of demo: {time.monotonic() - began:.0f} s, {said.splitlines()[-1]}")
        assert said.splitlines()[-1] == "0.2.0: Settled"
        assert {pod.image_tag for pod in (await running(cluster)).pods} == {"0.2.0"}
        assert not (await running(cluster)).pods & before.pods
        assert await _migrated_before_it_rolled(cluster)
        await cluster.patch({"version": "0.0.1"})
        await cluster.says("Progressing", "InvalidSpec", TOLD_SECONDS)
        assert "this operator can install only release 0.2.0" in (await cluster.condition("Progressing"))["message"]
        assert (await cluster.condition("Ready"))["status"] == "True"

        back, hold = commands(upgrade, "3. Roll back to the previous release")
        await admin.types(back)
        assert {pod.image_tag for pod in (await running(cluster)).pods} == {"0.1.0"}
        await admin.types(hold)
        await cluster.settled()
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


async def test_a_dump_brings_every_row_back_into_a_chat_made_anew(cluster: Cluster, admin: Admin) -> None:
    dump, restore = commands(OPERATIONS / "database.md", "Dump and restore")
    async with (
        await sign_in(cluster.url, tls=cluster.insecure) as ana,
        await sign_in(cluster.url, tls=cluster.insecure) as ben,
    ):
        for number in range(20):
            await ana.send(f"number {number}", client_id=str(uuid.uuid4()), to=ben.username)
        read, cursor = await ben.poll(None)
        await admin.types(dump)
        dumped = await _rows(cluster)
        await ana.send("after the dump", client_id=str(uuid.uuid4()), to=ben.username)
        await _made_anew(cluster)
        assert await _rows(cluster) != dumped
        began = time.monotonic()
        await admin.types(restore)
        tell(f"database.md, restored and Ready after {time.monotonic() - began:.0f} s")
        assert await _rows(cluster) == dumped
        with pytest.raises(Problem) as expired:
            await ben.poll(cursor)
        assert (expired.value.status, expired.value.code) == (httpx.codes.GONE, "cursor_expired")
        again, cursor = await ben.poll(None)
        assert [row["message_id"] for row in again] == [row["message_id"] for row in read]
        # And life goes on, with a cursor that is exact.
        sent = await ana.send("after the restore", client_id=str(uuid.uuid4()), to=ben.username)
        assert sent["seq"] == again[-1]["seq"] + 1
        rows, _ = await ben.poll(cursor)
        assert [row["message_id"] for row in rows] == [sent["message_id"]]


async def test_a_rotation_as_the_page_has_it(cluster: Cluster, admin: Admin) -> None:
    (rotate,) = commands(OPERATIONS / "database.md", "Passwords")
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        before = await cluster.get("secret", "demo-database")
        await admin.types(rotate)
        after = await cluster.get("secret", "demo-database")
        assert all(after["data"][key] != before["data"][key] for key in ("dsn", "password.chat_a", "password.chat_b"))
        await cluster.settled()
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


async def test_all_that_stayed_goes_by_one_command(cluster: Cluster, admin: Admin) -> None:
    remove, rest = commands(OPERATIONS / "uninstall.md", "A chat")
    await admin.types(remove)
    await until(lambda: _only(cluster, {"pvc", "secret"}), "what Retain keeps is all that is left", TOLD_SECONDS)
    stayed = {
        (one["kind"], one["metadata"]["name"])
        for kind in ("pvc", "secret")
        for one in await cluster.get(kind, selector="app.kubernetes.io/instance=demo")
    }
    assert stayed == {
        ("PersistentVolumeClaim", "demo-postgres-data"),
        ("Secret", "demo-database"),
        ("Secret", "demo-chatserver"),
    }
    await admin.types(rest)
    await until(lambda: _only(cluster, set()), "nothing is left", TOLD_SECONDS)
    for block in commands(OPERATIONS / "install.md", "A chat"):
        said = await admin.types(block)
    assert "demo" in said
    await cluster.ready()


@contextlib.asynccontextmanager
async def _as_it_was(cluster: Cluster, admin: Admin) -> AsyncIterator[None]:
    """Afterwards the operator and the chat are again what `make up` made."""
    values = json.loads(await admin.types(f"helm get values chatcluster -n {SYSTEM} -o json"))
    try:
        yield
    finally:
        tag = values["images"]["tag"]
        await admin.types(
            f"helm upgrade --install chatcluster charts/{OPERATOR} -n {SYSTEM} --reset-values "
            f"--set-string images.tag={tag} --wait --timeout=3m"
        )
        await cluster.patch({"chatserver": None})
        await _upgrade(cluster, tag)


async def _upgrade(cluster: Cluster, version: str) -> None:
    await cluster.patch({"version": version})
    await cluster.settled()
    assert (await cluster.get("chatcluster", "demo"))["status"]["version"] == version


async def _migrated_before_it_rolled(cluster: Cluster) -> bool:
    """Whether the one migration ended before the newest servers were wanted."""
    (job,) = await cluster.get("jobs", selector="app.kubernetes.io/instance=demo")
    sets = await cluster.get("replicasets", selector="app.kubernetes.io/component=chatserver")
    newest = max(one["metadata"]["creationTimestamp"] for one in sets)
    return bool(job["status"]["completionTime"] <= newest)


async def _standby_takes_over(cluster: Cluster, leases: str) -> None:
    """Kill the leader without warning and delete a child at once; the lines are `kubectl get lease`'s."""
    leader = next(line.split()[1] for line in leases.splitlines() if line.startswith(f"{OPERATOR} "))
    before = await cluster.get("service", "demo-chatserver")
    await cluster.kubectl("delete", "pod", leader, "-n", SYSTEM, "--force", "--grace-period=0")
    await cluster.kubectl("delete", "service", "demo-chatserver", "-n", "chat")

    async def back() -> bool:
        found = await cluster.get("service", "demo-chatserver")
        return bool(found) and found["metadata"]["uid"] != before["metadata"]["uid"]

    took = await until(back, "the standby has made the deleted child anew", TAKEN_OVER_SECONDS, poll_seconds=0.2)
    tell(f"high-availability.md: the leader killed, a child is made anew by the standby after {took:.1f} s")


async def _rows(cluster: Cluster) -> dict[str, str]:
    """By table a hash of all its rows."""
    printed = await cluster.psql(ROWS)
    return dict(line.split("|") for line in printed.splitlines())


async def _made_anew(cluster: Cluster) -> None:
    """Lose all: the ChatCluster with its volume, and make one of the same name."""
    await cluster.patch({"deletionPolicy": "Delete"})

    async def owned() -> bool:
        claim = await cluster.get("pvc", "demo-postgres-data")
        return bool(claim["metadata"].get("ownerReferences"))

    await until(owned, "the claim belongs to the ChatCluster", TOLD_SECONDS)
    await cluster.kubectl("delete", "chatcluster", "demo", "-n", "chat")
    await until(lambda: _only(cluster, set()), "nothing is left", TOLD_SECONDS)
    await cluster.kubectl("apply", "-f", "examples/minimal.yaml")
    await cluster.settled()
    await cluster.ready()


async def _only(cluster: Cluster, kinds: set[str]) -> bool:
    """Whether only such objects of `demo` are left."""
    every = {
        "pods",
        "deployment",
        "statefulset",
        "service",
        "configmap",
        "job",
        "networkpolicy",
        "pdb",
        "pvc",
        "secret",
    }
    left: list[Any] = []
    for kind in every - kinds:
        left += await cluster.get(kind, selector="app.kubernetes.io/instance=demo")
    stayed = {"demo-database", "demo-chatserver"} if "secret" in kinds else set()
    secrets = {
        one["metadata"]["name"] for one in await cluster.get("secret", selector="app.kubernetes.io/instance=demo")
    }
    return not left and secrets == stayed
