"""The project's own local cluster, seen by its admin: through kubectl, and by requests where a test asks often."""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import programs
from tests.support.clusterapi import ClusterApi

ROOT = Path(__file__).parents[2]

POLL_SECONDS = 0.5

PROXY_PORT = 8404
"""Of HAProxy's own metrics."""


class CommandFailed(AssertionError):
    """A command ended with another code than 0; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running local cluster.

    Attributes:
        name: As in `make up NAME=...`.
        kubeconfig: For kubectl on this machine.
        url: Where the ChatCluster `demo` answers, without the last slash.
        api: A connection to its API server.
    """

    name: str
    kubeconfig: Path
    url: str
    api: ClusterApi

    @property
    def insecure(self) -> ssl.SSLContext:
        """What `curl -k` does: the certificate is self-signed."""
        # Without the authorities of the machine, which take a default context 20 ms to read.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 120) -> str:
        """Run kubectl and return what it printed.

        Raises:
            CommandFailed: It failed; with both its outputs.
        """
        return await run(
            "kubectl",
            *arguments,
            stdin=stdin,
            env={"KUBECONFIG": str(self.kubeconfig)},
            timeout_seconds=timeout_seconds,
        )

    async def get(self, kind: str, name: str = "", *, namespace: str = "chat", selector: str = "") -> Any:
        """An object, or a list's items; None for an object that does not exist."""
        if name:
            return await asyncio.to_thread(self.api.get, kind, namespace, name)
        return await asyncio.to_thread(self.api.list, kind, namespace, selector)

    async def everywhere(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """The objects of a kind in all namespaces that have these labels."""
        return await asyncio.to_thread(self.api.list, kind, "", selector)

    async def apply(self, manifest: str) -> str:
        """Apply a manifest given as text."""
        return await self.kubectl("apply", "-f", "-", stdin=manifest)

    async def psql(self, sql: str, namespace: str = "chat", instance: str = "demo") -> str:
        """Run SQL in the database's pod; rows come as `a|b` lines."""
        return await self.kubectl(
            *("exec", "-i", "-n", namespace, f"{instance}-postgres-0", "--"),
            *("psql", "-h", "/var/run/postgresql", "-U", "postgres", "-d", "chat", "-qAtX", "-v", "ON_ERROR_STOP=1"),
            stdin=sql,
        )

    async def patch(self, spec: dict[str, Any], name: str = "demo", namespace: str = "chat") -> None:
        """Merge into a ChatCluster's spec."""
        await asyncio.to_thread(self.api.patch, "chatcluster", namespace, name, {"spec": spec})

    async def pods(self, component: str = "", namespace: str = "chat", instance: str = "demo") -> list[dict[str, Any]]:
        """The pods of one part, or of all, that are not on their way out."""
        part = f",app.kubernetes.io/component={component}" if component else ""
        selector = f"app.kubernetes.io/instance={instance}{part}"
        found = await self.get("pods", namespace=namespace, selector=selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def uids(self, component: str = "") -> set[str]:
        """Of the pods that stay, of one part of `demo` or of all: those of jobs have ended, and others may drain."""
        pods = await self.pods(component)
        return {pod["metadata"]["uid"] for pod in pods if pod["status"].get("phase") in {"Pending", "Running"}}

    async def replaced(self, component: str, uid: str, timeout_seconds: float) -> None:
        """Wait until one part's pods are others than the one of this uid, and all of them ready."""

        async def others() -> bool:
            pods = await self.pods(component)
            return bool(pods) and all(pod["metadata"]["uid"] != uid and is_ready(pod) for pod in pods)

        await until(others, f"the {component} pod is replaced", timeout_seconds)

    async def metric(self, component: str, name: str, port: int = 9090, label: str = "") -> float:
        """A metric of one part, summed over its pods that are not on their way out and over series with a label."""
        return sum([await self.figure(pod, name, port, label) for pod in await self.pods(component)])

    async def figure(self, pod: dict[str, Any], name: str, port: int = 9090, label: str = "") -> float:
        """A metric of one pod, summed over the series with a label, such as `state="UP"`."""
        path = f"/api/v1/namespaces/chat/pods/{pod['metadata']['name']}:{port}/proxy/metrics"
        # HAProxy's page has its servers only for a scrape that names them.
        path += "?scope=server" if name.startswith("haproxy_server") else ""
        page = await asyncio.to_thread(self.api.text, path)
        lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")) and label in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def asks_for(self, servers: int) -> bool:
        """Whether the operator asks Kubernetes for this many chatservers."""
        return bool((await self.get("deployment", "demo-chatserver"))["spec"]["replicas"] == servers)

    async def finds(self, servers: int) -> bool:
        """Whether each proxy sends people to this many chatservers."""
        proxies = await self.pods("ingress")
        found = [await self.figure(proxy, "haproxy_server_status", PROXY_PORT, 'state="UP"') for proxy in proxies]
        return found == [servers] * len(proxies)

    async def servers(self, count: int, timeout_seconds: float = 180) -> None:
        """Wait until the ChatCluster `demo` runs this many chatservers, all ready and none on its way out."""

        async def running() -> bool:
            deployment = await self.get("deployment", "demo-chatserver") or {"spec": {}, "status": {}}
            status: dict[str, int] = deployment["status"]
            counts = [deployment["spec"].get("replicas"), status.get("replicas"), status.get("readyReplicas")]
            return all(number == count for number in counts)

        await until(running, f"{count} chatservers run", timeout_seconds)

    @contextlib.asynccontextmanager
    async def without_new_pods(self) -> AsyncIterator[None]:
        """No node takes new pods: what dies stays away, with Kubernetes' own reason."""
        nodes = [node["metadata"]["name"] for node in await self.get("nodes")]
        await self.kubectl("cordon", *nodes)
        try:
            yield
        finally:
            await self.kubectl("uncordon", *nodes)

    async def condition(self, kind: str, name: str = "demo", namespace: str = "chat") -> dict[str, Any]:
        """One condition of a ChatCluster; empty while it has none."""
        chat = await self.get("chatcluster", name, namespace=namespace)
        conditions = (chat or {}).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    async def says(self, kind: str, reason: str, timeout_seconds: float) -> None:
        """Wait until a condition of `demo` gives a reason, for the spec it has now."""

        async def said() -> bool:
            chat, condition = await self.get("chatcluster", "demo"), await self.condition(kind)
            current = condition.get("observedGeneration") == chat["metadata"]["generation"]
            return current and condition.get("reason") == reason

        await until(said, f"{kind} says {reason}", timeout_seconds)

    async def settled(self, timeout_seconds: float = 300) -> float:
        """Wait until all is as the spec of `demo` asks now, and nothing is on its way out; returns the seconds."""

        async def done() -> bool:
            chat = await self.get("chatcluster", "demo")
            progressing = await self.condition("Progressing")
            pods = await self.get("pods", selector="app.kubernetes.io/instance=demo")
            return (
                progressing.get("observedGeneration") == chat["metadata"]["generation"]
                and progressing.get("reason") == "Settled"
                and not any("deletionTimestamp" in pod["metadata"] for pod in pods)
            )

        return await until(done, "chatcluster/demo is settled", timeout_seconds)

    async def evict(self, pod: str, namespace: str = "chat") -> None:
        """Ask a pod to leave as a node's drain does, within its disruption budget."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        await asyncio.to_thread(self.api.post, path, eviction)

    async def ready(self, timeout_seconds: float = 240) -> None:
        """Wait until `demo` is Ready for the spec it has now."""

        async def current() -> bool:
            chat = await self.get("chatcluster", "demo")
            condition = await self.condition("Ready")
            return (
                chat is not None
                and condition.get("status") == "True"
                and condition.get("observedGeneration") == chat["metadata"]["generation"]
            )

        await until(current, "chatcluster/demo is Ready", timeout_seconds)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether Kubernetes sends requests to a pod."""
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def restarts(pod: dict[str, Any]) -> int:
    """How often containers of a pod were restarted, all told."""
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", []))


async def run(
    *command: str, stdin: str | None = None, env: dict[str, str] | None = None, timeout_seconds: float = 120
) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        CommandFailed: It ended with another code than 0, or not in time.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment() | (env or {}),
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{' '.join(command)}: not done after {timeout_seconds} s") from None
    if process.returncode:
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{out.decode()}{err.decode()}")
    return out.decode()


def environment() -> dict[str, str]:
    """A user's shell: without what `make` and `uv run` gave to the tests, with the kubectl that was built."""
    built = programs.in_cache("kubectl")
    path = os.environ["PATH"] + (f"{os.pathsep}{built.parent}" if built else "")
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {"PATH": path}


async def until(
    condition: Callable[[], Awaitable[Any]],
    what: str,
    timeout_seconds: float,
    poll_seconds: float = POLL_SECONDS,
    *,
    otherwise: Callable[[], str] | None = None,
) -> float:
    """Wait until a condition holds; returns the seconds it took.

    Args:
        otherwise: Gives what to add to the error: how things are instead.

    Raises:
        AssertionError: It did not in time, in words.
    """
    started = time.monotonic()
    while not await condition():
        if time.monotonic() - started > timeout_seconds:
            instead = f"; instead:\n{otherwise()}" if otherwise else ""
            raise AssertionError(f"not within {timeout_seconds} s: {what}{instead}")
        await asyncio.sleep(poll_seconds)
    return time.monotonic() - started
