"""Modes External and Disabled: kubectl scale and Kubernetes' own HPA controller through the scale subresource."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.errors import OutdatedError
from chatoperator.observed import Reading
from tests.support.cluster import until

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

CPU_TARGET = {"type": "Utilization", "averageUtilization": 70}


@pytest.fixture
async def external(operator: Operator) -> Operator:
    operator.chatcluster["spec"]["chatserver"] = {"scaling": {"mode": "External", "replicas": 2}}
    await operator.brought_up()
    return operator


def _scale(operator: Operator) -> dict[str, Any]:
    path = f"/apis/chatcluster.io/v1alpha1/namespaces/{operator.namespace}/chatclusters/demo/scale"
    made: dict[str, Any] = json.loads(operator.kubectl("get", "--raw", path))
    return made


async def test_kubectl_scale_reaches_the_servers(external: Operator) -> None:
    external.kubectl("scale", "cc/demo", "--replicas=5")
    await external.reconcile()
    assert (await external.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 5
    assert (await external.status())["desiredReplicas"] == 5
    scaling = await external.condition("ScalingActive")
    assert (scaling["status"], scaling["reason"]) == ("False", "External")


@pytest.mark.parametrize("way", ["client-side", "server-side"])
async def test_a_file_without_a_number_never_moves_it(operator: Operator, way: str) -> None:
    """As GitOps applies it again and again beside an HPA, or a person with kubectl scale."""
    operator.chatcluster["spec"]["chatserver"] = {"scaling": {"mode": "External"}}
    file = json.dumps(operator.chatcluster)
    apply = ["apply", "-f", "-", *(["--server-side", "--field-manager=argocd"] if way == "server-side" else [])]
    operator.kubectl(*apply, stdin=file)
    assert _scale(operator)["spec"]["replicas"] == 1
    operator.kubectl("scale", "cc/demo", "--replicas=4")
    for _ in range(2):
        operator.kubectl(*apply, stdin=file)
        assert _scale(operator)["spec"]["replicas"] == 4


async def test_a_file_without_a_number_does_not_leave_mode_internal(operator: Operator) -> None:
    """Its default would end all chatservers but one."""
    await operator.brought_up()
    assert _scale(operator)["spec"]["replicas"] == 1
    path = ["patch", "cc", "demo", "--type=merge", "-p"]
    refused = operator.server.run_kubectl(
        *path, '{"spec":{"chatserver":{"scaling":{"mode":"External"}}}}', "-n", operator.namespace
    )
    assert "Set it to status.desiredReplicas" in refused.stderr
    operator.kubectl(*path, '{"spec":{"chatserver":{"scaling":{"mode":"External","replicas":2}}}}')
    # From there on any number goes.
    operator.kubectl("scale", "cc/demo", "--replicas=1")
    operator.patch({"paused": True})


async def test_what_an_hpa_reads_is_never_late(external: Operator) -> None:
    """`status.replicas` follows the Deployment at each reconcile, and the selector selects the servers' pods."""
    for count in (2, 3, 4):
        external.patch_status("deployment", "demo-chatserver", {"replicas": count, "readyReplicas": count - 1})
        await external.reconcile(seconds=0)
        assert _scale(external)["status"]["replicas"] == count
    external.pod("demo-chatserver-a")
    selected = external.kubectl("get", "pods", "-l", _scale(external)["status"]["selector"], "-o", "name")
    assert selected.split() == ["pod/demo-chatserver-a"]


async def test_connections_decide_nothing_in_external_mode(external: Operator) -> None:
    external.pod("demo-chatserver-a")
    external.prober.connections = {"demo-chatserver-a": Reading(connections=90_000, draining=False)}
    await external.reconcile(2)
    assert (await external.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 2
    assert (await external.status())["connections"] == 90_000


async def test_disabled_keeps_the_number_of_the_spec(operator: Operator) -> None:
    operator.chatcluster["spec"]["chatserver"] = {"scaling": {"mode": "Disabled", "replicas": 3}}
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    operator.prober.connections = {"demo-chatserver-a": Reading(connections=90_000, draining=False)}
    await operator.reconcile(2)
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 3
    assert (await operator.condition("ScalingActive"))["reason"] == "Disabled"


async def test_from_external_to_internal_nothing_jumps(external: Operator) -> None:
    external.kubectl("scale", "cc/demo", "--replicas=6")
    await external.reconcile()
    external.kubectl(
        "patch", "cc", "demo", "--type=merge", "-p",
        '{"spec":{"chatserver":{"scaling":{"mode":"Internal","replicas":null}}}}',
    )  # fmt: skip
    await external.reconcile(3)
    assert (await external.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 6


async def test_a_real_hpa_moves_the_servers_and_the_operator_does_not_fight_it(external: Operator) -> None:
    """Kubernetes' own controller brings the number into its bounds, which needs no metrics."""
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "demo"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "name": "demo"},
            "minReplicas": 4,
            "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": CPU_TARGET}}],
        },
    }
    external.kubectl("apply", "-f", "-", stdin=json.dumps(hpa))
    with external.server.controllers(
        "horizontal-pod-autoscaler-controller", options=["--horizontal-pod-autoscaler-sync-period=1s"]
    ):
        await _settle(external, 4)
        external.kubectl("scale", "cc/demo", "--replicas=9")
        await _settle(external, 6)
        before = external.writes()
        await external.reconcile(3)
        # The HPA's own status and Events go on; nobody writes the number any more.
        written = [write.split("?")[0] for write in external.writes()[len(before) :]]
        assert [
            write for write in written if "/events" not in write and "/horizontalpodautoscalers/" not in write
        ] == []


async def _settle(operator: Operator, replicas: int) -> None:
    async def settled() -> bool:
        # The HPA may write in the middle of a reconcile, which the work queue then begins again.
        with contextlib.suppress(OutdatedError):
            await operator.reconcile()
        live = await operator.get("Deployment", "demo-chatserver")
        # What the Deployment controller reports, which does not run here.
        wanted = live["spec"]["replicas"]
        if live.get("status", {}).get("replicas") != wanted:
            operator.patch_status("deployment", "demo-chatserver", {"replicas": wanted, "readyReplicas": wanted})
        return bool(wanted == replicas)

    await until(settled, f"the HPA has brought the servers to {replicas}", PATIENCE_SECONDS, poll_seconds=0.5)
    await operator.reconcile()
