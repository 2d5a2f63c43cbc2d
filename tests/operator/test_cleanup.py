"""Which objects are deleted: those that the spec no longer requires, and never one of somebody else."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, cast

import pytest

from chatoperator.metadata import owner
from chatoperator.observed import Observed
from chatoperator.reconcile.cleanup import MIGRATE_RETRY_SECONDS, delete_undesired, undesired, unneeded_jobs
from chatoperator.reconcile.outcome import Outcome
from tests.support.chatclusters import NOW, cluster, desired
from tests.support.memoryapi import MemoryApi

POLICY = ("NetworkPolicy", "demo-ingress")
LATER = NOW + dt.timedelta(seconds=MIGRATE_RETRY_SECONDS + 1)


def child(kind: str, name: str, *, owned: bool = True, **fields: Any) -> dict[tuple[str, str], dict[str, Any]]:
    metadata = {"name": name, "uid": f"uid of {name}", "ownerReferences": [owner("demo", "0000-demo")] if owned else []}
    return {(kind, name): {"metadata": metadata, **fields}}


def job(name: str, state: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    ended = {"type": state, "status": "True", "lastTransitionTime": NOW.isoformat()}
    return child("Job", name, status={"conditions": [ended] if state else []})


CURRENT = str(desired(cluster()).migration.job_name)
OTHER = "demo-migrate-other"


@pytest.mark.parametrize(
    ("children", "done", "now", "deleted"),
    [
        (job(CURRENT, None), False, LATER, set()),
        (job(CURRENT, "Complete"), True, LATER, set()),
        # It is tried again, once its logs could be read.
        (job(CURRENT, "Failed"), False, NOW, set()),
        (job(CURRENT, "Failed"), False, LATER, {CURRENT}),
        # The last one that succeeded stays until the desired one has.
        (job(OTHER, "Complete"), False, LATER, set()),
        (job(OTHER, "Complete"), True, LATER, {OTHER}),
        # It could still change the schema for an image that nobody asks for.
        (job(OTHER, None), False, NOW, {OTHER}),
        (child("Job", "demo-migrate-mine", owned=False), True, LATER, set()),
        (child("Job", "report"), True, LATER, set()),
    ],
)
def test_jobs_of_other_images_and_failed_ones_are_deleted(
    children: dict[tuple[str, str], dict[str, Any]], now: dt.datetime, deleted: set[str], *, done: bool
) -> None:
    made = desired(cluster(), **({} if done else {"template": None}))
    found = unneeded_jobs(made, Observed(children, ()), now)
    assert {one["metadata"]["name"] for one in found} == deleted


def test_a_job_that_another_has_followed_is_deleted_before_the_other() -> None:
    made = desired(cluster())
    followed = dataclasses.replace(made, migration=dataclasses.replace(made.migration, done=False, superseded=True))
    children = job(CURRENT, "Complete") | job(OTHER, None)
    assert [one["metadata"]["name"] for one in unneeded_jobs(followed, Observed(children, ()), NOW)] == [CURRENT]


def test_only_what_the_chatcluster_controls_and_the_operator_names_is_undesired() -> None:
    made = desired(cluster())
    children = child(*POLICY) | child("Service", "demo-front", owned=False) | child("Service", "demo-mine")
    children |= child("Deployment", "demo-ingress")
    observed = Observed(children, ())
    assert undesired(made, observed, ()).keys() == {POLICY}
    assert undesired(made, observed, {POLICY}) == {}


async def deleted(outcome: Outcome, **changed: Any) -> list[str]:
    api = MemoryApi()
    await delete_undesired(cast("Any", api), desired(cluster(), **changed), Observed(child(*POLICY), ()), (), outcome)
    return api.requests


async def test_a_deletion_becomes_an_event() -> None:
    outcome = Outcome()
    assert await deleted(outcome) == ["delete NetworkPolicy/demo-ingress"]
    assert [one.reason for one in outcome.events] == ["Removed"]


async def test_nothing_is_deleted_before_what_takes_its_place_is_there() -> None:
    refused = Outcome(refused={("Service", "demo-ingress"): "digest"})
    assert await deleted(refused) == []
    assert await deleted(Outcome(), withheld=frozenset({("Service", "demo-ingress")})) == []
