"""Many ChatClusters of one namespace, reconciled side by side: a table of cases for the price of one."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from typing import TYPE_CHECKING, Any

from chatoperator.errors import KubeError
from chatoperator.kube.cache import Cache
from chatoperator.kube.kinds import path_of
from chatoperator.metadata import KIND, backup_claim_name, claim_name
from chatoperator.reconcile import Reconciler
from chatoperator.reconcile.context import Context
from tests.support.chatclusters import SETTINGS, FakeProber
from tests.support.standins import _complete, create

if TYPE_CHECKING:
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, ObjectKey

SECONDS = 15


class Many:
    """A reconciler, and what an admin does to its ChatClusters.

    Args:
        kube: What the admin and the test use.
        own: What the reconciler works with.
        namespace: Of all of them.
    """

    def __init__(self, kube: Kube, own: Kube, namespace: str) -> None:
        self.kube = kube
        self.own = own
        self.namespace = namespace
        self.prober = FakeProber()
        self.seconds = 0.0
        self.restart()

    def restart(self) -> None:
        """What a new operator process knows: nothing."""
        self.cache = Cache(self.own, [self.namespace], monotonic=lambda: self.seconds)
        self.reconciler = Reconciler(
            Context(
                self.own,
                self.cache,
                self.prober,  # type: ignore[arg-type]
                SETTINGS,
                monotonic=lambda: self.seconds,
                now=lambda: dt.datetime.now(dt.UTC),
            )
        )

    async def reconcile(self, *names: str, times: int = 1) -> dict[str, BaseException | None]:
        """Reconcile these with a cache that has just been filled; what each raised the last time."""
        raised: list[BaseException | None] = []
        for _ in range(times):
            self.seconds += SECONDS
            await self.cache.refill()
            runs = (self.reconciler.reconcile((self.namespace, name)) for name in names)
            raised = await asyncio.gather(*runs, return_exceptions=True)
        for error in raised:
            assert error is None or isinstance(error, KubeError), error
        return dict(zip(names, raised, strict=True))

    async def create(self, name: str, **spec: Any) -> None:
        """A ChatCluster with `spec` laid over the least that is valid."""
        whole = {"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}}, **spec}
        body = {"apiVersion": "chatcluster.io/v1alpha1", "kind": KIND, "spec": whole}
        await self.make({**body, "metadata": {"name": name}})

    async def make(self, manifest: Manifest) -> Manifest:
        """Create an object as somebody else, and return it."""
        metadata = {**manifest["metadata"], "namespace": self.namespace}
        await create(self.kube, {**manifest, "metadata": metadata})
        return await self.get(manifest["kind"], metadata["name"])

    async def brought_up(self, *names: str) -> None:
        """Reconcile until all children are there, with volumes that are bound."""
        await self.reconcile(*names)
        jobs = await self.kube.list("Job", self.namespace)
        await asyncio.gather(*(_complete(self.kube, self.namespace, job["metadata"]["name"]) for job in jobs))
        await asyncio.gather(*(self.bind(name) for name in names))
        await self.reconcile(*names)

    async def bind(self, name: str) -> None:
        """What the volumes' controller does, where there are claims."""
        for claim in (claim_name(name), backup_claim_name(name)):
            if await self.kube.get("PersistentVolumeClaim", self.namespace, claim) is not None:
                await self.patch("PersistentVolumeClaim", claim, {"status": {"phase": "Bound"}}, "/status")

    async def get(self, kind: str, name: str) -> Manifest:
        """An object that there is."""
        found = await self.kube.get(kind, self.namespace, name)
        assert found is not None, f"{kind} {name} does not exist"
        return found

    async def find(self, kind: str, name: str) -> Manifest | None:
        """An object, or None."""
        return await self.kube.get(kind, self.namespace, name)

    async def patch(self, kind: str, name: str, body: Manifest, subresource: str = "") -> None:
        """Merge as an admin."""
        path = path_of(kind, self.namespace, name) + subresource
        await self.kube._request(
            "PATCH", path, {"fieldManager": "admin"}, body=body, content_type="application/merge-patch+json"
        )

    async def delete(self, kind: str, name: str) -> None:
        """Delete as an admin, also what a finalizer would hold."""
        await self.kube._request("DELETE", path_of(kind, self.namespace, name), {"propagationPolicy": "Background"})
        if await self.find(kind, name) is not None:
            await self.patch(kind, name, {"metadata": {"finalizers": None}})

    async def conditions(self, name: str) -> dict[str, tuple[str, str, str]]:
        """(status, reason, message) by type."""
        status = (await self.get(KIND, name)).get("status") or {}
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status.get("conditions") or []}

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, message) of the operator's Events about a ChatCluster."""
        return [
            (event["type"], event["reason"], event["message"])
            for event in await self.kube.list("Event", self.namespace)
            if event["involvedObject"]["name"] == name and event["reportingComponent"] == "chatcluster-operator"
        ]


def texts(secret: Manifest | None) -> dict[str, str]:
    """What a Secret holds."""
    return {key: base64.b64decode(value).decode() for key, value in ((secret or {}).get("data") or {}).items()}


def identity(raw: Manifest) -> tuple[ObjectKey, str, str]:
    """What stays the same where nobody has touched an object."""
    return (raw["kind"], raw["metadata"]["name"]), raw["metadata"]["uid"], raw["metadata"]["resourceVersion"]
