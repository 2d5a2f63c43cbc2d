"""Many ChatClusters on a real API server: each child is written once, and an idle operator asks next to nothing."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.cache import Cache
from chatoperator.controller import SWEEP_SECONDS, Controller
from chatoperator.manifests.metadata import KIND
from chatoperator.observed import Answer
from chatoperator.reconcile import Reconciler
from tests.support.chatclusters import SETTINGS, FakeProber
from tests.support.cluster import until
from tests.support.findings import tell

if TYPE_CHECKING:
    from chatoperator.kube import Kube
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("CHAT_SCALE_COUNT", "30"))
"""ChatClusters."""

PATIENCE_SECONDS = 120 + COUNT

IDLE_REQUESTS_MAX = 40
"""Within a sweep and a bit: a list of the ChatClusters, and each kind's watch begun anew; however many there are."""


async def test_each_child_is_written_once_and_an_idle_sweep_writes_nothing(
    server: ApiServer, kube: Kube, namespace: str, minimal: dict[str, Any]
) -> None:
    bodies = []
    for number in range(COUNT):
        made = copy.deepcopy(minimal)
        made["metadata"]["name"] = f"chat-{number:04}"
        bodies.append(made)
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    done = await asyncio.to_thread(server.run_kubectl, "create", "-f", "-", stdin=stdin)
    assert done.returncode == 0, done.stderr
    prober = FakeProber()
    prober.answer = Answer(ok=True, message="answered")
    settings = type(SETTINGS)(**{**SETTINGS.__dict__, "watch_namespace": namespace})
    reconciler = Reconciler(
        kube,
        Cache(kube, namespace, monotonic=time.monotonic),
        prober,  # type: ignore[arg-type]
        settings,
        monotonic=time.monotonic,
        now=lambda: dt.datetime.now(dt.UTC),
    )
    controller = Controller(reconciler, monotonic=time.monotonic, unix_time=time.time)
    earlier = len(server.audit())
    began = time.monotonic()
    controller.start()
    try:
        await until(lambda: _converged(kube, namespace), "all have converged", PATIENCE_SECONDS, poll_seconds=1)
        took = time.monotonic() - began
        await _quiet(server, namespace)
        writes = _writes(server, earlier, namespace)
        before = len(server.audit())
        await asyncio.sleep(SWEEP_SECONDS + 3)
        idle = [entry for entry in server.audit()[before:] if f"/namespaces/{namespace}/" in entry["requestURI"]]
    finally:
        await controller.stop()
    applied = [uri for verb, uri in writes if verb == "patch" and "/status" not in uri and "/events" not in uri]
    tell(
        f"{COUNT} ChatClusters converged in {took:.0f} s: {len(writes) / COUNT:.1f} writes each, "
        f"{len(applied) / COUNT:.1f} of them children; an idle sweep made {len(idle)} requests"
    )
    assert len(applied) == len(set(applied)), "each child is written once"
    assert _writes(server, before, namespace) == [], "an idle sweep writes nothing"
    assert len(idle) <= IDLE_REQUESTS_MAX


async def _converged(kube: Kube, namespace: str) -> bool:
    """Stands for the Job controller, and looks whether all children exist and every status is up to date."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"conditions": done, "succeeded": 1, "startTime": now, "completionTime": now}
    for job in await kube.list("Job", namespace):
        if not (job.get("status") or {}).get("conditions"):
            path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}/status"
            query, merge = {"fieldManager": "job-controller"}, "application/merge-patch+json"
            await kube._request("PATCH", path, query, body={"status": status}, content_type=merge)
    deployments = len(await kube.list("Deployment", namespace))
    live = await kube.list(KIND, namespace)
    told = [(one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"] for one in live]
    return len(told) == COUNT and all(told) and deployments == 2 * COUNT


def _writes(server: ApiServer, since: int, namespace: str) -> list[tuple[str, str]]:
    """(verb, URI) of what the operator wrote."""
    return [
        (entry["verb"], entry["requestURI"])
        for entry in server.audit()[since:]
        if entry["verb"] not in {"get", "list", "watch"}
        and f"/namespaces/{namespace}/" in entry["requestURI"]
        and "job-controller" not in entry["requestURI"]
        and entry["userAgent"].startswith("OpenAPI-Generator")
    ]


async def _quiet(server: ApiServer, namespace: str) -> None:
    """Wait until nothing was written for some seconds."""
    seen = -1
    while (count := len(_writes(server, 0, namespace))) != seen:
        seen = count
        await asyncio.sleep(4)
