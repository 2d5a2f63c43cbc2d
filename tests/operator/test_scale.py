"""When servers are read, what is decided from it, and which of them are marked to go."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chatoperator.desired.manifests import render
from chatoperator.errors import KubeError
from chatoperator.metadata import DELETION_COST_ANNOTATION, digest
from chatoperator.observed import Observed, Pod, Reading
from chatoperator.reconcile import scale
from chatoperator.reconcile.state import Applied, Removal, State
from tests.support.chatclusters import FakeProber, body, cluster, desired, pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.autoscaling.autoscaler import Decision

SERVERS = ("Deployment", "demo-chatserver")


class FakeKube:
    """Takes annotations.

    Attributes:
        costs: By pod, what was written as its deletion cost.
        refuses: A pod whose annotation is refused.
    """

    def __init__(self, refuses: str | None = None) -> None:
        self.costs: dict[str, str | None] = {}
        self.refuses = refuses

    async def annotate(
        self, _kind: str, _namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """As of `Kube.annotate`."""
        if name == self.refuses:
            raise KubeError("no", 500)
        self.costs[name] = annotations[DELETION_COST_ANNOTATION]
        return {}


class FakeCache:
    """Takes note."""

    def note(self, raw: Any) -> None:
        """As of `Cache.note`."""


def server(name: str, **changed: Any) -> Pod:
    return pod(name, "chatserver", **{"address": f"10.0.0.{len(name)}", **changed})


def observed(*pods: Pod, replicas: int = 2, **status: Any) -> Observed:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    live = {
        "metadata": {"generation": 1, "name": "demo-chatserver"},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **counts, **status},
    }
    return Observed(children={SERVERS: live}, pods=pods)


def applied(made: ChatCluster, replicas: int) -> State:
    """The memory of an operator that has applied this very Deployment."""
    state = State()
    applied = state.rendered(desired(made, replicas=replicas)).digest_of(SERVERS)
    state.applied[SERVERS] = Applied(str(applied), "1", "", 0)
    return state


async def decided(
    made: ChatCluster, seen: Observed, readings: Mapping[str, Reading | None], state: State, now: float = 1000.0
) -> Decision | None:
    prober = FakeProber()
    prober.connections = dict(readings)
    number = await scale.decide(prober, desired(made, replicas=2), body(), seen, state, now=now)  # type: ignore[arg-type] # as much of a prober as is used
    assert state.decision is None or number == state.decision.replicas
    return state.decision


FULL = {"scaling": {"minReplicas": 1, "scaleDownStabilizationSeconds": 0}, "targetConnectionsPerServer": 10}
TWO = (server("a"), server("bb"))
EMPTY = {"a": Reading(1, draining=False), "bb": Reading(1, draining=False)}


@pytest.mark.parametrize(
    ("pods", "status", "why"),
    [
        (TWO, {"observedGeneration": 0}, "a rollout has not begun"),
        (TWO, {"updatedReplicas": 1}, "a rollout runs"),
        (TWO, {"readyReplicas": 1}, "one is not ready"),
        ((*TWO, server("ccc", terminating=True)), {}, "one drains"),
    ],
)
async def test_no_server_goes_while_something_is_under_way(
    pods: tuple[Pod, ...], status: dict[str, int], why: str
) -> None:
    made = cluster(chatserver=FULL)
    assert (await decided(made, observed(*TWO), EMPTY, applied(made, 2))).replicas == 1  # type: ignore[union-attr]
    seen = observed(*pods, **status)
    assert (await decided(made, seen, EMPTY, applied(made, 2))).replicas == 2, why  # type: ignore[union-attr]


async def test_a_server_on_a_lost_node_is_neither_read_nor_waited_for() -> None:
    made, asked = cluster(chatserver=FULL), FakeProber()
    lost = server("ccc", terminating=True, lost=True)
    assert (await decided(made, observed(*TWO, lost), EMPTY, applied(made, 2))).replicas == 1  # type: ignore[union-attr]
    state = applied(made, 2)
    seen = observed(*TWO, lost, server("dddd", started=False), server("eeeee", address=None))
    await scale.decide(asked, desired(made), body(), seen, state, now=0)  # type: ignore[arg-type] # as much as is used
    assert state.readings.keys() == {"a", "bb"}


async def test_no_server_goes_when_this_reconcile_rolls_them_or_may() -> None:
    made = cluster(chatserver=FULL)
    other = applied(made, 2)
    other.applied[SERVERS] = dataclasses.replace(other.applied[SERVERS], digest=digest("another template"))
    for state in (State(), other):
        assert (await decided(made, observed(*TWO), EMPTY, state)).replicas == 2  # type: ignore[union-attr]


async def test_they_are_read_every_15_s_and_after_each_change_of_the_spec() -> None:
    made, state = cluster(chatserver=FULL), State()
    for now, generation, connections, read in (
        (0.0, 1, 1, 1),
        (10.0, 1, 2, 1),
        (12.0, 2, 3, 3),
        # The change has not put the tick off.
        (14.5, 2, 4, 4),
        (20.0, 2, 5, 4),
    ):
        changed = msgspec.structs.replace(made, generation=generation)
        await decided(changed, observed(*TWO), {"a": Reading(connections, draining=False)}, state, now)
        assert state.readings["a"] == Reading(read, draining=False), now


@pytest.mark.parametrize(
    "spec",
    [
        {"chatserver": {"scaling": {"mode": "External", "replicas": 5}}},
        {"chatserver": {"scaling": {"mode": "Disabled", "replicas": 5}}},
        {"chatserver": FULL, "paused": True},
    ],
)
async def test_where_nothing_is_decided_what_was_decided_before_is_forgotten(spec: dict[str, Any]) -> None:
    before, state = cluster(chatserver=FULL), State()
    await decided(before, observed(*TWO), EMPTY, state)
    assert state.decision is not None
    assert await decided(cluster(**spec), observed(*TWO), EMPTY, state, now=2000.0) is None
    assert state.memory is None
    assert state.readings == EMPTY, "conditions tell of them all the same"


@pytest.mark.parametrize(
    ("spec", "live", "status", "want"),
    [
        ({"scaling": {"mode": "External", "replicas": 5}}, 3, 4, 5),
        ({"scaling": {"minReplicas": 2}}, 3, 4, 3),
        # Deleted with its Deployment: what it last was, or at least what is promised.
        ({"scaling": {"minReplicas": 2}}, None, 4, 4),
        ({"scaling": {"minReplicas": 2}}, None, None, 2),
    ],
)
def test_the_number_to_begin_with(spec: dict[str, Any], live: int | None, status: int | None, want: int) -> None:
    seen = Observed(children={}, pods=()) if live is None else observed(replicas=live)
    whole = {**body(), "status": {} if status is None else {"desiredReplicas": status}}
    assert scale.present_number(cluster(chatserver=spec), whole, seen, State()) == want


async def test_a_number_changed_by_hand_does_not_count_once_one_was_decided() -> None:
    made = cluster(chatserver=FULL)
    state = applied(made, 2)
    await decided(made, observed(*TWO), EMPTY, state)
    assert scale.present_number(made, body(), observed(*TWO, replicas=9), state) == 1


READINGS = {
    "a": Reading(5, draining=False),
    "bb": Reading(1, draining=False),
    "ccc": None,
    "dddd": Reading(0, draining=True),
}


@pytest.mark.parametrize(
    ("wanted", "costs"),
    [
        (4, {}),
        (3, {"bb": "-100"}),
        # One that gives no reading may be full; one that leaves anyhow is not counted.
        (2, {"bb": "-100", "a": "-100"}),
    ],
)
async def test_those_with_the_fewest_connections_are_marked(wanted: int, costs: dict[str, str]) -> None:
    made, kube = cluster(chatserver=FULL), FakeKube()
    pods = (server("a"), server("bb"), server("ccc"), server("dddd", terminating=True))
    state = State(readings=dict(READINGS))
    to = desired(made, replicas=wanted)
    await scale.mark_victims(kube, FakeCache(), to, observed(*pods, replicas=4), state)  # type: ignore[arg-type]
    assert kube.costs == costs
    assert (state.removal is None) == (wanted == 4)


async def test_a_mark_of_before_is_taken_off_and_one_that_is_there_is_not_written_again() -> None:
    made, kube = cluster(chatserver=FULL), FakeKube()
    pods = (server("a", deletion_cost="-100"), server("bb", deletion_cost="-100"), server("ccc"))
    state = State(readings=dict(READINGS))
    to = desired(made, replicas=2)
    await scale.mark_victims(kube, FakeCache(), to, observed(*pods, replicas=3), state)  # type: ignore[arg-type]
    assert kube.costs == {"a": None}


async def test_where_a_mark_is_refused_nothing_is_expected_to_go() -> None:
    made, state = cluster(chatserver=FULL), State(readings=dict(READINGS))
    seen = observed(server("a"), server("bb"), replicas=2)
    with pytest.raises(KubeError):
        await scale.mark_victims(FakeKube("bb"), FakeCache(), desired(made, replicas=1), seen, state)  # type: ignore[arg-type]
    assert state.removal is None


@pytest.mark.parametrize(
    ("left", "told", "over"),
    [
        (("a", "bb", "ccc"), None, False),
        (("a", "ccc"), None, True),
        (("bb", "ccc"), "a was removed although bb had fewer connections", True),
    ],
)
def test_another_server_that_went_is_told_once(left: tuple[str, ...], told: str | None, *, over: bool) -> None:
    state = State(removal=Removal(frozenset({"a", "bb", "ccc"}), frozenset({"bb"})))
    news = scale.wrongly_removed(observed(*(server(name) for name in left)), state)
    assert (news is None) == (told is None)
    if news is not None and told is not None:
        assert news.message.startswith(told)
    assert (state.removal is None) == over
    assert scale.wrongly_removed(observed(*(server(name) for name in left)), state) is None


def test_the_deployment_has_the_number_that_was_decided() -> None:
    made = cluster(chatserver=FULL)
    found = [m for m in render(desired(made, replicas=7)) if (m["kind"], m["metadata"]["name"]) == SERVERS]
    assert [m["spec"]["replicas"] for m in found] == [7]
