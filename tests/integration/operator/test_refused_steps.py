"""What the API server refuses keeps nothing else from being done, but for what relies on it; all of it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.errors import KubeError
from chatoperator.metadata import DELETION_COST_ANNOTATION
from tests.support.admission import forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest
    from tests.support.apiserver import ApiServer
    from tests.support.many import Many
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

CLAIM = "PersistentVolumeClaim"


async def test_every_refusal_is_told_and_the_rest_is_made(many: Many, server: ApiServer, namespace: str) -> None:
    async with forbidden(server, namespace, "not on this cluster", "configmaps", "persistentvolumeclaims"):
        await many.create("web")
        raised = await many.reconcile("web", times=2)
    assert isinstance(raised["web"], KubeError)
    reason, message = (await many.conditions("web"))["Progressing"][1:]
    assert reason == "ApplyFailed"
    for name in ("web-ingress", "web-postgres", "web-postgres-data"):
        assert name in message, message
    assert "not on this cluster" in message
    for kind, name in (("StatefulSet", "web-postgres"), ("Deployment", "web-ingress"), ("Service", "web-ingress")):
        await many.get(kind, name)


async def test_the_number_of_servers_stays_where_they_could_not_be_marked(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes would remove any of them, the fullest too."""
    await operator.three_servers()
    annotate = operator.own.annotate
    refuses = True

    async def refused(kind: str, namespace: str, name: str, annotations: Mapping[str, str | None]) -> Manifest | None:
        if refuses and DELETION_COST_ANNOTATION in annotations:
            raise KubeError("PATCH: Timeout", status=504)
        return await annotate(kind, namespace, name, annotations)

    monkeypatch.setattr(operator.own, "annotate", refused)
    operator.patch({"chatserver": {"scaling": {"minReplicas": 1}}, "ingress": {"replicas": 3}})
    with pytest.raises(KubeError, match="Timeout"):
        await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 3
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 3, "the rest goes on"
    refuses = False
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 2


async def test_pods_are_not_told_of_a_secret_that_was_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark on a pod says that kubelet has brought what is in the Secret: later nobody would look again."""
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    await operator.reconcile(2)
    marks = (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"]
    apply = operator.own.apply

    async def refused(manifest: Manifest, **live: Any) -> Manifest:
        if manifest["metadata"]["name"] == "demo-database":
            raise KubeError("PATCH: refused", status=422)
        return await apply(manifest, **live)

    with monkeypatch.context() as patched:
        patched.setattr(operator.own, "apply", refused)
        operator.admin.delete("secret", "demo-database")
        with pytest.raises(KubeError):
            await operator.reconcile()
        assert (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"] == marks
    await operator.reconcile(2)
    assert (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"] != marks


async def test_an_unbound_claim_of_another_class_is_made_anew_and_a_bound_one_is_kept(many: Many) -> None:
    for name in ("unbound", "bound"):
        await many.create(name, database={"storage": {"storageClassName": "wrong"}})
    await many.reconcile("unbound", "bound", times=2)
    await many.bind("bound")
    before = {name: await many.get(CLAIM, f"{name}-postgres-data") for name in ("unbound", "bound")}
    for name in before:
        # As the claim that an earlier ChatCluster of this name has left.
        await many.delete("ChatCluster", name)
    await many.reconcile(*before)
    for name in before:
        await many.create(name, database={"storage": {"storageClassName": "right"}}, ingress={"replicas": 3})
    await many.reconcile(*before)
    # The API server's own finalizer; no pod that runs uses the claim.
    await many.patch(CLAIM, "unbound-postgres-data", {"metadata": {"finalizers": None}})
    raised = await many.reconcile(*before, times=2)
    assert raised == {"unbound": None, "bound": None}
    for name, claim in before.items():
        after = await many.get(CLAIM, f"{name}-postgres-data")
        same = after["metadata"]["uid"] == claim["metadata"]["uid"]
        assert (same, after["spec"]["storageClassName"]) == ((True, "wrong") if name == "bound" else (False, "right"))
        assert (await many.get("Deployment", f"{name}-ingress"))["spec"]["replicas"] == 3
        assert await many.find("StatefulSet", f"{name}-postgres") is not None
    reason, message = (await many.conditions("bound"))["Progressing"][1:]
    assert reason == "StorageClassKept"
    for word in ("bound-postgres-data", "storage class wrong", "(right)", "Set it to wrong"):
        assert word in message
    assert "ClaimReplaced" in {event[1] for event in await many.events("unbound")}
