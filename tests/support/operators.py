"""A reconciler on the real API server. No controller runs there: every change is the operator's or the test's."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

from chatoperator.kube.cache import Cache
from chatoperator.kube.kinds import CERTIFICATE, CHILDREN, ROUTE
from chatoperator.metadata import KIND, STATEFUL
from chatoperator.observed import Reading
from chatoperator.reconcile import Reconciler
from chatoperator.reconcile.context import Context
from tests.support.chatclusters import SETTINGS, FakeProber

if TYPE_CHECKING:
    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer

SERVED = CHILDREN.keys() - {CERTIFICATE, ROUTE}
"""Kinds of children that every API server of the tests serves: it need not have what others define."""

_addresses = itertools.count(1)


def pod_owner(workload: dict[str, Any]) -> dict[str, Any]:
    """The controller of a workload's pods, as the workload's own controller writes it; of a Deployment a ReplicaSet."""
    owner = {"apiVersion": workload["apiVersion"], "kind": workload["kind"], "controller": True}
    name, uid = workload["metadata"]["name"], workload["metadata"]["uid"]
    if workload["kind"] == "Deployment":
        return {**owner, "kind": "ReplicaSet", "name": f"{name}-5d4f7c9b8", "uid": f"replicaset-of-{uid}"}
    return {**owner, "name": name, "uid": uid}


class Operator:
    """A reconciler on the real API server, with a clock and a data plane that the test moves.

    Args:
        kube: What the test looks with.
        server: The API server.
        chatcluster: What `create` creates.
        own: What the reconciler works with; None for `kube`.
    """

    def __init__(self, kube: Kube, server: ApiServer, chatcluster: dict[str, Any], *, own: Kube | None = None) -> None:
        self.kube = kube
        self.own = own or kube
        self.server = server
        self.chatcluster = chatcluster
        self.namespace = chatcluster["metadata"]["namespace"]
        self.admin = server.admin(self.namespace)
        self.prober = FakeProber()
        self.seconds = 0.0
        self.later = dt.timedelta()
        self.restart()

    def restart(self, **settings: Any) -> None:
        """What a new operator process knows: nothing."""
        changed = type(SETTINGS)(**{**SETTINGS.__dict__, **settings})
        self.cache = Cache(self.own, [self.namespace], monotonic=lambda: self.seconds)
        self.reconciler = Reconciler(
            Context(
                self.own,
                self.cache,
                self.prober,  # type: ignore[arg-type]
                changed,
                monotonic=lambda: self.seconds,
                now=lambda: dt.datetime.now(dt.UTC) + self.later,
            )
        )

    async def reconcile(self, times: int = 1, *, name: str = "demo", seconds: float = 15) -> None:
        """Reconcile, each time so much later and with a cache that has just been filled."""
        for _ in range(times):
            self.seconds += seconds
            await self._another_second()
            await self.cache.refill()
            await self.reconciler.reconcile((self.namespace, name))

    async def _another_second(self) -> None:
        """Let the API server's clock move on too: of two migrate Jobs of one second, either counts as the later."""
        newest = max((job["metadata"]["creationTimestamp"] for job in self.admin.list("Job")), default="")
        while newest >= dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"):
            await asyncio.sleep(0.05)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.server.run_kubectl(*arguments, "-n", self.namespace, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self) -> None:
        self.admin.create(self.chatcluster)

    def patch(self, spec: dict[str, Any]) -> None:
        self.admin.patch(KIND, "demo", {"spec": spec})

    def patch_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        self.admin.patch(kind, name, {"status": status}, "/status")

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        found = await self.kube.get(kind, self.namespace, name)
        assert found is not None, f"{kind} {name} does not exist"
        return found

    async def status(self) -> dict[str, Any]:
        return dict((await self.get(KIND, "demo"))["status"])

    async def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in (await self.status())["conditions"] if c["type"] == kind)

    async def migrate_job(self) -> dict[str, Any]:
        jobs = await self.kube.list("Job", self.namespace)
        assert len(jobs) == 1
        return jobs[0]

    async def migrated(self) -> None:
        """What the Job controller writes when the Job has succeeded."""
        name = (await self.migrate_job())["metadata"]["name"]
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = [
            {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        times = {"startTime": now, "completionTime": now}
        self.patch_status("job", name, {"conditions": done, "succeeded": 1, **times})

    async def brought_up(self) -> None:
        """Create the ChatCluster and reconcile until all children are there."""
        self.create()
        await self.reconcile(2)
        await self.migrated()
        await self.reconcile(2)

    def rolled_out(self) -> None:
        """What the controllers report when all pods run."""
        for kind, name in (
            ("statefulset", "demo-postgres"),
            ("deployment", "demo-chatserver"),
            ("deployment", "demo-ingress"),
        ):
            self.all_ready(kind, name)

    def all_ready(self, kind: str, name: str) -> None:
        """What the controller of a workload reports when all of its pods run and have its template."""
        live = self.admin.get(kind, name)
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        replicas = dict.fromkeys(counts, live["spec"]["replicas"])
        seen = {"observedGeneration": live["metadata"]["generation"]}
        self.patch_status(kind, name, seen | replicas)

    def pod(
        self,
        name: str,
        part: str = "chatserver",
        node: str | None = None,
        owners: list[dict[str, Any]] | None = None,
    ) -> None:
        """What the kubelet would report of a part's pod that has started.

        Args:
            name: Of the pod.
            part: What it is one of.
            node: Where it runs; its deletion then waits for a kubelet, and there is none.
            owners: Other references than the part's own pods have.
        """
        kind = "statefulset" if part in STATEFUL else "deployment"
        workload = self.admin.get(kind, f"demo-{part}")
        template = workload["spec"]["template"]
        made = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [pod_owner(workload)] if owners is None else owners,
            },
            "spec": {**template["spec"], **({"nodeName": node} if node else {})},
        }
        self.admin.create(made)
        self.patch_status(
            "pod",
            name,
            {
                "podIP": f"192.0.2.{next(_addresses)}",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {
                        "name": "chatserver",
                        "started": True,
                        "ready": True,
                        "restartCount": 0,
                        "image": "chatserver:1",
                        "imageID": "",
                        "state": {"running": {}},
                    }
                ],
            },
        )

    async def three_servers(self) -> None:
        """Bring up three chatservers, of which demo-chatserver-b has the fewest connections, and read them."""
        self.chatcluster["spec"]["chatserver"] = {
            "targetConnectionsPerServer": 10,
            "scaling": {"minReplicas": 3, "scaleDownStabilizationSeconds": 0},
        }
        await self.brought_up()
        counts = {"demo-chatserver-a": 5, "demo-chatserver-b": 1, "demo-chatserver-c": 2}
        for name in counts:
            self.pod(name)
        self.rolled_out()
        self.prober.connections = {name: Reading(count, draining=False) for name, count in counts.items()}
        await self.reconcile()

    def job_pod(self, job: dict[str, Any], *, own: bool = True) -> str:
        """Make a pod of the migrate Job, as the Job controller does, or somebody else's with its labels.

        Returns:
            Its name.
        """
        name, template = f"{job['metadata']['name']}-x", job["spec"]["template"]
        owners = [pod_owner({"apiVersion": "batch/v1", "kind": "Job", **job})] if own else []
        labels = template["metadata"]["labels"]
        made = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
            "spec": template["spec"],
        }
        self.admin.create(made)
        return name

    def writes(self) -> list[str]:
        """Requests of this namespace so far that were meant to change something, but for cert-manager's own."""
        return [
            f"{entry['verb']} {entry['requestURI']}"
            for entry in self.server.audit(f"/namespaces/{self.namespace}/")
            if entry["verb"] not in {"get", "list", "watch"}
            and f"/namespaces/{self.namespace}/" in str(entry["requestURI"])
            and not str(entry.get("userAgent", "")).startswith("cert-manager")
        ]
