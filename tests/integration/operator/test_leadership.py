"""Two operator processes and a Lease on a real API server: one reconciles, the other takes over."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatoperator.kube.lease import LEASE_SECONDS
from tests.support.apiserver import OPERATOR_USER
from tests.support.chart import render
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.operator_processes import LEASE, PATIENCE_SECONDS

if TYPE_CHECKING:
    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer
    from tests.support.operator_processes import Operators

pytestmark = pytest.mark.integration

TAKEN_OVER_SECONDS = 25
"""The standby reconciles within it after the leader was killed: the promise to the admin."""


async def test_a_standby_lives_and_goes_on_when_the_leader_is_killed(
    operators: Operators, minimal: dict[str, Any]
) -> None:
    first = operators.start("operator-a")
    await operators.leads(first)
    second = operators.start("operator-b")
    await operators.stands_by(second)
    operators.admin.create(minimal)

    async def made() -> bool:
        return await asyncio.to_thread(operators.admin.find, "Service", "demo-ingress") is not None

    await until(made, "the leader has made the children", PATIENCE_SECONDS, poll_seconds=0.2)
    assert first.health()[1].startswith("the last sweep was")
    status, words = second.health()
    assert (status, words) == (200, "standing by"), "a standby is live however long it waits"
    named = f'namespace="{operators.namespace}"'
    assert (named in first.metrics(), named in second.metrics()) == (True, False), "only the leader exports chats"

    first.send(signal.SIGKILL)
    killed = await operators.comes_back("demo-chatserver")
    assert await operators.holder() == second.name
    tell(f"the leading operator killed with -9: the standby reconciled after {killed:.1f} s")
    assert killed < TAKEN_OVER_SECONDS

    third = operators.start("operator-c")
    await operators.stands_by(third)
    second.send(signal.SIGTERM)
    stopped = await operators.leads(third)
    assert await second.ended() == 0
    await operators.comes_back("demo-chatserver")
    tell(f"the leading operator told to stop: the standby led after {stopped:.1f} s")
    _the_rights_to_leases_are_used(operators.server, operators.namespace)
    refused = [
        entry["requestURI"]
        for entry in operators.server.audit(f"/namespaces/{operators.namespace}/")
        if entry["user"].get("username") == OPERATOR_USER
        and f"/namespaces/{operators.namespace}/" in entry["requestURI"]
        and entry["responseStatus"]["code"] == httpx.codes.FORBIDDEN
    ]
    assert refused == []


def _the_rights_to_leases_are_used(server: ApiServer, namespace: str) -> None:
    """The rights to Leases that the processes used are those that the chart gives."""
    used = {
        entry["verb"]
        for entry in server.audit(f"/namespaces/{namespace}/leases")
        if entry["user"].get("username") == OPERATOR_USER
        and entry.get("objectRef", {}).get("resource") == "leases"
        and entry["objectRef"].get("namespace") == namespace
    }
    (role,) = [
        document
        for document in render(namespace=namespace)
        if document["kind"] == "Role" and document["metadata"]["name"].endswith("-lease")
    ]
    assert used == {verb for rule in role["rules"] for verb in rule["verbs"]}


async def test_a_leader_that_lost_its_lease_ends(operators: Operators) -> None:
    leader = operators.start("operator-a")
    await operators.leads(leader)
    await operators.kubectl(
        "patch", "lease", LEASE, "--type=merge", "-p",
        '{"spec":{"holderIdentity":"somebody-else","leaseDurationSeconds":3600}}',
    )  # fmt: skip
    assert await leader.ended() == 3
    assert leader.says("lost the lease")


async def test_a_standby_hears_that_it_should_stop(operators: Operators) -> None:
    leader = operators.start("operator-a")
    await operators.leads(leader)
    standby = operators.start("operator-b")
    await operators.stands_by(standby)
    standby.send(signal.SIGTERM)
    assert await standby.ended() == 0
    assert await operators.holder() == leader.name


async def test_a_process_started_anew_in_the_same_pod_need_not_wait(operators: Operators) -> None:
    first = operators.start("operator-a")
    await operators.leads(first)
    first.send(signal.SIGKILL)
    await first.ended()
    # To whoever waits until it runs out, this Lease never does.
    renewing = asyncio.create_task(_renew(operators))
    again = operators.start("operator-a")
    try:
        tell(f"the operator's container restarted: it led again after {await operators.leads(again):.1f} s")
        other = operators.start("operator-b")
        await operators.stands_by(other)
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew(operators: Operators) -> None:
    while True:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        renewed = {"spec": {"renewTime": now, "holderIdentity": "operator-a"}}
        await asyncio.to_thread(operators.admin.patch, "lease", LEASE, renewed)
        await asyncio.sleep(0.2)


async def test_a_clock_that_jumps_ends_no_lease_early_or_late(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, standby = (kube.lease(namespace, LEASE, name) for name in ("operator-a", "operator-b"))
    # It dies at once: nobody renews the Lease.
    await leader.acquire()
    right, began = time.time, time.monotonic()
    waiting = asyncio.create_task(standby.acquire())
    try:
        for hours in (1, -2):
            # It looks at the Lease every 2 s.
            await asyncio.sleep(2.5)
            monkeypatch.setattr(time, "time", lambda hours=hours: right() + 3600 * hours)
        await asyncio.sleep(1)
        assert waiting.done() == (time.monotonic() - began >= LEASE_SECONDS), "too early"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert time.monotonic() - began >= LEASE_SECONDS - 1
