"""What the API server refuses is told with the object, the field of the spec and what to do: in its real words."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.errors import KubeError
from chatoperator.parts.database.logins import REQUEST_ANNOTATION as ROTATE_ANNOTATION

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

REFUSED = {"tolerations": [{"key": "example.com/size", "operator": "Gt", "value": "5"}]}
"""An API server without Kubernetes' feature for comparing taints refuses it."""


async def _told(operator: Operator, spec: dict[str, Any]) -> str:
    """What Progressing says after a change that the API server refuses to follow."""
    operator.patch(spec)
    with contextlib.suppress(KubeError):
        await operator.reconcile()
    made = await operator.condition("Progressing")
    assert (made["status"], made["reason"]) == ("False", "ApplyFailed")
    assert "PATCH" not in made["message"]
    return str(made["message"])


async def test_a_field_that_cannot_work_is_told_by_its_name_in_the_spec(operator: Operator) -> None:
    await operator.brought_up()
    told = await _told(operator, {"ingress": {"podTemplate": REFUSED}})
    assert told.startswith("Deployment demo-ingress (spec.ingress.podTemplate): ")
    assert "Unsupported value" in told
    assert "Correct spec.ingress.podTemplate" in told


async def test_no_refusal_hides_another(operator: Operator) -> None:
    await operator.brought_up()
    told = await _told(operator, {"ingress": {"podTemplate": REFUSED}, "database": {"podTemplate": REFUSED}})
    assert "Deployment demo-ingress (spec.ingress.podTemplate): " in told
    assert "StatefulSet demo-postgres (spec.database.podTemplate): " in told


async def test_a_quota_that_forbids_an_object_is_told_in_kubernetes_words(operator: Operator) -> None:
    await operator.brought_up()
    hard = {"count/ingresses.networking.k8s.io": "0"}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": hard},
    }
    operator.kubectl("create", "-f", "-", stdin=json.dumps(quota))
    operator.patch_status("resourcequota", "full", {"hard": hard, "used": hard})
    told = await _told(operator, {"ingress": {"hostnames": ["chat.example.com"], "front": {"kind": "Ingress"}}})
    assert told.startswith("Ingress demo-front (spec.ingress.front): exceeded quota: full, requested: ")
    assert "Change the quota, policy or webhook that rejects it, or correct spec.ingress.front" in told


EXTERNAL = {"type": "ExternalName", "externalName": "elsewhere.example.com", "clusterIP": None, "clusterIPs": None}


async def test_what_somebody_else_made_of_a_service_is_undone_by_deleting_it(operator: Operator) -> None:
    """An apply keeps what others have set, and so the chart's own policy refuses it: no spec can be corrected."""
    await operator.brought_up()
    names = ("demo-chatserver", "demo-postgres", "demo-ingress")
    for name in names:
        operator.admin.patch("service", name, {"spec": EXTERNAL})
    told = await _told(operator, {})
    for name in names:
        assert (
            f"Another user or program has set that in Service {name}: delete it, and the operator recreates it" in told
        )
        operator.admin.delete("service", name)
    await operator.reconcile(2)
    for name in names:
        assert (await operator.get("Service", name))["spec"]["type"] != "ExternalName"
    assert (await operator.condition("Progressing"))["reason"] != "ApplyFailed"


async def test_what_is_told_of_an_immutable_secret_keeps_its_content(operator: Operator) -> None:
    await operator.brought_up()
    await operator.reconcile()
    before = await operator.get("Secret", "demo-database")
    operator.admin.patch("secret", "demo-database", {"immutable": True})
    operator.kubectl("annotate", "cc", "demo", f"{ROTATE_ANNOTATION}=now")
    told = await _told(operator, {})
    read = f"kubectl get secret demo-database -n {operator.namespace} -o yaml"
    assert f"{read} | sed '/^immutable:/d' | kubectl replace --force -f -" in told
    kept = operator.kubectl("get", "secret", "demo-database", "-o", "yaml").splitlines()
    mutable = "\n".join(line for line in kept if not line.startswith("immutable:"))
    operator.kubectl("replace", "--force", "-f", "-", stdin=mutable)
    await operator.reconcile(2)
    after = await operator.get("Secret", "demo-database")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    # The rotation, which goes on, makes the other login's password and nothing else.
    assert {key for key in after["data"] if after["data"][key] != before["data"].get(key)} == {
        "password.chat_b",
        "revision",
    }
    assert (await operator.condition("Progressing"))["reason"] not in {"ApplyFailed", "CredentialsLost"}
