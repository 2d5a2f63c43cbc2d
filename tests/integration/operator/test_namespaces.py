"""The operator as the chart starts it: with that environment, its service account's token and no other rights."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support import forks, rights
from tests.support.chart import render
from tests.support.cluster import until
from tests.support.operator_processes import IMPORTED
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

PATIENCE_SECONDS = 90

NAME = "chatcluster-operator"


class Release:
    """The chart's release in a namespace of its own, of which the operator's pod is a process here."""

    def __init__(self, server: ApiServer, namespace: str, folder: Path, *values: str) -> None:
        self.server = server
        self.namespace = namespace
        self.user = f"system:serviceaccount:{namespace}:{NAME}"
        self._folder = folder
        self._made = render(*values, namespace=namespace)
        rights.apply(server, [document for document in self._made if document["kind"] in rights.ROLES])
        rights.apply(server, rights.policies_of(self._made))
        self.token = self.kubectl("create", "token", NAME, "-n", namespace).strip()
        self._process: forks.Fork | subprocess.Popen[bytes] | None = None

    def kubectl(self, *arguments: str, stdin: Any = None) -> str:
        done = self.server.run_kubectl(*arguments, stdin=json.dumps(stdin) if stdin is not None else None)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        (deployment,) = [document for document in self._made if document["kind"] == "Deployment"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        of_the_pod = {
            "metadata.namespace": self.namespace,
            "metadata.name": f"{NAME}-0",
            "limits.memory": str(512 << 20),
        }
        health, metrics = free_ports(2)
        environment = {
            **{key: value for key, value in os.environ.items() if key != "KUBERNETES_SERVICE_HOST"},
            "KUBECONFIG": str(self.server.kubeconfig(self.token, NAME)),
            **{
                entry["name"]: entry.get("value") or of_the_pod[_place(entry["valueFrom"])]
                for entry in container["env"]
                if entry.get("value") != ""
            },
            # Its pod would have them to itself.
            "CHATOPERATOR_HEALTH_PORT": str(health),
            "CHATOPERATOR_METRICS_PORT": str(metrics),
        }
        with (self._folder / "operator.log").open("wb") as out:
            self._process = forks.begin("tests.support.operator_process", [], environment, out, IMPORTED)

    def log(self) -> str:
        return (self._folder / "operator.log").read_text()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        wide = {"ClusterRole", "ClusterRoleBinding"} | rights.POLICIES
        items = [document for document in self._made if document["kind"] in wide]
        self.kubectl("delete", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})

    def may(self, verb: str, what: str, namespace: str) -> bool:
        asked = self.server.run_kubectl("auth", "can-i", verb, what, "-n", namespace, f"--as={self.user}")
        return asked.stdout.strip() == "yes"

    async def brings_up(self, chatcluster: dict[str, Any], namespace: str) -> None:
        """Create a ChatCluster and play the Job controller until its servers and its proxies are there."""
        chatcluster["metadata"]["namespace"] = namespace
        self.kubectl("create", "-f", "-", stdin=chatcluster)

        async def there(kind: str, name: str) -> bool:
            found = await asyncio.to_thread(self.server.admin(namespace).list, kind)
            return any(name in one["metadata"]["name"] for one in found)

        await until(lambda: there("job", "demo-migrate"), f"a Job in {namespace}", PATIENCE_SECONDS)
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = [{"type": of, "status": "True", "lastTransitionTime": now} for of in ("SuccessCriteriaMet", "Complete")]
        status = {"conditions": done, "succeeded": 1, "startTime": now, "completionTime": now}
        job = self.kubectl("get", "jobs", "-n", namespace, "-o", "name").strip()
        patch = json.dumps({"status": status})
        self.kubectl("patch", job, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        for name in ("demo-chatserver", "demo-ingress"):
            await until(lambda name=name: there("deployment", name), f"{name} in {namespace}", PATIENCE_SECONDS)  # type: ignore[misc]

    def requests(self) -> list[dict[str, Any]]:
        """What the operator has asked the API server."""
        return [entry for entry in self.server.audit(self.user) if entry["user"].get("username") == self.user]


@pytest.fixture
def namespaces(server: ApiServer, namespace: str) -> Iterator[list[str]]:
    """Four namespaces; what is in them ends with the test."""
    made = [namespace, f"{namespace}-second", f"{namespace}-third", f"{namespace}-fourth"]
    for name in made[1:]:
        assert server.run_kubectl("create", "namespace", name).returncode == 0
    yield made
    for name in made[1:]:
        server.run_kubectl("delete", "cc", "--all", "-n", name)


@pytest.fixture
def install(server: ApiServer, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Release]]:
    """Makes a release in a namespace of its own."""
    made: list[Release] = []
    own = f"{namespace}-system"
    assert server.run_kubectl("create", "namespace", own).returncode == 0

    def install(*values: str) -> Release:
        made.append(Release(server, own, tmp_path, *values))
        return made[-1]

    yield install
    for release in made:
        release.close()


def namespace_of(entry: dict[str, Any]) -> str | None:
    """The namespace that a request was about; None for the whole cluster."""
    found = re.search(r"/namespaces/([^/?]+)", entry["requestURI"])
    return found[1] if found else None


@pytest.mark.integration
async def test_in_named_namespaces_it_serves_those_and_can_read_no_other(
    install: Callable[..., Release], namespaces: list[str], minimal: dict[str, Any]
) -> None:
    """A namespace whose Role is gone, as when it was deleted, keeps nothing from the others."""
    first, second, gone, stranger = namespaces
    release = install(f"watchNamespaces={{{gone},{first},{second}}}")
    release.kubectl("delete", "rolebinding", NAME, "-n", gone)
    minimal["metadata"]["namespace"] = stranger
    release.kubectl("create", "-f", "-", stdin=minimal)
    release.start()
    await release.brings_up(minimal, first)
    await release.brings_up(minimal, second)

    assert release.kubectl("get", "all,secrets,configmaps,networkpolicies", "-n", stranger, "-o", "name").split() == [
        "chatcluster.chatcluster.io/demo"
    ]
    asked = [entry for entry in release.requests() if "objectRef" in entry and "resource" in entry["objectRef"]]
    assert {namespace_of(entry) for entry in asked} == {first, second, gone, release.namespace}
    refused = [entry for entry in asked if entry["responseStatus"]["code"] == httpx.codes.FORBIDDEN]
    assert {namespace_of(entry) for entry in refused} == {gone}
    assert "cannot read a namespace" in release.log()
    for what in ("secrets", "chatclusters", "pods"):
        assert release.may("list", what, first)
        assert not release.may("list", what, stranger)
    assert not release.may("get", "secrets", release.namespace), "what lies beside the operator is none of its business"


@pytest.mark.integration
async def test_in_the_whole_cluster_it_serves_all_namespaces(
    install: Callable[..., Release], namespaces: list[str], minimal: dict[str, Any]
) -> None:
    release = install()
    release.start()
    for namespace in namespaces[:2]:
        await release.brings_up(minimal, namespace)
    codes = {entry["responseStatus"]["code"] for entry in release.requests()}
    assert httpx.codes.FORBIDDEN not in codes
    # Not more than it needs of what could make it more than it is.
    for verb, what in (
        ("bind", "roles"),
        ("escalate", "roles"),
        ("create", "pods/exec"),
        ("list", "nodes"),
        ("delete", "secrets"),
    ):
        assert not release.may(verb, what, namespaces[0]), what


@pytest.mark.soak
async def test_a_namespace_whose_role_comes_back_is_served_again(
    install: Callable[..., Release], namespaces: list[str], minimal: dict[str, Any]
) -> None:
    first, gone, *_ = namespaces
    release = install(f"watchNamespaces={{{gone},{first}}}")
    binding = json.loads(release.kubectl("get", "rolebinding", NAME, "-n", gone, "-o", "json"))
    release.kubectl("delete", "rolebinding", NAME, "-n", gone)
    release.start()
    await release.brings_up(minimal, first)
    assert not release.may("list", "secrets", gone)
    release.kubectl("create", "-f", "-", stdin={**binding, "metadata": {"name": NAME, "namespace": gone}})
    await release.brings_up(minimal, gone)


def _place(source: dict[str, dict[str, str]]) -> str:
    """What of the pod an environment variable takes its value from."""
    return source["fieldRef"]["fieldPath"] if "fieldRef" in source else source["resourceFieldRef"]["resource"]
