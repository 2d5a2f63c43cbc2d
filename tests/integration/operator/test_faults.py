"""The API server fails in every way there is: the operator goes on, and what it made once it never makes anew."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.metadata import KIND
from chatoperator.operate import EXIT_LEASE_LOST
from tests.support.apiproxy import ApiProxy, Fault, is_watch, is_write
from tests.support.apiserver import OPERATOR_TOKEN, OPERATOR_USER
from tests.support.cluster import until
from tests.support.findings import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer
    from tests.support.operator_processes import Operators, Process

PATIENCE_SECONDS = 90

WATCH_SECONDS, WATCH_GRACE_SECONDS, SWEEP_SECONDS, REQUEST_SECONDS = 2, 1, 2, 2
"""Shortened, as are a list's pages: what the operator gives up waiting for."""

CONSTANTS = {
    "kube.client": {
        "WATCH_SECONDS": WATCH_SECONDS,
        "WATCH_GRACE_SECONDS": WATCH_GRACE_SECONDS,
        "PAGE_OBJECTS": 2,
    },
    "kube.transport": {"REQUEST_TIMEOUT_SECONDS": REQUEST_SECONDS},
    "controller": {"SWEEP_SECONDS": SWEEP_SECONDS},
}

CHILDREN = {
    ("Secret", "chatserver"),
    ("Secret", "database"),
    ("Secret", "ingress-ca"),
    ("Secret", "ingress-tls"),
    ("PersistentVolumeClaim", "postgres-data"),
    ("StatefulSet", "postgres"),
    ("Service", "postgres"),
    ("Service", "chatserver"),
    ("Service", "ingress"),
    ("ConfigMap", "postgres"),
    ("ConfigMap", "ingress"),
    ("Deployment", "ingress"),
    ("NetworkPolicy", "postgres"),
}
"""What there is before the first migration, by kind and the end of the name; of each kind something."""


class Chat:
    """A ChatCluster whose operator reaches the API server through the proxy, and the test directly."""

    def __init__(self, kube: Kube, operators: Operators, proxy: ApiProxy, minimal: dict[str, Any]) -> None:
        self.kube = kube
        self.operators = operators
        self.proxy = proxy
        self.namespace = operators.namespace
        self._minimal = minimal
        self._secrets: dict[str, Any] = {}

    def operator(self) -> Process:
        way = self.proxy.kubeconfig(OPERATOR_TOKEN, OPERATOR_USER)
        return self.operators.start("operator-a", way, CHAT_TEST_CONSTANTS=json.dumps(CONSTANTS), CHAT_TEST_ANSWERS="1")

    async def create(self, name: str = "demo") -> None:
        made = {**self._minimal, "metadata": {"name": name, "namespace": self.namespace}}
        await asyncio.to_thread(self.operators.admin.create, made)

    async def whole(self, name: str = "demo") -> float:
        """Wait until all children are there and status speaks of the present spec."""

        async def there() -> bool:
            await self.check_secrets()
            live = await self.kube.get(KIND, self.namespace, name)
            if live is None or (live.get("status") or {}).get("observedGeneration") != live["metadata"]["generation"]:
                return False
            found = [await self.kube.get(kind, self.namespace, f"{name}-{end}") for kind, end in CHILDREN]
            return None not in found

        return await until(there, f"{name} is whole", PATIENCE_SECONDS, poll_seconds=0.2)

    async def delete(self, kind: str, name: str) -> None:
        live = await self.kube.get(kind, self.namespace, name)
        assert live is not None
        await self.kube.delete(kind, live)

    async def grow(self, replicas: int) -> None:
        """Change the spec."""
        grown = {"spec": {"ingress": {"replicas": replicas}}}
        await asyncio.to_thread(self.operators.admin.patch, "cc", "demo", grown)

    async def grown(self, replicas: int) -> float:
        async def there() -> bool:
            live = await self.kube.get("Deployment", self.namespace, "demo-ingress")
            return live is not None and bool(live["spec"]["replicas"] == replicas)

        return await until(there, "the changed spec has arrived", PATIENCE_SECONDS, poll_seconds=0.1)

    async def check_secrets(self) -> None:
        """What is in a Secret stays in it."""
        for secret in await self.kube.list("Secret", self.namespace):
            name = secret["metadata"]["name"]
            assert self._secrets.setdefault(name, secret["data"]) == secret["data"], f"{name} was made anew"

    async def settled(self, process: Process) -> None:
        """Status tells of no failure any more, nothing is written without a reason, and the operator is healthy.

        One whose Lease this machine was too busy to renew stops, as it must, and is started anew, as kubelet would.
        """
        await self._settled()
        if process.exit_code == EXIT_LEASE_LOST:
            process = self.operator()
            await self.operators.leads(process)
            await self._settled()
        assert process.runs, process.log.read_text()[-3000:]
        assert process.health()[0] == 200

    async def _settled(self) -> None:

        async def told() -> bool:
            live = await self.kube.get(KIND, self.namespace, "demo")
            conditions = {c["type"]: c for c in ((live or {}).get("status") or {}).get("conditions", [])}
            # No controller runs here, and so no migration.
            return bool(conditions.get("Progressing", {}).get("reason") == "Migrating")

        await until(told, "status tells of no failure", PATIENCE_SECONDS, poll_seconds=0.2)

        async def quiet() -> bool:
            before = self._writes()
            await asyncio.sleep(SWEEP_SECONDS + 1)
            return self._writes() == before

        await until(quiet, "nothing is written any more", PATIENCE_SECONDS, poll_seconds=0)
        await self.check_secrets()

    def _writes(self) -> int:
        return sum(
            1
            for entry in self.operators.server.audit(f"/namespaces/{self.namespace}/")
            if entry["user"].get("username") == OPERATOR_USER
            and f"/namespaces/{self.namespace}/" in entry["requestURI"]
            and entry["verb"] not in {"get", "list", "watch"}
            and "/leases" not in entry["requestURI"]
        )


