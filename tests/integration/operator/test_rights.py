"""The whole operator (watches, queue, reconcile) on a real API server with the chart's rights and no others."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import kopf
import pytest

from chatoperator import handlers
from chatoperator.controller import Controller
from chatoperator.kube.cache import Cache
from chatoperator.kube.client import connect
from chatoperator.observed import Reading
from chatoperator.reconcile import Reconciler
from chatoperator.reconcile.context import Context
from tests.support import crds
from tests.support.apiserver import OPERATOR_TOKEN, OPERATOR_USER
from tests.support.chart import render
from tests.support.chatclusters import SETTINGS, FakeProber
from tests.support.cluster import until
from tests.support.operators import pod_owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

RIGHTS = ("serviceaccount", "role", "rolebinding")
"""Kinds of which a database of several instances has one each."""

BACK_SECONDS = 10
"""A deleted child exists again within it: the promise to the admin."""

PATIENCE_SECONDS = 60


class Client:
    """What an admin does, without blocking the operator in this process."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._admin = server.admin(namespace)

    async def create(self, manifest: dict[str, Any]) -> None:
        await asyncio.to_thread(self._admin.create, manifest)

    async def patch(self, kind: str, name: str, body: dict[str, Any], subresource: str = "") -> None:
        await asyncio.to_thread(self._admin.patch, kind, name, body, subresource)

    async def delete(self, kind: str, name: str) -> None:
        await asyncio.to_thread(self._admin.delete, kind, name)

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return await asyncio.to_thread(self._admin.find, kind, name)

    async def list(self, kind: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._admin.list, kind)

    async def until(self, kind: str, name: str, *, other_than: str = "") -> float:
        """Wait until an object exists, with another uid than the given one."""

        async def there() -> bool:
            found = await self.get(kind, name)
            return found is not None and found["metadata"]["uid"] != other_than

        return await until(there, f"{kind} {name}", PATIENCE_SECONDS, poll_seconds=0.1)

    async def gone(self, kind: str, name: str) -> None:
        """Wait until an object exists no more."""

        async def left() -> bool:
            return await self.get(kind, name) is None

        await until(left, f"{kind} {name} is gone", PATIENCE_SECONDS, poll_seconds=0.1)

    async def migrated(self, name: str) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"conditions": done, "succeeded": 1, "startTime": now, "completionTime": now}
        await self.patch("job", name, {"status": status}, "/status")

    async def new_job(self, other_than: frozenset[str] = frozenset()) -> str:
        found: list[str] = []

        async def there() -> bool:
            names = {job["metadata"]["name"] for job in await self.list("job")} - other_than
            found[:] = sorted(names)
            return bool(names)

        await until(there, "a migrate Job", PATIENCE_SECONDS, poll_seconds=0.1)
        return found[0]


@pytest.fixture
def with_all_kinds(server: ApiServer) -> Iterator[None]:
    """A cluster that has the kinds of other projects too."""
    with crds.installed(server, *crds.CERTIFICATES), crds.installed(server, *crds.ROUTES):
        yield


