"""Applying: the order, what one refusal keeps back, and that no chatserver goes without having been marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from chatoperator.desired.manifests import render
from chatoperator.observed import Observed, Pod, Reading
from chatoperator.reconcile.apply import APPLY_ALL_SECONDS, Applier
from chatoperator.reconcile.outcome import Outcome
from chatoperator.reconcile.state import State
from tests.support.chatclusters import cluster, desired, pod
from tests.support.memoryapi import MemoryApi

if TYPE_CHECKING:
    from chatoperator.desired import Desired

SERVERS = ("Deployment", "demo-chatserver")


class Applying:
    """An applier on an API server in memory.

    Attributes:
        outcome: Of the last call.
        seconds: Of its clock.
    """

    def __init__(self, *refuses: str) -> None:
        self.api = MemoryApi(*refuses)
        self.state = State()
        self.seconds = 0.0
        self.pods: tuple[Pod, ...] = ()
        self.outcome = Outcome()
        self._applier = Applier(cast("Any", self.api), cast("Any", self.api), monotonic=lambda: self.seconds)

    async def apply(self, made: Desired) -> Desired:
        """Apply on what there is, as a new reconcile."""
        self.outcome = Outcome()
        self.api.requests.clear()
        observed = Observed(dict(self.api.objects), self.pods)
        return await self._applier.apply_all(made, observed, self.state, self.outcome)

    @property
    def replicas(self) -> int:
        """That the Deployment of the chatservers asks for."""
        return int(self.api.objects[SERVERS]["spec"]["replicas"])


def server(name: str) -> Pod:
    return pod(name, "chatserver")


def names(made: Desired) -> list[str]:
    return [f"apply {one['kind']}/{one['metadata']['name']}" for one in render(made)]


async def test_objects_are_applied_in_order_and_only_once() -> None:
    made, applying = desired(cluster()), Applying()
    await applying.apply(made)
    assert applying.api.requests == names(made)
    await applying.apply(made)
    assert applying.api.requests == []
    applying.seconds = APPLY_ALL_SECONDS
    await applying.apply(made)
    assert applying.api.requests == names(made), "fields that others added are undone"


async def test_only_what_differs_is_applied() -> None:
    applying = Applying()
    await applying.apply(desired(cluster()))
    await applying.apply(desired(cluster(), replicas=3))
    assert applying.api.requests == ["apply Deployment/demo-chatserver"]
    changed = applying.api.objects[SERVERS]
    applying.api.objects[SERVERS] = {
        **changed,
        "metadata": {**changed["metadata"], "resourceVersion": "1000"},
        "spec": {**changed["spec"], "replicas": 9},
    }
    await applying.apply(desired(cluster(), replicas=3))
    assert applying.replicas == 3
    applying.api.objects[SERVERS]["metadata"]["resourceVersion"] = "2000"
    applying.api.objects[SERVERS]["status"] = {"replicas": 3}
    await applying.apply(desired(cluster(), replicas=3))
    assert applying.api.requests == [], "a status is not the operator's"


async def test_one_refusal_does_not_keep_the_other_objects_from_being_applied() -> None:
    refused = {"apply Service/demo-chatserver", "apply NetworkPolicy/demo-ingress"}
    made, applying = desired(cluster()), Applying(*refused)
    await applying.apply(made)
    assert applying.api.requests == names(made)
    assert {str(error).partition(" is forbidden")[0] for error in applying.outcome.failures} == refused
    assert applying.outcome.has_refused({"NetworkPolicy"})
    assert not applying.outcome.has_refused({"Ingress"})


async def test_a_workload_waits_for_the_content_that_was_refused_and_the_others_do_not() -> None:
    applying = Applying()
    await applying.apply(desired(cluster()))
    applying.api.refuses = {"apply ConfigMap/demo-ingress"}
    changed = cluster(ingress={"hostnames": ["chat.example.com"]}, chatserver={"drainSeconds": 60})
    await applying.apply(desired(changed))
    assert "apply ConfigMap/demo-ingress" in applying.api.requests
    assert "apply Deployment/demo-ingress" not in applying.api.requests
    assert "apply Deployment/demo-chatserver" in applying.api.requests


async def test_what_was_refused_is_not_sent_twice_in_one_reconcile() -> None:
    made, applying = desired(cluster()), Applying("apply Service/demo-chatserver")
    await applying.apply(made)
    observed = Observed(dict(applying.api.objects), ())
    applier = Applier(cast("Any", applying.api), cast("Any", applying.api), monotonic=lambda: 0)
    assert applier.pending(made, observed, applying.state, applying.outcome) == {}
    assert applier.pending(made, observed, applying.state, Outcome()).keys() == {("Service", "demo-chatserver")}


async def with_three_servers() -> Applying:
    applying = Applying()
    await applying.apply(desired(cluster(), replicas=3))
    applying.pods = (server("a"), server("b"), server("c"))
    applying.state.readings = {
        name: Reading(count, draining=False) for name, count in zip("abc", (9, 3, 7), strict=True)
    }
    return applying


async def test_servers_are_marked_before_their_number_is_lowered() -> None:
    applying = await with_three_servers()
    made = await applying.apply(desired(cluster(), replicas=2))
    assert applying.api.requests == ["annotate Pod/b", "apply Deployment/demo-chatserver"]
    assert (made.replicas, applying.replicas) == (2, 2)


@pytest.mark.parametrize("drain_seconds", [30, 60])
async def test_where_marking_fails_the_number_stays_and_the_rest_is_applied(drain_seconds: int) -> None:
    applying = await with_three_servers()
    applying.api.refuses = {"annotate Pod/b"}
    changed = cluster(chatserver={"drainSeconds": drain_seconds}, ingress={"replicas": 5})
    made = await applying.apply(desired(changed, replicas=2))
    assert (made.replicas, applying.replicas) == (3, 3)
    assert applying.api.objects["Deployment", "demo-ingress"]["spec"]["replicas"] == 5
    assert len(applying.outcome.failures) == 1
    applying.api.refuses = set()
    await applying.apply(desired(changed, replicas=2))
    assert applying.replicas == 2


async def test_another_refusal_does_not_hold_the_number() -> None:
    applying = await with_three_servers()
    applying.api.refuses = {"apply Deployment/demo-ingress"}
    await applying.apply(desired(cluster(ingress={"replicas": 5}), replicas=4))
    assert applying.replicas == 4