@pytest.fixture
async def proxy(server: ApiServer) -> AsyncIterator[ApiProxy]:
    async with ApiProxy(server) as made:
        yield made


@pytest.fixture
def chat(kube: Kube, operators: Operators, proxy: ApiProxy, minimal: dict[str, Any]) -> Chat:
    return Chat(kube, operators, proxy, minimal)


def _some(share: float, meets: Callable[[web.Request], bool]) -> Callable[[web.Request], bool]:
    """Some of the requests that are meant, the same ones in each run."""
    chance = random.Random(1)  # noqa: S311 - no secret
    return lambda request: meets(request) and chance.random() < share


def _is_watch_of_children(request: web.Request) -> bool:
    return is_watch(request) and "/chatclusters" not in request.path


def _is_read(request: web.Request) -> bool:
    return request.method == "GET" and not is_watch(request) and "/leases" not in request.path


@pytest.mark.integration
async def test_refusals_and_lost_answers_make_nothing_anew(chat: Chat) -> None:
    # So many of each that its bring-up is bound to meet them, and so few that it gets through.
    faults = [
        Fault(_some(0.3, is_write), lost=True, left=2),
        Fault(_some(0.3, is_write), status=500, left=2),
        Fault(_some(0.3, is_write), status=429, headers={"Retry-After": "1"}, left=2),
        Fault(_some(0.3, is_write), status=409, left=2),
        Fault(_some(0.3, is_write), status=503, left=2),
        Fault(_some(0.2, _is_read), status=500, left=3),
        Fault(_some(0.2, is_watch), status=500, left=4),
    ]
    chat.proxy.faults.extend(faults)
    process = chat.operator()
    await chat.create()
    took = await chat.whole()
    assert all(fault.met for fault in faults), faults
    chat.proxy.faults.clear()
    await chat.settled(process)
    met = sum(fault.met for fault in faults)
    tell(f"a bring-up in which {met} requests failed, in seven ways, took {took:.0f} s: each Secret was made once")


@pytest.mark.integration
async def test_watches_that_expire_or_fall_silent_are_begun_anew(chat: Chat) -> None:
    process = chat.operator()
    await chat.create()
    await chat.whole()
    expired = chat.proxy.expire_watches()
    # The next ones too, and lists in the middle of their pages.
    with (
        chat.proxy.fault(Fault(_is_watch_of_children, status=410, left=expired)) as watches,
        chat.proxy.fault(Fault(lambda request: "continue" in request.query, status=410, left=3)) as pages,
    ):
        await chat.delete("Service", "demo-chatserver")
        listed_anew = await chat.whole()
        assert watches.met
        assert pages.met

    async def watching() -> bool:
        return chat.proxy.watches > len({kind for kind, _ in CHILDREN})

    await until(watching, "all watches are open again, that of the ChatClusters among them", PATIENCE_SECONDS)
    chat.proxy.freeze_watches()
    await chat.delete("Service", "demo-chatserver")
    await chat.grow(3)
    changed = await chat.grown(3)
    back = await chat.whole()
    await chat.settled(process)
    tell(
        f"all watches expired: a deleted child was back after {listed_anew:.1f} s; all cut without a word, with waits "
        f"of {WATCH_SECONDS + WATCH_GRACE_SECONDS} s and sweeps of {SWEEP_SECONDS} s: a changed spec arrived after "
        f"{changed:.1f} s, a deleted child was back {back:.1f} s later"
    )


@pytest.mark.soak
async def test_a_slow_api_server_and_one_that_never_answers_hold_up_nobody_else(chat: Chat) -> None:
    process = chat.operator()
    never = Fault(lambda request: is_write(request) and "/hung-" in request.path, seconds=3600, left=2)
    slow = Fault(lambda request: not is_watch(request), seconds=0.1)
    with chat.proxy.fault(never), chat.proxy.fault(slow):
        await chat.create("hung")
        await chat.create("demo")
        took = await chat.whole("demo")
        await chat.whole("hung")
        assert never.met == 2
    await chat.settled(process)
    tell(f"each request took 0.1 s longer: a bring-up took {took:.1f} s, while another one's requests hung")


@pytest.mark.integration
async def test_an_api_server_that_was_away_is_caught_up_with(chat: Chat) -> None:
    process = chat.operator()
    await chat.create()
    await chat.whole()

    await chat.proxy.go_away()
    await chat.proxy.come_back()
    await chat.delete("Service", "demo-chatserver")
    cut = await chat.whole()
    assert process.runs, "it has not lost its Lease"

    await chat.proxy.go_away()
    await chat.delete("Service", "demo-chatserver")
    await chat.grow(3)
    assert await process.ended() == EXIT_LEASE_LOST, "without the API server nobody knows who leads"
    again = chat.operator()
    await asyncio.sleep(3)
    assert again.runs, "it waits for the API server"
    await chat.proxy.come_back()
    away = max(await chat.grown(3), await chat.whole())
    await chat.settled(again)
    tell(
        f"all connections to the API server cut: a deleted child was back after {cut:.1f} s; the API server away for "
        f"longer than a Lease lasts: {away:.1f} s after it had come back all was as it should be"
    )
