"""ChatClusters with the largest, deepest and strangest values that the schema accepts, beside a healthy one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatoperator.metadata import KIND
from tests.operator.test_crd import SCHEMA
from tests.support.cluster import until
from tests.support.extremes import ALONE, extremes, merged, without
from tests.support.findings import tell
from tests.support.tenant import Tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer
    from tests.support.operator_processes import Operators

PATIENCE_SECONDS = 120

MEMORY_MAX_MIB = 300
"""The chart's limit is 512."""

SPEC = SCHEMA["properties"]["spec"]

BESIDE: Mapping[str, dict[str, Any]] = {
    "ingress.tls.secretName": {"ingress": {"tls": {"mode": "Secret"}}},
    "ingress.tls.issuerRef": {"ingress": {"hostnames": ["a.example.com"], "tls": {"mode": "CertManager"}}},
    "ingress.front": {"ingress": {"hostnames": ["a.example.com"]}},
    "ingress.service.nodePort": {"ingress": {"service": {"type": "NodePort"}}},
    "auth.otp.webhook": {"auth": {"otp": {"sender": "Webhook"}}},
    "chatserver.scaling.replicas": {"chatserver": {"scaling": {"mode": "Disabled"}}},
    "chatserver.scaling.minReplicas": {"chatserver": {"scaling": {"maxReplicas": 100}}},
}
"""What the rules ask for beside a field."""


def _cases(*, every: bool) -> dict[str, Any]:
    """By the path and what is extreme there; without `every`, some of each kind, most of them the largest."""
    found = dict(extremes(without(SPEC, ALONE)))
    if every:
        return found
    one_of = {"most entries": 4, "everything": 12, "longest": 12, "quantity": 24, "strange": 24}
    kinds = {where: next((kind for kind in one_of if f": {kind}" in where), None) for where in found}
    return {
        where: value
        for where, value in found.items()
        if (kind := kinds[where]) and where.count(".") < 5 and number(where) % one_of[kind] == 0
    }


def number(where: str) -> int:
    """The same for the same text in each run."""
    return sum(where.encode())


@pytest.fixture
async def tenant(server: ApiServer, namespace: str) -> AsyncIterator[Tenant]:
    made = Tenant(server, namespace)
    yield made
    await made.close()


async def _reconciled(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant, cases: Mapping[str, Any], unpaused: int
) -> None:
    """Create what the API server accepts, the last ones not paused; all are reported, and another is served."""
    namespace = operators.namespace
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1")
    accepted: dict[str, str] = {}
    refused: dict[str, str] = {}

    async def create(order: int, where: str, value: Any) -> None:
        beside = [extra for path, extra in BESIDE.items() if where.startswith(path)]
        spec = {**minimal["spec"], "paused": order >= unpaused}
        for extra in (*beside, value):
            spec = merged(spec, extra)
        name = f"x-{order}"
        answer = await tenant.create({**minimal, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
        if answer.status_code == httpx.codes.CREATED:
            accepted[name] = where
        else:
            refused[where] = answer.text[:300]

    ordered = sorted(cases.items(), key=lambda case: -len(str(case[1])))
    await asyncio.gather(*(create(order, *case) for order, case in enumerate(ordered)))
    assert len(accepted) > len(cases) / 2, refused
    await tenant.store([{**minimal, "metadata": {"name": "demo", "namespace": namespace}}])

    async def served() -> bool:
        return await kube.get("Service", namespace, "demo-ingress") is not None

    took = await until(served, "the healthy one is served", PATIENCE_SECONDS, poll_seconds=0.1)
    silent: list[str] = []

    async def reported() -> bool:
        silent[:] = [
            accepted[one["metadata"]["name"]]
            async for page, _ in kube.pages(KIND, namespace)
            for one in page
            if one["metadata"]["name"] in accepted and not (one.get("status") or {}).get("conditions")
        ]
        return not silent

    await until(reported, "all are reported", PATIENCE_SECONDS, poll_seconds=1, otherwise=lambda: "\n".join(silent))
    await operators.comes_back("demo-ingress")
    assert process.runs
    assert process.health()[0] == httpx.codes.OK
    assert not process.says("task failed")
    assert '"code": "Unexpected"' not in process.log.read_text()
    assert process.peak_mib() < MEMORY_MAX_MIB
    tell(
        f"{len(accepted)} of {len(cases)} extreme ChatClusters accepted: the healthy one served after {took:.1f} s, "
        f"{process.peak_mib():.0f} MiB at the most"
    )


@pytest.mark.integration
async def test_extreme_values_of_each_kind_hold_up_no_healthy_one(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant
) -> None:
    await _reconciled(kube, operators, minimal, tenant, _cases(every=False), 4)


@pytest.mark.soak
async def test_every_extreme_value_of_each_field_holds_up_no_healthy_one(
    kube: Kube, operators: Operators, minimal: dict[str, Any], tenant: Tenant
) -> None:
    await _reconciled(kube, operators, minimal, tenant, _cases(every=True), 40)
