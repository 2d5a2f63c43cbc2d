"""What the cluster autoscaler reads on running pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatoperator.metadata import SAFE_TO_EVICT_ANNOTATION, SAFE_TO_EVICT_VOLUMES_ANNOTATION

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration


async def _told(operator: Operator, pod: str) -> dict[str, str]:
    annotations = (await operator.get("Pod", pod))["metadata"].get("annotations", {})
    return {name: value for name, value in annotations.items() if name.startswith(SAFE_TO_EVICT_ANNOTATION)}


async def test_pods_that_lose_nothing_do_not_hold_their_node(operator: Operator) -> None:
    """Without a word, an emptyDir keeps the cluster autoscaler from ever removing its node."""
    await operator.brought_up()
    for part in ("chatserver", "ingress", "postgres"):
        operator.pod(f"demo-{part}-a", part)
    await operator.reconcile()
    for part, workload in (("chatserver", "Deployment"), ("ingress", "Deployment"), ("postgres", "StatefulSet")):
        spec = (await operator.get(workload, f"demo-{part}"))["spec"]["template"]["spec"]
        empty = [volume["name"] for volume in spec["volumes"] if "emptyDir" in volume]
        told = {SAFE_TO_EVICT_VOLUMES_ANNOTATION: ",".join(empty)} if part != "postgres" else {}
        assert await _told(operator, f"demo-{part}-a") == told
    writes = operator.writes()
    await operator.reconcile(2)
    assert [write for write in operator.writes()[len(writes) :] if "/pods/" in write] == []


async def test_the_users_word_stays(operator: Operator) -> None:
    annotations = {SAFE_TO_EVICT_ANNOTATION: "false"}
    operator.chatcluster["spec"]["chatserver"] = {"podTemplate": {"annotations": annotations}}
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    operator.kubectl("annotate", "pod", "demo-chatserver-a", f"{SAFE_TO_EVICT_ANNOTATION}=false")
    await operator.reconcile()
    assert await _told(operator, "demo-chatserver-a") == annotations