@pytest.fixture
def rights(server: ApiServer) -> Iterator[set[tuple[str, str, str]]]:
    """The chart's ClusterRole, bound to the operator's user for one test: (group, resource, verb)."""
    (role,) = [document for document in render() if document["kind"] == "ClusterRole"]
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "operator-under-test"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
    }
    for manifest in (role, binding):
        applied = server.run_kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        assert applied.returncode == 0, applied.stderr
    yield {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert server.run_kubectl("delete", "clusterrolebinding", binding["metadata"]["name"]).returncode == 0


@pytest.fixture
def earlier(server: ApiServer) -> int:
    """Where the requests of this test's operator begin: other tests' operators have the same name."""
    return server.audit_end()


@pytest.fixture
async def prober(
    server: ApiServer,
    with_all_kinds: None,
    earlier: int,
    rights: set[tuple[str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[FakeProber]:
    """The running operator's view of the data plane; it runs until the test ends."""
    assert with_all_kinds is None
    assert rights
    assert earlier
    kubeconfig: Path = server.kubeconfig(OPERATOR_TOKEN, OPERATOR_USER)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    stop = asyncio.Event()
    fake = FakeProber()
    async with connect(str(kubeconfig)) as kube:
        reconciler = Reconciler(
            Context(
                kube,
                Cache(kube, (), monotonic=time.monotonic),
                fake,  # type: ignore[arg-type]
                SETTINGS,
                monotonic=time.monotonic,
                now=lambda: dt.datetime.now(dt.UTC),
            )
        )
        controller = Controller(reconciler, monotonic=time.monotonic, unix_time=time.time)
        running = asyncio.create_task(
            kopf.operator(registry=handlers.registry(controller), standalone=True, clusterwide=True, stop_flag=stop)
        )
        yield fake
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Kopf leaves its sessions' transports to the collector
async def test_the_charts_rights_are_what_the_operator_uses_and_deleted_children_come_back(
    server: ApiServer,
    prober: FakeProber,
    earlier: int,
    namespace: str,
    minimal: dict[str, Any],
    rights: set[tuple[str, str, str]],
) -> None:
    admin = Client(server, namespace)
    # A claim without any class would simply be given one.
    minimal["spec"]["database"] = {"storage": {"storageClassName": "first"}}
    minimal["spec"]["chatserver"] = {
        "targetConnectionsPerServer": 10,
        "scaling": {"minReplicas": 2, "scaleDownStabilizationSeconds": 0},
    }
    await admin.create(minimal)
    first = await admin.new_job()
    await admin.migrated(first)
    await admin.until("deployment", "demo-chatserver")

    took = {}
    for kind, name in (
        ("deployment", "demo-chatserver"),
        ("deployment", "demo-ingress"),
        ("statefulset", "demo-postgres"),
        ("service", "demo-chatserver"),
        ("configmap", "demo-ingress"),
        ("secret", "demo-database"),
        ("pdb", "demo-ingress"),
        ("networkpolicy", "demo-postgres"),
    ):
        found = await admin.get(kind, name)
        assert found is not None
        await admin.delete(kind, name)
        took[f"{kind}/{name}"] = await admin.until(kind, name, other_than=found["metadata"]["uid"])
    assert max(took.values()) < BACK_SECONDS, took

    # A new image: its Job runs, then the old one's goes.
    await admin.patch("cc", "demo", {"spec": {"chatserver": {"image": "chatserver:2"}}})
    second = await admin.new_job(frozenset({first}))
    await admin.migrated(second)
    await admin.gone("job", first)
    await _scale_down(admin, prober)

    await _probe_comes_and_goes(admin, second)
    await _bus_comes_and_goes(admin)
    await _instances_come_and_go(admin, minimal)
    await admin.patch("cc", "demo", {"spec": {"networkPolicies": {"enabled": False}}})

    async def opened() -> bool:
        return not await admin.list("networkpolicy")

    await until(opened, "the NetworkPolicies are gone", PATIENCE_SECONDS)

    await _other_ways_in(admin)
    await _claim_of_another_class(admin, minimal)

    asked, _ = server.audit_from(earlier, OPERATOR_USER)
    requests = [entry for entry in asked if entry["user"].get("username") == OPERATOR_USER]
    refused = [(entry["verb"], entry["requestURI"]) for entry in requests if entry["responseStatus"]["code"] == 403]
    assert refused == []
    assert _used(requests) == rights


async def _other_ways_in(admin: Client) -> None:
    """A certificate by cert-manager, an Ingress, an HTTPRoute; and none of them any more."""
    tls = {"mode": "CertManager", "issuerRef": {"name": "ours"}}
    gateways = [{"name": "public"}]
    made = {"hostnames": ["chat.example.com"], "tls": tls, "front": {"kind": "Ingress"}}
    await admin.patch("cc", "demo", {"spec": {"ingress": made}})
    for kind, name in (("certificate", "demo-ingress-issued"), ("ingress", "demo-front"), ("service", "demo-front")):
        await admin.until(kind, name)
    route = {"front": {"kind": "HTTPRoute", "parentRefs": gateways}}
    await admin.patch("cc", "demo", {"spec": {"ingress": route}})
    await admin.until("httproute", "demo-front")
    nothing = {"tls": None, "front": None}
    await admin.patch("cc", "demo", {"spec": {"ingress": nothing}})

    await admin.gone("certificate", "demo-ingress-issued")
    for kind in ("ingress", "httproute", "service"):
        await admin.gone(kind, "demo-front")


async def _claim_of_another_class(admin: Client, minimal: dict[str, Any]) -> None:
    """The ChatCluster is deleted and made again with a class that its retained claim, which has no volume, has not."""
    claim = ("pvc", "demo-postgres-data")
    before = await admin.get(*claim)
    assert before is not None
    await admin.delete("cc", "demo")
    minimal["spec"]["database"] = {"storage": {"storageClassName": "second"}}
    await admin.create(minimal)

    async def leaving() -> bool:
        found = await admin.get(*claim)
        return found is not None and "deletionTimestamp" in found["metadata"]

    await until(leaving, "the unbound claim is deleted", PATIENCE_SECONDS)
    # A controller's that does not run here: no pod uses the claim.
    await admin.patch(*claim, {"metadata": {"finalizers": None}})
    await admin.until(*claim, other_than=before["metadata"]["uid"])
    after = await admin.get(*claim)
    assert after is not None
    assert after["spec"]["storageClassName"] == "second"


async def _probe_comes_and_goes(admin: Client, job: str) -> None:
    """A probe that is disabled loses its Deployment, and its tokens by another migration; its Secret stays."""
    await admin.patch("cc", "demo", {"spec": {"monitoring": {"probe": {"enabled": True}}}})
    enrolment = await admin.new_job(frozenset({job}))
    await admin.migrated(enrolment)
    await admin.until("deployment", "demo-probe")
    # Else it would be taken for the next one.
    await admin.gone("job", job)
    await admin.patch("cc", "demo", {"spec": {"monitoring": {"probe": {"enabled": False}}}})
    await admin.migrated(await admin.new_job(frozenset({enrolment})))
    await admin.gone("deployment", "demo-probe")
    await admin.gone("job", enrolment)
    assert await admin.get("secret", "demo-probe") is not None


async def _bus_comes_and_goes(admin: Client) -> None:
    """Valkey that is no longer the bus loses its StatefulSet once no server uses it; its Secret stays."""
    await admin.patch("cc", "demo", {"spec": {"bus": {"type": "Valkey"}}})
    await admin.until("statefulset", "demo-bus")
    await admin.patch("cc", "demo", {"spec": {"bus": {"type": "PostgreSQL"}}})

    async def gone() -> bool:
        await _report(admin)
        return await admin.get("statefulset", "demo-bus") is None

    await until(gone, "the StatefulSet of the bus is deleted", PATIENCE_SECONDS)
    assert await admin.get("secret", "demo-bus") is not None


async def _instances_come_and_go(admin: Client, minimal: dict[str, Any]) -> None:
    """A database of several instances gets an account, with rights that the operator has itself; one has none."""
    many = {**minimal, "metadata": {**minimal["metadata"], "name": "many"}}
    # Nobody collects here what is left of it.
    many["spec"] = {**minimal["spec"], "database": {"instances": 3}, "networkPolicies": {"enabled": False}}
    await admin.create(many)
    for kind in RIGHTS:
        await admin.until(kind, "many-postgres")
    await admin.until("statefulset", "many-postgres")
    await admin.patch("cc", "many", {"spec": {"database": {"instances": 1}}})

    async def gone() -> bool:
        live = await admin.get("statefulset", "many-postgres")
        assert live is not None
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 1)
        status = {"status": {"observedGeneration": live["metadata"]["generation"], **counts}}
        await admin.patch("statefulset", "many-postgres", status, "/status")
        return not [kind for kind in RIGHTS if await admin.get(kind, "many-postgres") is not None]

    await until(gone, "the account is deleted", PATIENCE_SECONDS)
    live = await admin.get("statefulset", "many-postgres")
    assert live is not None
    assert live["spec"]["template"]["spec"]["serviceAccountName"] == "default"
    await admin.delete("cc", "many")


async def _scale_down(admin: Client, prober: FakeProber) -> None:
    """Two servers run and one is wanted: the emptier one is marked before the number falls."""
    deployment = await admin.get("deployment", "demo-chatserver")
    assert deployment is not None
    template = deployment["spec"]["template"]
    prober.connections = {"server-a": Reading(3, draining=False), "server-b": Reading(1, draining=False)}
    started = {"name": "chatserver", "started": True, "ready": True, "restartCount": 0, "image": "i", "imageID": ""}
    for number, name in enumerate(prober.connections, start=1):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [pod_owner(deployment)],
            },
            "spec": template["spec"],
        }
        await admin.create(pod)
        status = {"podIP": f"192.0.2.{number}", "containerStatuses": [{**started, "state": {"running": {}}}]}
        await admin.patch("pod", name, {"status": status}, "/status")
    await _report(admin)
    await admin.patch("cc", "demo", {"spec": {"chatserver": {"scaling": {"minReplicas": 1}}}})

    async def marked() -> bool:
        replicas = await _report(admin)
        victim = await admin.get("pod", "server-b")
        assert victim is not None
        cost = "controller.kubernetes.io/pod-deletion-cost"
        return replicas == 1 and cost in victim["metadata"].get("annotations", {})

    await until(marked, "the emptier server is marked and the number falls", PATIENCE_SECONDS)


async def _report(admin: Client) -> int:
    """What the Deployment controller reports of pods that are all ready; returns the wanted number."""
    live = await admin.get("deployment", "demo-chatserver")
    assert live is not None
    replicas: int = live["spec"]["replicas"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    patch = {"status": {"observedGeneration": live["metadata"]["generation"], **counts}}
    await admin.patch("deployment", "demo-chatserver", patch, "/status")
    return replicas


def _used(requests: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of all requests for resources, as rules write them."""
    used = set()
    for entry in requests:
        reference = entry.get("objectRef")
        if not reference or "resource" not in reference:
            continue
        subresource = reference.get("subresource")
        resource = reference["resource"] + (f"/{subresource}" if subresource else "")
        verb = entry["verb"]
        used.add((reference.get("apiGroup", ""), resource, verb))
        # Server-side apply is a patch that also needs the right to create.
        if verb == "patch" and entry["responseStatus"]["code"] == 201:
            used.add((reference.get("apiGroup", ""), resource, "create"))
    return used
