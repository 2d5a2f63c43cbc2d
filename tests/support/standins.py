"""What stands for Kubernetes' own controllers where those would only cost time."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

from chatoperator.errors import KubeError
from chatoperator.kube.kinds import path_of
from chatoperator.metadata import MANAGED_SELECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest


async def count(kube: Kube, kind: str, namespace: str) -> int:
    """How many objects of a kind there are, without reading them."""
    listed = await kube._request("GET", path_of(kind, namespace), {"limit": "1"})
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount") or 0)


async def create(kube: Kube, manifest: Manifest) -> None:
    """Create an object as somebody else than the operator."""
    path = path_of(manifest["kind"], manifest["metadata"]["namespace"])
    await kube._request("POST", path, {"fieldManager": "admin"}, body=manifest)


async def clear(kube: Kube, kind: str, namespace: str) -> None:
    """Delete all objects of a kind."""
    await kube._request("DELETE", path_of(kind, namespace))


async def complete_jobs(kube: Kube, namespace: str) -> None:
    """Stand for the Job controller until cancelled: every Job of a ChatCluster succeeds at once."""
    await _for_each(kube, "Job", namespace, _complete)


async def bind_pods(kube: Kube, namespace: str, node: str) -> None:
    """Stand for the scheduler until cancelled: every pod of a ChatCluster runs on one node, whatever it asks for."""

    async def bind(kube: Kube, namespace: str, name: str) -> None:
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"name": node}}
        await kube._request("POST", f"{path_of('Pod', namespace, name)}/binding", body=binding)

    await _for_each(kube, "Pod", namespace, bind)


async def _for_each(
    kube: Kube, kind: str, namespace: str, work: Callable[[Kube, str, str], Coroutine[None, None, None]]
) -> None:
    """Do something once for each object of a kind that a ChatCluster has or will have, several at a time."""
    begun: set[str] = set()
    version = ""
    async with asyncio.TaskGroup() as tasks:

        def begin(found: Manifest) -> None:
            name = found["metadata"]["name"]
            if name not in begun:
                begun.add(name)
                tasks.create_task(work(kube, namespace, name))

        while True:
            try:
                if not version:
                    async for page, version in kube.pages(kind, namespace, MANAGED_SELECTOR):  # noqa: B007 - the last
                        for found in page:
                            begin(found)
                async for news, found in kube.watch(kind, namespace, MANAGED_SELECTOR, version):
                    version = found["metadata"]["resourceVersion"]
                    if news == "ADDED":
                        begin(found)
            except KubeError:
                version = ""
                await asyncio.sleep(1)


async def _complete(kube: Kube, namespace: str, name: str) -> None:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"conditions": conditions, "succeeded": 1, "startTime": now, "completionTime": now}
    path, query = f"{path_of('Job', namespace, name)}/status", {"fieldManager": "job-controller"}
    await kube._request("PATCH", path, query, body={"status": status}, content_type="application/merge-patch+json")
