"""An API server that keeps objects in memory and refuses what a test says, in place of `chatoperator.kube.client.Kube`.

It stands for one where the order of requests and single refusals matter; what Kubernetes itself does is tested on a
real one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.errors import KubeError
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.metadata import KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatoperator.metadata import Manifest, ObjectKey

REFUSED = 403


class MemoryApi:
    """Objects of one namespace, also as the cache of a reconcile.

    Attributes:
        requests: What was written, in order: `apply Deployment/demo-chatserver`, `annotate Pod/a`, `delete Job/b`,
            `status demo`, `event Reason`.
        refuses: Requests that are refused, as in `requests`.
        objects: By (kind, name).
        annotations: By (kind, name), all that were written there.
        statuses: Each patch of a status.
    """

    def __init__(self, *refuses: str) -> None:
        self.requests: list[str] = []
        self.refuses = set(refuses)
        self.objects: dict[ObjectKey, Manifest] = {}
        self.annotations: dict[ObjectKey, Mapping[str, str | None]] = {}
        self.statuses: list[Manifest] = []
        self._version = 0

    async def get(self, kind: str, _namespace: str, name: str) -> Manifest | None:
        """As of `Kube.get`."""
        return self.objects.get((kind, name))

    async def look_again(self, kind: str, _namespace: str, name: str) -> Manifest | None:
        """As of `Cache.look_again`."""
        return self.objects.get((kind, name))

    def owned(self, _key: tuple[str, str]) -> dict[ObjectKey, Manifest]:
        """As of `Cache.owned`."""
        return {key: raw for key, raw in self.objects.items() if key[0] != KIND}

    def serves(self, kind: str) -> bool:
        """As of `Cache.serves`: it has neither cert-manager nor the Gateway API."""
        return kind not in (CERTIFICATE, ROUTE)

    def note(self, raw: Manifest | None) -> None:
        """As of `Cache.note`: it knows what it answered."""

    async def apply(
        self,
        manifest: Manifest,
        *,
        uid: str | None = None,  # noqa: ARG002 - nobody else writes here
        resource_version: str | None = None,  # noqa: ARG002 - the same
    ) -> Manifest:
        """As of `Kube.apply`."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self._request(f"apply {kind}/{name}")
        held = self.objects.get((kind, name), {"metadata": {"uid": f"uid of {name}"}})
        metadata = {**manifest["metadata"], "uid": held["metadata"]["uid"], "resourceVersion": str(self._version)}
        self.objects[kind, name] = {**manifest, "metadata": metadata}
        return self.objects[kind, name]

    async def annotate(
        self, kind: str, _namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Manifest | None:
        """As of `Kube.annotate`."""
        self._request(f"annotate {kind}/{name}")
        self.annotations[kind, name] = {**self.annotations.get((kind, name), {}), **annotations}
        return self.objects.get((kind, name))

    async def delete(self, kind: str, live: Manifest, *, unchanged: bool = False) -> None:  # noqa: ARG002 - as there
        """As of `Kube.delete`."""
        self._request(f"delete {kind}/{live['metadata']['name']}")
        self.objects.pop((kind, live["metadata"]["name"]), None)

    async def patch_status(self, _namespace: str, name: str, status: Manifest, *, uid: str) -> Manifest | None:
        """As of `Kube.patch_status`."""
        self._request(f"status {name}")
        self.statuses.append(status)
        return {"metadata": {"uid": uid, "generation": 1}, "status": status}

    async def create_event(self, event: Manifest) -> None:
        """As of `Kube.create_event`."""
        self._request(f"event {event['reason']}")

    async def events(self, _kind: str, _about: Manifest, _reason: str) -> list[Any]:
        """As of `Kube.events`: there are none."""
        return []

    def written(self, where: Callable[[str], bool]) -> list[str]:
        """The requests for which this holds."""
        return [request for request in self.requests if where(request)]

    def _request(self, request: str) -> None:
        self.requests.append(request)
        if request in self.refuses:
            raise KubeError(f"{request} is forbidden: no", REFUSED)
        self._version += 1
