"""Many ChatClusters on a real API server: each child is written once, and an idle operator asks next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.controller import PULSE_SECONDS, SWEEP_SECONDS
from chatoperator.metadata import KIND
from chatoperator.reconcile.rejections import REASON
from tests.support import kwok
from tests.support.apiserver import OPERATOR_USER
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.processes import Usage
from tests.support.standins import bind_pods, clear, complete_jobs, count, create

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from chatoperator.kube.client import Kube
    from tests.support.operator_processes import Operators

SMOKE_COUNT = 6
SOAK_COUNT = int(os.environ.get("CHAT_SCALE_COUNT", "1000"))
"""ChatClusters."""

CHILDREN_EACH = 21
"""Of a ChatCluster like `minimal`, its migrate Job and NetworkPolicies among them."""

WRITES_EACH_MAX = 30
"""Of a bring-up: the children, and what tells of its steps."""

MEMORY_MAX_MIB = 300

READS = frozenset({"get", "list", "watch"})

CONTROLLERS = ("deployment-controller", "replicaset-controller", "statefulset-controller", "job-controller")
CONTROLLERS_OPTIONS = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""Else they would be what is waited for."""

IDLE_REQUESTS_MAX = 40
"""Within a sweep and a bit: a list of the ChatClusters, and each kind's watch begun anew; however many there are."""

IDLE_SECONDS = SWEEP_SECONDS + 3
"""How long it is watched at rest."""

LOOKS_EACH_MAX = 1 + IDLE_SECONDS // PULSE_SECONDS
"""Lists of Events about a StatefulSet that has no pod and was made within the last minute: a sweep's, and a pulse's."""


@dataclass(frozen=True)
class Run:
    """What a bring-up of many took.

    Attributes:
        seconds: From the operator's first line until all had converged.
        writes: (verb, URI) of all that it wrote.
        idle: (verb, URI) of all that it asked for in one sweep and a bit after it had come to rest.
        usage: Of the operator.
    """

    seconds: float
    writes: list[tuple[str, str]]
    idle: list[tuple[str, str]]
    usage: Usage

    @property
    def idle_writes(self) -> list[tuple[str, str]]:
        """Those of `idle` that were meant to change something."""
        return [(verb, uri) for verb, uri in self.idle if verb not in READS]


@pytest.mark.integration
async def test_each_child_is_written_once_and_an_idle_sweep_writes_nothing(
    kube: Kube, operators: Operators, minimal: dict[str, Any]
) -> None:
    stand_in = complete_jobs(kube, operators.namespace)
    _check(await _bring_up(kube, operators, minimal, SMOKE_COUNT, stand_in), SMOKE_COUNT)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_thousand_converge_and_then_nothing_is_written(
    kube: Kube, operators: Operators, minimal: dict[str, Any]
) -> None:
    made = await _bring_up(kube, operators, minimal, SOAK_COUNT, complete_jobs(kube, operators.namespace))
    _check(made, SOAK_COUNT)
    assert made.usage.peak_mib < MEMORY_MAX_MIB


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_with_their_pods_become_ready(
    kube: Kube, operators: Operators, minimal: dict[str, Any]
) -> None:
    """Kubernetes' own controllers make the pods, and kwok's node says that they run."""
    server = operators.server
    with kwok.node(server), server.controllers(*CONTROLLERS, options=CONTROLLERS_OPTIONS) as controllers:
        stand_in = bind_pods(kube, operators.namespace, kwok.NODE)
        made = await _bring_up(kube, operators, minimal, SOAK_COUNT, stand_in, ready=True)
        tell(f"kube-controller-manager: {Usage.of(controllers)}")
    _tell(made, SOAK_COUNT)
    assert made.idle_writes == [], "an idle sweep writes nothing"
    assert made.usage.peak_mib < MEMORY_MAX_MIB


