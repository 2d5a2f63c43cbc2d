"""The nodes of the project's local cluster: killed, cut off from the others, and brought back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from localcluster.engine import Engine, running_engine, users_engine
from localcluster.images import TARGETS, image_name
from localcluster.paths import ClusterPaths
from tests.support.cluster import PROXY_PORT, CommandFailed, until
from tests.support.clusterapi import RequestRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.cluster import Cluster

COMMAND_SECONDS = 60

LOAD_SECONDS = 300
"""For an image, as `make up` gives a node the project's own."""

READY_SECONDS = 180
"""Until a node that came back is Ready, on a loaded machine."""

_IMAGES = ("ctr", "--namespace=k8s.io", "images")


@dataclass(frozen=True)
class Nodes:
    """Reaches under Kubernetes, to the containers that are its nodes.

    Attributes:
        first: The node with the control plane, the volumes, and the port that tests connect to.
        worker: The other one.
    """

    cluster: Cluster
    engine: Engine
    first: str
    worker: str

    @classmethod
    def of(cls, cluster: Cluster) -> Nodes:
        """The nodes of a cluster that has two."""
        paths = ClusterPaths.of(cluster.name)
        engine = running_engine(paths.engine) or users_engine()
        assert engine is not None, "no engine answers"
        first, worker = paths.nodes(2)
        return cls(cluster, engine, first, worker)

    async def kill(self) -> None:
        """Kill the worker with all its pods, as a power cut would."""
        await self._docker("kill", self.worker)

    async def start(self) -> None:
        """Switch the worker on again."""
        await self._docker("start", self.worker)

    async def cut(self) -> None:
        """Drop every packet to and from the worker; what runs there runs on, and hears from nobody."""
        await self._rules("--insert")

    async def mend(self) -> None:
        """Undo `cut()`."""
        await self._rules("--delete")

    async def drain(self, seconds: int) -> str:
        """Have all pods leave the worker, which then takes none until it is uncordoned; returns what kubectl said."""
        options = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={seconds}s")
        return await self.cluster.kubectl("drain", self.worker, *options, timeout_seconds=seconds + 10)

    async def is_ready(self) -> bool:
        """Whether Kubernetes calls the worker ready."""
        node = await self.cluster.get("node", self.worker, namespace="")
        return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])

    async def is_given_up(self) -> bool:
        """Whether Kubernetes has heard nothing of the worker for too long."""
        return not await self.is_ready()

    async def run(self, node: str, *command: str) -> None:
        """Run a command on a node, as root."""
        await self._docker("exec", node, *command)

    @contextlib.asynccontextmanager
    async def without_api_server(self) -> AsyncIterator[None]:
        """Have no API server until the block ends: kubelet stops a static pod whose manifest is gone."""
        manifest, kept = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/root/kube-apiserver.yaml"

        async def answers() -> bool:
            try:
                await self.cluster.get("node", self.first, namespace="")
            except (CommandFailed, RequestRefusedError):
                return False
            return True

        async def is_gone() -> bool:
            return not await answers()

        await self.run(self.first, "mv", manifest, kept)
        try:
            await until(is_gone, "the API server is gone", READY_SECONDS)
            yield
        finally:
            await self.run(self.first, "mv", kept, manifest)
            await until(answers, "the API server is back", READY_SECONDS)

    async def kill_container(self, pod: str, name: str, namespace: str = "chat") -> None:
        """Kill a container of a pod, as the kernel does with one that is out of memory; kubelet restarts it."""
        found = await self.cluster.get("pod", pod, namespace=namespace)
        (status,) = (one for one in found["status"]["containerStatuses"] if one["name"] == name)
        container = status["containerID"].removeprefix("containerd://")
        kill = ("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", container)
        await self._docker("exec", found["spec"]["nodeName"], *kill)

    async def publish(self, registry: str, release: str) -> None:
        """Have the images that run now under a release's names, as if the nodes had pulled them from a registry."""
        operator = await self.cluster.get("deployment", "chatcluster-operator", namespace="chatcluster-system")
        _, _, tag = operator["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")
        for node in (self.first, self.worker):
            for target in TARGETS:
                names = f"docker.io/library/{image_name(target, tag)}", f"{registry}{image_name(target, release)}"
                await self._docker("exec", node, *_IMAGES, "tag", "--force", *names)

    async def load(self, archive: Path) -> None:
        """Give all nodes the image of an archive, as `kind load image-archive` does."""
        for node in (self.first, self.worker):
            with archive.open("rb") as image:
                await self._docker(
                    "exec", "--interactive", node, *_IMAGES, "import", "-", stdin=image, seconds=LOAD_SECONDS
                )

    @contextlib.asynccontextmanager
    async def small_file_system(self, name: str, mebibytes: int) -> AsyncIterator[str]:
        """A file system in memory on the first node, until the block ends; gives its folder there."""
        folder = f"/mnt/{name}"
        await self.run(self.first, "mkdir", "-p", folder)
        await self.run(self.first, "mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=1777", name, folder)
        try:
            yield folder
        finally:
            await self.run(self.first, "umount", folder)

    def volume(self, name: str, folder: str, size: str, claim: tuple[str, str]) -> dict[str, Any]:
        """The manifest of a volume that is a folder of the first node, for the claim of a namespace and a name."""
        here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [self.first]}]}
        namespace, claimed = claim
        spec = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "local": {"path": folder},
            "claimRef": {"namespace": namespace, "name": claimed},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}

    async def forget(self, image: str) -> None:
        """Remove an image from all nodes."""
        for node in (self.first, self.worker):
            await self._docker("exec", node, *_IMAGES, "remove", image)

    async def pods(self, component: str) -> dict[str, list[dict[str, Any]]]:
        """The pods of a part that are not on their way out, by node."""
        by_node: dict[str, list[dict[str, Any]]] = {self.first: [], self.worker: []}
        for pod in await self.cluster.pods(component):
            by_node.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
        return by_node

    async def spread_out(self) -> None:
        """Have a chatserver and a proxy on each node: Kubernetes spreads pods when they start, and moves none later."""
        if not await self.is_spread():
            for part in ("chatserver", "ingress"):
                await self.cluster.kubectl("rollout", "restart", f"deployment/demo-{part}", "-n", "chat")
        await until(self.is_spread, "a chatserver and a proxy are on each node", READY_SECONDS)
        await until(self.is_used, "the proxies have found all servers", READY_SECONDS)

    async def is_spread(self) -> bool:
        """Whether both nodes have both stateless parts, and all of them work."""
        ready = True
        for part in ("chatserver", "ingress"):
            deployment = await self.cluster.get("deployment", f"demo-{part}")
            wanted, status = deployment["spec"]["replicas"], deployment["status"]
            counts = [status.get(count) for count in ("replicas", "updatedReplicas", "readyReplicas")]
            by_node = await self.pods(part)
            ready &= counts == [wanted] * 3 and bool(by_node[self.first] and by_node[self.worker])
        return ready

    async def is_avoided(self) -> bool:
        """Whether the proxy on the other node sends nobody to the worker's servers any more."""
        return await self._servers_up() <= len((await self.pods("chatserver"))[self.first])

    async def is_used(self) -> bool:
        """Whether the proxy on the other node sends people to all servers."""
        return await self._servers_up() == len(await self.cluster.pods("chatserver"))

    async def is_replaced(self) -> bool:
        """Whether the other node has all chatservers and proxies that are wanted, ready, and Kubernetes none here."""
        for part in ("chatserver", "ingress"):
            deployment = await self.cluster.get("deployment", f"demo-{part}")
            by_node = await self.pods(part)
            wanted = deployment["spec"]["replicas"]
            if by_node[self.worker] or len(by_node[self.first]) != wanted:
                return False
            if deployment["status"].get("readyReplicas") != wanted:
                return False
        return True

    async def _servers_up(self) -> int:
        (proxy, *_) = (await self.pods("ingress"))[self.first]
        return int(await self.cluster.figure(proxy, "haproxy_server_status", PROXY_PORT, 'state="UP"'))

    async def _rules(self, verb: str) -> None:
        for program, (table, chain, side) in itertools.product(
            # Nodes have both kinds of addresses, and kubelet takes either to its API server.
            ("iptables", "ip6tables"),
            (("raw", "PREROUTING", "--in-interface"), ("mangle", "POSTROUTING", "--out-interface")),
        ):
            rule = [program, "--wait", "--table", table, verb, chain, side, "eth0", "--jump", "DROP"]
            await self._docker("exec", self.worker, *rule)

    async def _docker(self, *arguments: str, stdin: BinaryIO | None = None, seconds: float = COMMAND_SECONDS) -> None:
        log = ClusterPaths.of(self.cluster.name).logs / "tests.log"
        await asyncio.to_thread(self.engine.docker, *arguments, log=log, timeout_seconds=seconds, stdin=stdin)
