"""The Kubernetes API as the operator uses it: the one importer of `kubernetes`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.resource import Resource
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from chatoperator.errors import KubeError
from chatoperator.manifests.metadata import GROUP, KIND, VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from chatoperator.manifests.metadata import Manifest

FIELD_MANAGER = "chatcluster-operator"
"""Owner of the fields the operator applies. Changing it would leave the old one's fields behind."""

REQUEST_TIMEOUT_SECONDS = 30
"""An API server that takes longer is as good as gone; the reconcile is tried again."""

LEASE_SECONDS, RENEW_WITHIN_SECONDS, RENEW_EVERY_SECONDS = 10, 7, 2
"""A leader that died is replaced after 10 to 12 s; one that cannot renew for 7 s stops before another one may start."""

LEASE_REQUEST_SECONDS = 3
"""A request about the Lease that hangs must not outlive it."""

NOT_FOUND, CONFLICT = 404, 409


@dataclass(frozen=True)
class Kind:
    """Where the API serves a kind. All of them are namespaced."""

    group: str
    version: str
    plural: str


KINDS = {
    KIND: Kind(GROUP, VERSION, "chatclusters"),
    "Deployment": Kind("apps", "v1", "deployments"),
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
    "Service": Kind("", "v1", "services"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Secret": Kind("", "v1", "secrets"),
    "PersistentVolumeClaim": Kind("", "v1", "persistentvolumeclaims"),
    "Pod": Kind("", "v1", "pods"),
    "Event": Kind("", "v1", "events"),
    "Job": Kind("batch", "v1", "jobs"),
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
}
"""Fixed here rather than discovered: discovery costs requests at start and caches its answers in a file."""

CHILD_KINDS = (
    "Deployment",
    "StatefulSet",
    "Service",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Job",
    "PodDisruptionBudget",
    "NetworkPolicy",
)
"""What the operator makes, beside Events."""


class Kube:
    """Requests to the API server, as plain JSON objects.

    Every method raises KubeError where the API server refuses or does not answer.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._dynamic = DynamicClient(api)  # type: ignore[no-untyped-call]
        self._resources = {
            name: Resource(  # type: ignore[no-untyped-call]
                prefix="apis" if kind.group else "api",
                group=kind.group,
                api_version=kind.version,
                kind=name,
                namespaced=True,
                name=kind.plural,
                client=self._dynamic,
            )
            for name, kind in KINDS.items()
        }

    def lease(self, namespace: str, name: str, identity: str) -> Lease:
        """A seat for one operator process among several.

        Args:
            namespace: Of the Lease.
            name: Of the Lease.
            identity: Of this process.
        """
        return Lease(_LeaseLock(name, namespace, identity, self._api))

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None where it does not exist."""
        try:
            return await self._request("get", self._path(kind, namespace, name))
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(self, kind: str, namespace: str | None = None, selector: str | None = None) -> list[Manifest]:
        """Objects of a kind in one namespace, or in all for None."""
        answer = await self._request("get", self._path(kind, namespace), label_selector=selector)
        return cast("list[Manifest]", answer.get("items", []))

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply of a whole object; the operator wins conflicts over its own fields."""
        metadata = manifest["metadata"]
        return await self._request(
            "patch",
            self._path(manifest["kind"], metadata["namespace"], metadata["name"]),
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    async def annotate(self, kind: str, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations, and remove those that are None. An object that is gone is no error."""
        with contextlib.suppress(_Gone):
            await self._merge(self._path(kind, namespace, name), {"metadata": {"annotations": dict(annotations)}})

    async def patch_status(self, namespace: str, name: str, status: Manifest) -> None:
        """Merge into a ChatCluster's status. A ChatCluster that is gone is no error."""
        with contextlib.suppress(_Gone):
            await self._merge(self._path(KIND, namespace, name) + "/status", {"status": status})

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what it owns."""
        with contextlib.suppress(_Gone):
            await self._request(
                "delete", self._path(kind, namespace, name), propagation_policy="Background", gone_is_fine=True
            )

    async def create_event(self, event: Manifest) -> None:
        """Create a core/v1 Event."""
        await self._request("post", self._path("Event", event["metadata"]["namespace"]), body=event)

    def _path(self, kind: str, namespace: str | None, name: str | None = None) -> str:
        return str(self._resources[kind].path(name=name, namespace=namespace))  # type: ignore[no-untyped-call]

    async def _merge(self, path: str, body: Manifest) -> None:
        await self._request(
            "patch",
            path,
            body=body,
            content_type="application/merge-patch+json",
            field_manager=FIELD_MANAGER,
            gone_is_fine=True,
        )

    async def _request(self, method: str, path: str, *, gone_is_fine: bool = False, **parameters: Any) -> Manifest:
        try:
            answer = await self._dynamic.request(
                method,
                path,
                # Fresh ones each time: the client fills the defaults it is not given in place.
                query_params=[],
                header_params={},
                serializer=lambda _, data: data,
                _request_timeout=REQUEST_TIMEOUT_SECONDS,
                **parameters,
            )
        except ApiException as error:
            if gone_is_fine and error.status == NOT_FOUND:
                raise _Gone from error
            raise KubeError(f"{method} {path}: {_reason(error)}", status=error.status or 0) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(f"{method} {path}: {type(error).__name__}: {error}") from error
        return cast("Manifest", answer)


class Lease:
    """Leadership: at most one holder at a time.

    Args:
        lock: The Lease in the API server.
    """

    def __init__(self, lock: _LeaseLock) -> None:
        self._lock = lock
        # Its run() would go on after the leader's work has ended; the two halves of it are what is needed.
        self._election = LeaderElection(
            Config(
                lock=lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_WITHIN_SECONDS,
                retry_period=RENEW_EVERY_SECONDS,
                onstarted_leading=_nothing,
                onstopped_leading=_nothing,
            )
        )

    async def acquire(self) -> None:
        """Wait until this process holds the Lease."""
        await self._election.acquire()

    async def keep(self) -> None:
        """Renew the Lease; returns when it is lost."""
        await self._election.renew_loop()

    async def release(self) -> None:
        """Give the Lease back, so that a standby need not wait until it runs out."""
        await self._lock.release()


async def _nothing() -> None:
    """What the election would start and stop by itself."""


class _LeaseLock(LeaseLock):
    """A Lease whose requests end in time, and for which an API server that does not answer is a refusal."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(LEASE_REQUEST_SECONDS):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        # The library's own passes a parameter that its own client refuses.
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._tried(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._tried(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Empty the holder's name, where it is this process's."""
        found, _ = await self.get(self.name, self.namespace)
        lease: Any = self.lease_reference
        if not found or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = ""
        await self._tried(self.api_instance.replace_namespaced_lease(self.name, self.namespace, lease))

    @staticmethod
    async def _tried(request: Coroutine[Any, Any, Any]) -> bool:
        try:
            async with asyncio.timeout(LEASE_REQUEST_SECONDS):
                return bool(await request)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError):
            return False


class _Gone(Exception):
    """The object does not exist."""


def _reason(error: ApiException) -> str:
    """What the API server said, without headers and tracebacks."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


@contextlib.asynccontextmanager
async def connect(kubeconfig: str | None) -> AsyncIterator[Kube]:
    """Connect by the service account inside a cluster, by a kubeconfig elsewhere.

    Args:
        kubeconfig: Its path; None for kubectl's default one.

    Raises:
        KubeError: Neither is there.
    """
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise KubeError(f"no way to the API server: {error}") from error
    async with client.ApiClient(configuration) as api:
        yield Kube(api)
