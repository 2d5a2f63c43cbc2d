"""What cannot be made twice, by every way to lose it: kept, put back as it was, or told; never quietly replaced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.metadata import KIND
from chatoperator.parts.irreplaceable import NEW_CONTENT_ANNOTATION
from tests.support.many import Many, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chatoperator.metadata import Manifest, ObjectKey

pytestmark = pytest.mark.integration

CLAIM = "PersistentVolumeClaim"

OBJECTS: dict[str, ObjectKey] = {
    "claim": (CLAIM, "postgres-data"),
    "key": ("Secret", "chatserver"),
    "authority": ("Secret", "ingress-ca"),
    "credentials": ("Secret", "database"),
    "repository": (CLAIM, "backup-data"),
    "passphrase": ("Secret", "backup-key"),
}
"""(kind, end of the name)."""

LOST = {
    "claim": "VolumeLost",
    "key": "KeyLost",
    "authority": "AuthorityLost",
    "repository": "RepositoryLost",
    "passphrase": "PassphraseLost",
}

BACKUP: Manifest = {"database": {"backup": {"repository": {"volume": {"size": "1Gi"}}}}}

OTHER_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": "0-0-0", "controller": False}


@dataclass(frozen=True)
class Case:
    """One object of one ChatCluster, and how it is lost."""

    thing: str
    way: str

    @property
    def name(self) -> str:
        """Of the ChatCluster."""
        return f"{self.thing}-{self.way}"

    @property
    def key(self) -> ObjectKey:
        """(kind, name) of the object."""
        kind, end = OBJECTS[self.thing]
        return kind, f"{self.name}-{end}"

    @property
    def spec(self) -> Manifest:
        """What makes the object be there."""
        return BACKUP if self.thing in {"repository", "passphrase"} else {}


async def _deleted(many: Many, case: Case) -> None:
    await many.delete(*case.key)


async def _edited(many: Many, case: Case) -> None:
    if case.key[0] == CLAIM:
        await many.patch(*case.key, {"status": {"phase": "Lost"}}, "/status")
        return
    # One key gone, the others no longer what they were.
    held = (await many.get(*case.key))["data"]
    await many.patch(*case.key, {"data": dict.fromkeys(held)})


async def _unlabelled(many: Many, case: Case) -> None:
    await many.patch(*case.key, {"metadata": {"labels": None}})


async def _owned_by_another(many: Many, case: Case) -> None:
    await many.patch(*case.key, {"metadata": {"ownerReferences": [OTHER_OWNER]}})


async def _paused(many: Many, case: Case) -> None:
    await many.patch(KIND, case.name, {"spec": {"paused": True}})
    await many.delete(*case.key)


async def _invalid(many: Many, case: Case) -> None:
    await many.patch(KIND, case.name, {"spec": {"database": {"parameters": {"listen_addresses": "localhost"}}}})
    await many.delete(*case.key)


async def _failing(many: Many, case: Case) -> None:
    await many.patch(KIND, case.name, FAILING)
    await many.delete(*case.key)


WAYS: dict[str, Callable[[Many, Case], Awaitable[None]]] = {
    "deleted": _deleted,
    "away": _deleted,
    "edited": _edited,
    "unlabelled": _unlabelled,
    "otherowner": _owned_by_another,
    "paused": _paused,
    "invalid": _invalid,
    "failing": _failing,
}
"""`away`: while no operator runs, so that the next one remembers nothing."""

COMPARING: Manifest = {"tolerations": [{"key": "example.com/size", "operator": "Gt", "value": "5"}]}
"""An API server without Kubernetes' feature for comparing taints refuses it."""

FAILING: Manifest = {"spec": {"chatserver": {"podTemplate": COMPARING}}}
"""The API server refuses a Deployment with such an annotation."""

ALL = [Case(thing, way) for thing in OBJECTS for way in WAYS]

SOME = [case for case in ALL if case.thing in {"claim", "key"} or case.way == "deleted"]
"""Each way with a volume and with a Secret, and all objects deleted."""

STAYS = {"unlabelled", "otherowner"}
"""Ways after which the object is still there with all that it holds."""


@pytest.mark.parametrize("cases", [pytest.param(SOME, id="some"), pytest.param(ALL, id="all", marks=pytest.mark.soak)])
async def test_whatever_happens_to_it_it_is_kept_or_put_back_or_told(many: Many, cases: list[Case]) -> None:
    names = [case.name for case in cases]
    await asyncio.gather(*(many.create(case.name, **case.spec) for case in cases))
    await many.brought_up(*names)
    before = {case: await many.get(*case.key) for case in cases}
    for case in cases:
        assert (await many.conditions(case.name))["DataSafe"][:2] == ("True", "Kept"), case
    for case in cases:
        if case.way != "away":
            await WAYS[case.way](many, case)
    await many.reconcile(*names)
    many.restart()
    for case in cases:
        if case.way == "away":
            await WAYS[case.way](many, case)
    await many.reconcile(*names)
    found = await asyncio.gather(*(_faults(many, case, before[case]) for case in cases))
    assert [fault for faults in found for fault in faults] == []


