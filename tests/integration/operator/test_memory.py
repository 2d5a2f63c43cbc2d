"""The memory of a real operator process under what a tenant may store: bounded, reported, and the others served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatoperator.metadata import INSTANCE_LABEL, KIND, MANAGED_BY, MANAGED_BY_LABEL
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.tenant import Tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer
    from tests.support.operator_processes import Operators, Process

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

MEMORY_BYTES = 48 * 1024 * 1024
"""The limit that the operator is told of: 18 MiB of it are for objects, which the tests exceed within seconds."""

JUNK_BYTES = 700_000
"""As base64 a little less than what the operator reads of one object."""


def filler(name: str, instance: str, kind: str = "Secret", size: int = JUNK_BYTES) -> dict[str, Any]:
    """An object with the operator's label."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY, INSTANCE_LABEL: instance}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "stringData" if kind == "Secret" else "data": {"junk": "x" * size},
    }


@pytest.fixture
async def tenant(server: ApiServer, namespace: str) -> AsyncIterator[Tenant]:
    made = Tenant(server, namespace)
    yield made
    await made.remove("Secret", MANAGED_BY_LABEL)
    await made.remove("ConfigMap", MANAGED_BY_LABEL)
    await made.close()


async def _served(kube: Kube, operators: Operators, minimal: dict[str, Any], name: str) -> None:
    made = {**minimal, "metadata": {"name": name, "namespace": operators.namespace}}
    await asyncio.to_thread(operators.admin.create, made)

    async def there() -> bool:
        return await kube.get("Service", operators.namespace, f"{name}-ingress") is not None

    await until(there, f"{name} is served", PATIENCE_SECONDS, poll_seconds=0.1)


async def _figure(process: Process, name: str) -> float | None:
    """One of its metrics, as Prometheus reads it."""
    page = await asyncio.to_thread(process.metrics)
    found = [line for line in page.splitlines() if line.startswith(name)]
    return float(found[0].rpartition(" ")[2]) if found else None


async def test_what_only_has_the_operators_label_takes_none_of_its_memory(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant
) -> None:
    await tenant.store(filler(f"filler-{number}", "demo") for number in range(40))
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1", CHATOPERATOR_MEMORY_BYTES=str(MEMORY_BYTES))
    await _served(kube, operators, minimal, "demo")
    quiet = process.peak_mib()
    # While it watches, too.
    await tenant.store(filler(f"later-{number}", "demo", "ConfigMap") for number in range(30))
    await operators.comes_back("demo-ingress")
    assert await _figure(process, "chatcluster_cache_without_room_objects") is None
    taken = await _figure(process, "chatcluster_cache_bytes")
    assert taken is not None
    assert taken < 1024 * 1024
    assert process.peak_mib() < quiet + 40
    tell(f"70 objects of {JUNK_BYTES} bytes with the operator's label: {process.peak_mib():.0f} MiB at the most")


async def test_a_tenant_who_fills_the_memory_is_reported_and_the_others_are_served(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant
) -> None:
    """With names that a chat's own objects would have."""
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1", CHATOPERATOR_MEMORY_BYTES=str(MEMORY_BYTES))
    await _served(kube, operators, minimal, "demo")
    quiet = process.peak_mib()
    await tenant.store(filler(f"x{number}-database", f"x{number}") for number in range(36))
    await _served(kube, operators, minimal, "late")
    await operators.comes_back("demo-ingress")

    async def reported() -> bool:
        return bool(await _figure(process, "chatcluster_cache_without_room_objects"))

    await until(reported, "the namespace is reported", PATIENCE_SECONDS, poll_seconds=0.5)
    assert process.says("no memory for all objects of a namespace")
    taken = await _figure(process, "chatcluster_cache_bytes")
    assert taken is not None
    assert taken <= MEMORY_BYTES * 3 / 8
    assert process.peak_mib() < quiet + MEMORY_BYTES * 3 / 8 / 1024 / 1024 + 40
    assert process.health()[0] == httpx.codes.OK
    tell(f"36 of a chat's own names with {JUNK_BYTES} bytes each: {process.peak_mib():.0f} MiB at the most")


async def test_a_chat_whose_own_object_is_filled_is_told_of_it_and_no_other_is(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant
) -> None:
    """Somebody stores large objects in names of one chat before it is made."""
    await tenant.store(filler(f"bad-{part}", "bad") for part in ("database", "chatserver", "ingress-ca", "ingress-tls"))
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1")
    made = {**minimal, "metadata": {"name": "bad", "namespace": operators.namespace}}
    await asyncio.to_thread(operators.admin.create, made)
    await _served(kube, operators, minimal, "demo")

    async def told() -> bool:
        live = await kube.get(KIND, operators.namespace, "bad") or {}
        found = [c for c in (live.get("status") or {}).get("conditions", []) if c["type"] == "Progressing"]
        return bool(found) and found[0]["reason"] == "NameTaken" and "Secret bad-database" in found[0]["message"]

    await until(told, "it is told of", PATIENCE_SECONDS, poll_seconds=0.3)
    assert process.runs
