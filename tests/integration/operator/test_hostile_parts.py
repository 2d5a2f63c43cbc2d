"""Chats whose parts answer with anything, beside healthy ones: each is reported, and the healthy ones are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.kube.kinds import path_of
from chatoperator.metadata import KIND, labels
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.hostile import BODIES, COUNTED, REPORT, TRANSPORTS, Hostile, once, server_tls, whole
from tests.support.operators import pod_owner
from tests.support.standins import complete_jobs, create

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Part
    from tests.support.operator_processes import Operators

PATIENCE_SECONDS = 90

GROWTH_MAX_MIB = 60
"""Of the process with all hostile chats, above what it has with the healthy one."""

BAD = {
    "nothing": TRANSPORTS["nothing"],
    "no-http": TRANSPORTS["no HTTP"],
    "headers": TRANSPORTS["endless headers"],
    "interim": TRANSPORTS["endless interim answers"],
    "body": TRANSPORTS["an endless body"],
    "bytes": TRANSPORTS["endless chunks of a byte"],
    "line": TRANSPORTS["an endless line that counts"],
    "packed": TRANSPORTS["a packed bomb"],
    "redirect": TRANSPORTS["a redirect to itself"],
    "deep": once(whole(BODIES["deeper JSON"])),
    "types": once(whole(BODIES["wrong types"])),
    "trickle": once(whole(COUNTED + "# more\n" * 1000)),
}

SOME = ("nothing", "headers", "interim", "bytes", "deep", "trickle")
"""Those of different kinds."""

UNANSWERED = {"nothing", "no-http", "headers", "interim", "redirect"}
"""Of those whose answer does not even begin like a good one."""

GOOD = once(whole(COUNTED, "Content-Type: text/plain"))


class Parts:
    """The servers that stand for chats' parts: for each chat an address with metrics, an agent and an ingress."""

    def __init__(self, stack: contextlib.AsyncExitStack, tls: ssl.SSLContext) -> None:
        self._stack, self._tls = stack, tls
        self.addresses: dict[str, str] = {}
        self.ports = {"metrics": 0, "agent": 0, "ingress": 0}

    async def add(self, name: str) -> None:
        address = self.addresses[name] = f"127.0.7.{len(self.addresses) + 1}"
        answers = {"metrics": BAD.get(name, GOOD), "ingress": BAD.get(name, GOOD)}
        answers["agent"] = BAD.get(name, once(whole(REPORT)))
        for what, answer in answers.items():
            tls = self._tls if what == "ingress" else None
            server = Hostile(answer, host=address, port=self.ports[what], tls=tls, slowly=name == "trickle")
            self.ports[what] = (await self._stack.enter_async_context(server)).port

    def environment(self) -> dict[str, str]:
        """What leads an operator process there."""
        constants = {"probes.prober": {"METRICS_PORT": self.ports["metrics"], "AGENT_PORT": self.ports["agent"]}}
        ingresses = {name: (address, self.ports["ingress"]) for name, address in self.addresses.items()}
        return {"CHAT_TEST_CONSTANTS": json.dumps(constants), "CHAT_TEST_INGRESSES": json.dumps(ingresses)}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with contextlib.AsyncExitStack() as stack:
        made = Parts(stack, server_tls(tmp_path))
        for name in ("good", *BAD):
            await made.add(name)
        yield made


async def _run_pods(kube: Kube, namespace: str, name: str, address: str) -> None:
    """Stand for Kubernetes: a pod of the servers and one of the database, both at one address."""
    wanted: dict[Part, tuple[str, str]] = {
        "chatserver": ("Deployment", f"{name}-chatserver"),
        "postgres": ("StatefulSet", f"{name}-postgres"),
    }
    for part, (kind, workload) in wanted.items():

        async def made(kind: str = kind, workload: str = workload) -> Any:
            return await kube.get(kind, namespace, workload)

        await until(made, f"{workload} is made", PATIENCE_SECONDS, poll_seconds=0.3)
        live = await made()
        pod = f"{workload}-0"
        metadata = {"name": pod, "namespace": namespace, "labels": labels(name, part)}
        spec = live["spec"]["template"]["spec"]
        owner = {"ownerReferences": [pod_owner({"apiVersion": "apps/v1", "kind": kind, **live})]}
        await create(kube, {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, **owner}, "spec": spec})
        container = {"name": part, "started": True, "ready": True, "restartCount": 0, "image": "x:1", "imageID": ""}
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{**container, "state": {"running": {}}}],
        }
        await kube._request(
            "PATCH",
            path_of("Pod", namespace, pod) + "/status",
            body={"status": status},
            content_type="application/merge-patch+json",
        )


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(SOME, id="some", marks=pytest.mark.integration),
        pytest.param(tuple(BAD), id="all", marks=pytest.mark.soak),
    ],
)
async def test_chats_whose_parts_answer_with_anything_are_reported_and_hold_up_no_other(
    kube: Kube, operators: Operators, minimal: dict[str, Any], parts: Parts, bad: tuple[str, ...]
) -> None:
    namespace = operators.namespace
    jobs = asyncio.create_task(complete_jobs(kube, namespace))
    process = operators.start("operator-a", None, **parts.environment())

    async def begun(name: str) -> None:
        await create(kube, {**minimal, "metadata": {"name": name, "namespace": namespace}})
        await _run_pods(kube, namespace, name, parts.addresses[name])

    async def status(name: str) -> dict[str, Any]:
        return (await kube.get(KIND, namespace, name) or {}).get("status") or {}

    async def condition(name: str, kind: str) -> tuple[str, str]:
        found = {one["type"]: one for one in (await status(name)).get("conditions", [])}
        return found.get(kind, {}).get("status", ""), found.get(kind, {}).get("message", "")

    async def serves(name: str) -> bool:
        return (await condition(name, "Ready"))[0] == "True" and (await status(name)).get("connections") == 42

    try:
        await begun("good")
        await until(lambda: serves("good"), "the healthy one is served", PATIENCE_SECONDS, poll_seconds=0.3)
        quiet = process.peak_mib()
        await asyncio.gather(*map(begun, bad))
        for name in bad:

            async def reported(name: str = name) -> bool:
                blind = (await condition(name, "ScalingActive"))[0] == "False"
                return blind and (name not in UNANSWERED or (await condition(name, "Ready"))[0] == "False")

            await until(reported, f"{name} is reported", PATIENCE_SECONDS, poll_seconds=0.3)
            assert all(
                len(words) <= 1024 for words in (await condition(name, "Ready"), await condition(name, "DatabaseReady"))
            )
        await operators.comes_back("good-ingress")
        await until(lambda: serves("good"), "the healthy one is still served", PATIENCE_SECONDS, poll_seconds=0.3)
    finally:
        jobs.cancel()
    assert process.runs
    assert process.health()[0] == 200
    assert process.peak_mib() < quiet + GROWTH_MAX_MIB
    tell(f"{len(bad)} chats with hostile parts: {process.peak_mib():.0f} MiB at the most, {quiet:.0f} before them")