async def _faults(many: Many, case: Case, before: Manifest) -> list[str]:
    """What is wrong with how a loss was dealt with."""
    after = await many.find(*case.key)
    status, reason, message = (await many.conditions(case.name))["DataSafe"]
    same = after is not None and (
        after["metadata"]["uid"] == before["metadata"]["uid"] if case.key[0] == CLAIM else texts(after) == texts(before)
    )
    if case.thing == "credentials":
        # PostgreSQL's agent gives it new passwords, so that these can be made twice.
        wanted = same or (case.way not in STAYS and after is None) or set(texts(after)) == set(texts(before))
        return [] if wanted else [f"{case}: {sorted(texts(after))}"]
    if case.way in STAYS:
        return [] if same and status == "True" else [f"{case}: {same} {status} {reason}"]
    if case.key[0] == CLAIM and case.way == "edited":
        return [] if same and reason == LOST[case.thing] else [f"{case}: {same} {reason}"]
    if same:
        told = [event for event in await many.events(case.name) if event[:2] == ("Warning", "SecretRestored")]
        return [] if told and status == "True" else [f"{case}: put back, and {told} {reason}"]
    events = {event[:2] for event in await many.events(case.name)}
    uid = before["metadata"]["uid"]
    complaints = {
        "was made anew": after is not None,
        f"says {status} {reason}": (status, reason) != ("False", LOST[case.thing]),
        f"names neither object nor remedy: {message}": case.key[1] not in message or f"={uid}" not in message,
        "has no Event of its own": ("Warning", LOST[case.thing]) not in events,
    }
    return [f"{case}: {complaint}" for complaint, holds in complaints.items() if holds]


async def test_content_that_is_lost_is_begun_anew_only_where_its_uid_is_named(many: Many) -> None:
    things = [Case(thing, "deleted") for thing in LOST]
    names = [case.name for case in things]
    for case in things:
        await many.create(case.name, **case.spec)
    await many.brought_up(*names)
    before = {case: await many.get(*case.key) for case in things}
    many.restart()
    for case in things:
        await many.delete(*case.key)
        # That of another loss allows nothing.
        await many.patch(KIND, case.name, {"metadata": {"annotations": {NEW_CONTENT_ANNOTATION: "1-2-3"}}})
    await many.reconcile(*names, times=2)
    for case in things:
        assert await many.find(*case.key) is None
        named = f"1-2-3, {before[case]['metadata']['uid']}"
        await many.patch(KIND, case.name, {"metadata": {"annotations": {NEW_CONTENT_ANNOTATION: named}}})
    await many.reconcile(*names, times=2)
    for case in things:
        after = await many.get(*case.key)
        assert after["metadata"]["uid"] != before[case]["metadata"]["uid"]
        await many.bind(case.name)
    await many.reconcile(*names, times=2)
    for case in things:
        assert (await many.conditions(case.name))["DataSafe"][:2] == ("True", "Kept"), case
        await many.delete(*case.key)
    many.restart()
    await many.reconcile(*names, times=2)
    for case in things:
        assert await many.find(*case.key) is None, "a value that was forgotten there allows nothing"


async def test_a_claim_that_leaves_under_a_running_database_is_told_and_its_secrets_stay(many: Many) -> None:
    await many.create("web")
    await many.brought_up("web")
    claim = await many.get(CLAIM, "web-postgres-data")
    await many.patch(CLAIM, "web-postgres-data", {"spec": {"volumeName": "pv-of-web"}})
    # The API server's own finalizer holds it, as long as a pod uses it.
    await many.kube.delete(CLAIM, claim)
    await many.kube.delete("Secret", await many.get("Secret", "web-database"))
    await many.reconcile("web", times=2)
    conditions = await many.conditions("web")
    for kind in ("DataSafe", "Progressing"):
        assert conditions[kind][:2] == ("False", "VolumeLeaving")
        assert "kubectl patch pv pv-of-web" in conditions[kind][2]
    assert ("Warning", "VolumeLeaving") in {event[:2] for event in await many.events("web")}
    await many.get("Secret", "web-database")
    await many.patch(CLAIM, "web-postgres-data", {"metadata": {"finalizers": None}})
    for _ in range(2):
        many.restart()
        await many.reconcile("web", times=2)
        assert await many.find(CLAIM, "web-postgres-data") is None, "no empty database is begun"
        conditions = await many.conditions("web")
        for kind in ("DataSafe", "Progressing"):
            assert conditions[kind][:2] == ("False", "VolumeLost")
    labels = claim["metadata"]["labels"]
    restored: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": CLAIM,
        "metadata": {"name": "web-postgres-data", "labels": labels},
        "spec": {key: claim["spec"][key] for key in ("accessModes", "resources")} | {"volumeName": "pv-of-web"},
    }
    made = await many.make(restored)
    await many.bind("web")
    await many.reconcile("web", times=2)
    assert (await many.get(CLAIM, "web-postgres-data"))["metadata"]["uid"] == made["metadata"]["uid"]
    assert (await many.conditions("web"))["DataSafe"][:2] == ("True", "Kept")


async def test_a_claim_that_an_older_release_has_seen_is_missed_too(many: Many) -> None:
    await many.create("web")
    await many.brought_up("web")
    await many.patch(KIND, "web", {"status": {"irreplaceable": None}}, "/status")
    await many.delete(CLAIM, "web-postgres-data")
    many.restart()
    await many.reconcile("web", times=2)
    assert await many.find(CLAIM, "web-postgres-data") is None
    assert (await many.conditions("web"))["DataSafe"][:2] == ("False", "VolumeLost")
