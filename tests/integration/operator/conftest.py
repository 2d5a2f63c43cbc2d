"""Fixtures of the tests on a real API server: one a run, a namespace a test."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.kube.client import Kube, connect
from chatoperator.metadata import KIND
from tests.support import rights
from tests.support.apiserver import RELEASE_TOKEN, ApiServer, running
from tests.support.cluster import ROOT
from tests.support.crds import await_established
from tests.support.front import in_front
from tests.support.many import Many
from tests.support.operator_processes import Operators, allow
from tests.support.operators import Operator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.front import Front

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """The API server with the ChatCluster's CRD, the chart's rights and its policies."""
    with running() as made:
        crd = str(ROOT / "crds" / "chatcluster.yaml")
        applied = made.run_kubectl("apply", "-f", crd)
        assert applied.returncode == 0, applied.stderr
        await_established(made, crd)
        rights.install(made)
        yield made


@pytest.fixture
def namespace(server: ApiServer) -> Iterator[str]:
    """A fresh namespace that refuses pods which are not restricted; its ChatClusters end with the test."""
    name = f"chat-{next(_numbers)}"
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    server.client.post("/api/v1/namespaces", json=manifest).raise_for_status()
    yield name
    # Otherwise operators of later tests, which serve all namespaces, would reconcile them too.
    server.admin(name).delete_all(KIND)


@pytest.fixture
async def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """The operator's client, as the admin."""
    monkeypatch.delitem(os.environ, "KUBERNETES_SERVICE_HOST", raising=False)
    async with connect(str(server.kubeconfig())) as made:
        yield made


@pytest.fixture
async def release(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """The same with the rights of the chart's release and under its policies, and with no other rights."""
    monkeypatch.delitem(os.environ, "KUBERNETES_SERVICE_HOST", raising=False)
    async with connect(str(server.kubeconfig(RELEASE_TOKEN, "release"))) as made:
        yield made


@pytest.fixture
def minimal(namespace: str) -> dict[str, Any]:
    """The least ChatCluster that is valid."""
    return {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}}},
    }


@pytest.fixture
def operator(kube: Kube, release: Kube, server: ApiServer, minimal: dict[str, Any]) -> Operator:
    """A reconciler of the ChatCluster `demo`, which the test has still to create."""
    return Operator(kube, server, minimal, own=release)


@pytest.fixture
def many(kube: Kube, release: Kube, namespace: str) -> Many:
    """A reconciler of many ChatClusters, which the test has still to create."""
    return Many(kube, release, namespace)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A real HAProxy with what the operator renders, and a server behind it."""
    async with in_front(tmp_path) as made:
        yield made


@pytest.fixture
def operators(server: ApiServer, namespace: str, tmp_path: Path) -> Iterator[Operators]:
    """Processes of one namespace, none of which runs yet; all end with the test."""
    allow(server, namespace)
    made = Operators(server, namespace, tmp_path)
    yield made
    made.close()