def _check(run: Run, count: int) -> None:
    _tell(run, count)
    applied = [uri for verb, uri in run.writes if verb == "patch" and "/status" not in uri and "/events" not in uri]
    assert len(applied) == len(set(applied)) == CHILDREN_EACH * count, "each child is written once"
    assert len(run.writes) <= WRITES_EACH_MAX * count
    assert run.idle_writes == [], "an idle sweep writes nothing"
    # No controller makes pods here, so the operator looks why there are none.
    looks = Counter(uri for _, uri in run.idle if REASON in uri)
    assert max(looks.values(), default=0) <= LOOKS_EACH_MAX
    assert len(run.idle) - looks.total() <= IDLE_REQUESTS_MAX


def _tell(run: Run, count: int) -> None:
    kinds = Counter("status" if "/status" in uri else "Event" if "/events" in uri else "child" for _, uri in run.writes)
    tell(
        f"{count} ChatClusters converged in {run.seconds:.0f} s: {len(run.writes) / count:.1f} writes each "
        f"({', '.join(f'{number / count:.1f} {kind}' for kind, number in sorted(kinds.items()))}); "
        f"an idle sweep made {len(run.idle)} requests; the operator took {run.usage}"
    )


async def _bring_up(
    kube: Kube,
    operators: Operators,
    minimal: dict[str, Any],
    wanted: int,
    stand_in: Coroutine[None, None, None],
    *,
    ready: bool = False,
) -> Run:
    """Create ChatClusters, then start an operator and wait until all children exist and every status is up to date.

    Args:
        kube: The API server.
        operators: None of them runs yet.
        minimal: A ChatCluster like which all are.
        wanted: How many.
        stand_in: What stands for others, until all is done.
        ready: Wait until all are Ready and settled, too.
    """
    bodies = []
    for number in range(wanted):
        made = copy.deepcopy(minimal)
        made["metadata"]["name"] = f"chat-{number:04}"
        bodies.append(made)
    await asyncio.gather(*(create(kube, body) for body in bodies))
    server = operators.server
    offset = server.audit_end()
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1")
    others = asyncio.create_task(stand_in)
    try:
        await operators.leads(process)
        began = time.monotonic()
        await until(
            lambda: _converged(kube, operators.namespace, wanted, ready=ready),
            "all have converged",
            120 + 2 * wanted,
            poll_seconds=1,
        )
        seconds = time.monotonic() - began
        usage = Usage.of(process.pid)
        offset, writes = await _quiet(operators, offset)
        await asyncio.sleep(IDLE_SECONDS)
        idle = _asked(operators, offset)[1]
    finally:
        others.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await others
        # One by one takes kubectl longer than it may.
        await clear(kube, KIND, operators.namespace)
    assert process.runs
    for name, pid in server.pids.items():
        tell(f"{name}: {Usage.of(pid)}")
    return Run(seconds, writes, idle, usage)


async def _converged(kube: Kube, namespace: str, wanted: int, *, ready: bool) -> bool:
    if await count(kube, "Deployment", namespace) < 2 * wanted:
        return False
    live = await kube.list(KIND, namespace)
    statuses = [one.get("status") or {} for one in live]
    told = [
        status.get("observedGeneration") == one["metadata"]["generation"]
        for one, status in zip(live, statuses, strict=True)
    ]
    held = [{c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])} for status in statuses]
    return all(told) and not (
        ready and any(one["Ready"][0] != "True" or one["Progressing"] != ("False", "Settled") for one in held)
    )


def _asked(operators: Operators, offset: int) -> tuple[int, list[tuple[str, str]]]:
    """(verb, URI) of what the operator asked for since an offset in the audit log, but for its Lease; the next one."""
    entries, offset = operators.server.audit_from(offset, f"/namespaces/{operators.namespace}/")
    return offset, [
        (entry["verb"], entry["requestURI"])
        for entry in entries
        if entry["user"].get("username") == OPERATOR_USER
        and f"/namespaces/{operators.namespace}/" in entry["requestURI"]
        and "/leases" not in entry["requestURI"]
    ]


async def _quiet(operators: Operators, offset: int) -> tuple[int, list[tuple[str, str]]]:
    """Wait until nothing was written for some seconds; all writes until then."""
    writes: list[tuple[str, str]] = []
    while True:
        offset, asked = _asked(operators, offset)
        new = [request for request in asked if request[0] not in READS]
        if writes and not new:
            return offset, writes
        writes += new
        await asyncio.sleep(4)
