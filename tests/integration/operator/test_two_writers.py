"""Others write what the operator writes: another operator, an admin, a policy. That is reported and slowed down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.kube.contest import UNDONE_FREELY
from chatoperator.reconcile.rivals import ANSWER_SECONDS, CHALLENGE_SECONDS

if TYPE_CHECKING:
    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer

from tests.support.admission import changed_services
from tests.support.operators import Operator

pytestmark = pytest.mark.integration

SWEEP_SECONDS = 15


@pytest.fixture
def other(kube: Kube, server: ApiServer, operator: Operator) -> Operator:
    """An operator of another release, of the same ChatCluster."""
    made = Operator(kube, server, operator.chatcluster)
    made.restart(namespace="other-system", version="2")
    return made


async def test_of_two_operators_one_leads_and_both_say_so(operator: Operator, other: Operator) -> None:
    await operator.brought_up()
    assert (await operator.condition("Contested"))["status"] == "False"
    before = len(operator.writes())
    for _ in range(8):
        await operator.reconcile()
        await other.reconcile()
    made = await operator.condition("Contested")
    assert (made["status"], made["reason"]) == ("True", "OtherOperator")
    assert "other-system/chatcluster-operator (release 2)" in made["message"]
    written = operator.writes()[before:]
    assert len(written) <= 4, written
    assert all("/status" in write or "/events" in write for write in written)
    status = await operator.status()
    assert status["operator"]["name"] == "chatcluster-system/chatcluster-operator"
    assert status["version"] == "1"


async def test_an_operator_that_is_gone_is_replaced_by_the_one_that_stood_back(
    operator: Operator, other: Operator
) -> None:
    await operator.brought_up()
    await other.reconcile()
    await other.reconcile(2, seconds=ANSWER_SECONDS)
    assert (await operator.status())["operator"]["name"] == "other-system/chatcluster-operator"
    # Who comes back stands back.
    operator.admin.delete("service", "demo-chatserver")
    await operator.reconcile(seconds=CHALLENGE_SECONDS)
    assert "demo-chatserver" not in operator.kubectl("get", "services", "-o", "name")
    await other.reconcile()
    assert "demo-chatserver" in operator.kubectl("get", "services", "-o", "name")
    assert (await operator.condition("Contested"))["reason"] == "OtherOperator"


def _scale(operator: Operator, replicas: int) -> None:
    operator.admin.patch("deployment", "demo-ingress", {"spec": {"replicas": replicas}}, manager="mesh")


def _label(operator: Operator, _: int) -> None:
    labels = {"app.kubernetes.io/component": "mesh"}
    operator.admin.patch("service", "demo-ingress", {"metadata": {"labels": labels}}, manager="mesh")


def _delete(operator: Operator, _: int) -> None:
    # Once the operator waits there is nothing to delete.
    if operator.admin.find("networkpolicy", "demo-postgres") is not None:
        operator.admin.delete("networkpolicy", "demo-postgres")


@pytest.mark.parametrize(
    ("undo", "where", "named"),
    [
        (_scale, "/deployments/demo-ingress", "Deployment demo-ingress (spec.replicas; changed by mesh"),
        (
            _label,
            "/services/demo-ingress",
            "Service demo-ingress (metadata.labels.app.kubernetes.io/component; changed by mesh",
        ),
        (_delete, "/networkpolicies/demo-postgres", "NetworkPolicy demo-postgres (deleted)"),
    ],
    ids=["field", "label", "deletion"],
)
async def test_what_another_writer_undoes_again_and_again_is_slowed_down_and_reported(
    operator: Operator, undo: Any, where: str, named: str
) -> None:
    await operator.brought_up()
    await operator.reconcile()
    before = len(operator.writes())
    rounds = 16
    for number in range(rounds):
        undo(operator, number + 3)
        await operator.reconcile(seconds=SWEEP_SECONDS)
    applied = [write for write in operator.writes()[before:] if write.startswith("patch") and where in write]
    applied = [write for write in applied if "fieldManager=chatcluster-operator" in write]
    assert UNDONE_FREELY < len(applied) < rounds / 2
    made = await operator.condition("Contested")
    assert (made["status"], made["reason"]) == ("True", "OtherWriter")
    assert named in made["message"]
    assert "Another program reverts what the operator applies" in made["message"]
    # A change of the spec waits for nothing.
    operator.patch({"ingress": {"replicas": 5}})
    await operator.reconcile(seconds=1)
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 5
    # The other writer has given up.
    await operator.reconcile(2, seconds=700)
    await operator.reconcile(seconds=1200)
    assert (await operator.condition("Contested"))["status"] == "False"


POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-budgets"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["policy"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["poddisruptionbudgets"],
                }
            ]
        },
        "validations": [{"expression": "false", "message": "no budgets here"}],
    },
}


async def test_a_policy_that_refuses_one_object_keeps_the_others_repaired_and_is_reported(
    operator: Operator, server: ApiServer
) -> None:
    name = f"no-budgets-{operator.namespace}"
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator.namespace}}}
    policy = {**POLICY, "metadata": {"name": name}}
    binding = {
        "apiVersion": POLICY["apiVersion"],
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here},
    }
    items = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
    try:
        assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(items)).returncode == 0
        operator.create()
        refused = False
        for _ in range(20):
            # A policy takes some seconds to be in force.
            operator.kubectl("delete", "poddisruptionbudget", "--all")
            try:
                await operator.reconcile()
            except Exception as error:  # noqa: BLE001 - it names the policy
                refused = "no budgets here" in str(error)
                if refused:
                    break
        assert refused
        made = await operator.condition("Progressing")
        assert made["reason"] == "ApplyFailed"
        assert "no budgets here" in made["message"]
        assert "service/demo-ingress" in operator.kubectl("get", "services", "-o", "name")
    finally:
        server.run_kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)


async def test_a_policy_that_changes_what_is_applied_is_told_and_not_fought(operator: Operator) -> None:
    await operator.brought_up()
    async with changed_services(operator.server, operator.namespace, "publishNotReadyAddresses: false"):
        operator.admin.delete("service", "demo-postgres")
        await operator.reconcile(2)
        made = await operator.condition("Contested")
        assert (made["status"], made["reason"]) == ("True", "Overruled")
        assert "Service demo-postgres" in made["message"]
        assert "spec.publishNotReadyAddresses" in made["message"]
        before = operator.writes()
        await operator.reconcile(4)
        assert operator.writes() == before
    operator.admin.delete("service", "demo-postgres")
    await operator.reconcile(2)
    assert (await operator.condition("Contested"))["status"] == "False"
