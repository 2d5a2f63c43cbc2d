"""A database of several instances: what is decided from what is observed, and what never reaches the work queue."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.conditions import conditions, ended
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired import credentials as credentials_step
from chatoperator.desired import database as database_step
from chatoperator.desired.manifests import render
from chatoperator.desired.replication import SWITCHOVER_ANNOTATION, Replication, decide, is_replicated, leftovers
from chatoperator.errors import SpecError
from chatoperator.kube.store import Store
from chatoperator.metadata import ROLE_LABEL, database_name, labels, owner
from chatoperator.observed import Answer, Observed, Pod
from chatoperator.parts.database.replication import account, patroni
from chatoperator.parts.database.replication.order import InstanceChange
from chatoperator.parts.irreplaceable import NEW_CONTENT_ANNOTATION
from chatoperator.parts.losses import NOTHING_LOST, find_losses
from chatoperator.probes.parsing import parse_report
from chatoperator.reconcile import series
from chatoperator.reconcile.cleanup import undesired
from chatoperator.reconcile.figures import figures
from chatoperator.reconcile.reachability import report_of_leader
from chatoperator.reporting import status
from chatoperator.reports import AgentReport, MemberReport
from tests.support.chatclusters import IMAGES, NOW, THREE, body, cluster, desired, pod

Children = dict[tuple[str, str], dict[str, Any]]

INSTANCES: dict[str, Any] = {"database": {"instances": 3}}
NAMES = {1: "demo-postgres-0", 2: "demo-postgres-2-0", 3: "demo-postgres-3-0"}
STREAMING = AgentReport("a", "b", None, MemberReport("replica", "streaming", lag_bytes=0))


def made(spec: dict[str, Any] = INSTANCES, **changed: Any) -> Children:
    """What the operator makes for a spec, as the API server has it."""
    found: Children = {}
    for manifest in render(desired(cluster(**spec), **changed)):
        live = copy.deepcopy(manifest)
        live["metadata"] |= {"uid": f"uid of {live['metadata']['name']}", "generation": 1}
        if live["kind"] == "StatefulSet":
            live["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
        if live["kind"] == "PersistentVolumeClaim":
            live["spec"]["volumeName"] = "pv"
        found[live["kind"], live["metadata"]["name"]] = live
    return found


def led(children: Children, leader: int = 1, failover: dict[str, str] | None = None) -> Children:
    """The same with a leader, as Patroni has written it."""
    found = copy.deepcopy(children)
    found["ConfigMap", "demo-postgres-leader"]["metadata"]["annotations"] = {"leader": NAMES[leader]}
    found["ConfigMap", "demo-postgres-config"]["metadata"]["annotations"]["initialize"] = "7000"
    found["ConfigMap", "demo-postgres-failover"]["metadata"]["annotations"] = dict(failover or {})
    return found


def pods(leader: int = 1, **changed: Any) -> tuple[Pod, ...]:
    return tuple(
        pod(name, "postgres", role="primary" if number == leader else "replica", address=f"192.0.2.{number}", **changed)
        for number, name in NAMES.items()
    )


def observed(children: Children, found: tuple[Pod, ...] | None = None) -> Observed:
    there = pods() if found is None else found
    return Observed(children, there, agents={one.name: STREAMING for one in there})


def decided(seen: Observed, spec: dict[str, Any] = INSTANCES, annotations: dict[str, str] | None = None) -> Replication:
    chatcluster, whole = cluster(**spec), body(**spec)
    whole["metadata"]["annotations"] = annotations or {}
    return decide(
        chatcluster,
        whole,
        seen,
        config_digest="0123456789",
        image=IMAGES.postgres,
        pull_policy="IfNotPresent",
        held=False,
    )


ALL = made(replication=THREE)
SINGLE = made({})
ALONE = (pod(NAMES[1], "postgres"),)


def test_instances_that_are_as_they_should_be_stay() -> None:
    found = decided(observed(led(ALL)))
    assert (found.step, found.leader, found.begin) == (InstanceChange(), NAMES[1], False)
    assert [(one.number, one.applied) for one in found.instances] == [(1, True), (2, True), (3, True)]


def test_a_new_image_reaches_one_replica_first() -> None:
    newer = {**INSTANCES, "chatserver": {}}
    children = led(ALL)
    for number in (1, 2, 3):
        name = NAMES[number].removesuffix("-0")
        children["StatefulSet", name]["metadata"]["annotations"]["chatcluster.io/template-hash"] = "older"
    found = decided(observed(children), newer)
    assert found.step == InstanceChange(replace=frozenset({3}))
    assert [one.applied for one in found.instances] == [False, False, True]
    # The template of the others stays as it is live: nothing of it is applied.
    rendered = render(desired(cluster(**newer), replication=found))
    assert [one["metadata"]["name"] for one in rendered if one["kind"] == "StatefulSet"] == ["demo-postgres-3"]


def test_one_postgresql_becomes_a_member_before_copies_are_made() -> None:
    first = decided(observed(SINGLE, ALONE))
    assert first.step == InstanceChange(replace=frozenset({1}))
    assert [one.number for one in first.instances] == [1]
    # Under Patroni, but nobody leads yet.
    later = {claim(2), claim(3), ("StatefulSet", "demo-postgres-2"), ("StatefulSet", "demo-postgres-3")}
    restarted = {key: live for key, live in ALL.items() if key not in later}
    assert [one.number for one in decided(observed(restarted, ALONE)).instances] == [1]
    assert [one.number for one in decided(observed(led(restarted), ALONE)).instances] == [1, 2, 3]


def test_an_old_copy_is_not_started_before_the_database_in_use_leads() -> None:
    old = {**SINGLE, claim(2): ALL[claim(2)], claim(3): ALL[claim(3)]}
    assert [one.number for one in decided(observed(old, ALONE)).instances] == [1]
    # A member whose StatefulSet was deleted may be the one that is needed.
    children = led({key: live for key, live in ALL.items() if key != ("StatefulSet", "demo-postgres-2")})
    assert [one.number for one in decided(observed(children, pods(ready=False))).instances] == [1, 2, 3]


def test_writes_wait_for_no_first_copy_but_for_each_later_one() -> None:
    config = ("ConfigMap", "demo-postgres-config")
    loose, strict = (led(made(replication=replace(THREE, strict=value))) for value in (False, True))
    assert loose[config] != strict[config]
    assert not decided(observed(loose, pods()[:1])).strict
    assert decided(observed(loose)).strict
    assert decided(observed(strict, pods()[:1])).strict


def test_writes_that_need_no_replica_any_more_go_on_without_one_and_wait_again_for_the_first() -> None:
    loose = {**INSTANCES, "database": {**INSTANCES["database"], "strict": False}}
    alone = pods()[:1]

    def stored(*, strict: bool, synchronous: bool = True) -> Children:
        return led(made(replication=replace(THREE, strict=strict, synchronous=synchronous)))

    assert decided(observed(stored(strict=True), alone)).synchronous
    released = decided(observed(stored(strict=True), alone), loose)
    assert (released.strict, released.synchronous) == (False, False)
    assert not decided(observed(stored(strict=False, synchronous=False), alone), loose).synchronous
    assert decided(observed(stored(strict=False, synchronous=False)), loose).synchronous
    assert decided(observed(stored(strict=False), alone), loose).synchronous, "Patroni itself waits for nobody then"
    found = patroni.dynamic_configuration({}, strict=False, synchronous=False)["synchronous_mode"]
    assert found is False


def test_the_state_of_patroni_goes_with_patroni() -> None:
    kept = {key: live for key, live in led(ALL).items() if key[0] == "ConfigMap"}
    still = {**kept, ("StatefulSet", "demo-postgres"): ALL["StatefulSet", "demo-postgres"]}
    plain = {**kept, ("StatefulSet", "demo-postgres"): SINGLE["StatefulSet", "demo-postgres"]}
    assert leftovers(cluster(), Observed(still, ())) == ()
    assert leftovers(cluster(), Observed(plain, ())) == ("demo-postgres-config", "demo-postgres-leader")
    assert leftovers(cluster(), Observed(SINGLE, ())) == ()


def test_a_service_finds_the_one_postgresql_until_a_pod_has_the_label_of_the_leader() -> None:
    services = {
        has_leader: next(
            one["spec"]
            for one in render(desired(cluster(**INSTANCES), replication=replace(THREE, has_leader=has_leader)))
            if one["kind"] == "Service" and one["metadata"]["name"] == "demo-postgres"
        )
        for has_leader in (False, True)
    }
    assert ROLE_LABEL not in services[False]["selector"]
    assert services[True]["selector"][ROLE_LABEL] == "primary"
    assert not services[True]["publishNotReadyAddresses"]


def test_back_to_one_instance_the_first_leads_before_the_others_go() -> None:
    one: dict[str, Any] = {"database": {"instances": 1}}
    assert is_replicated(cluster(**one), observed(ALL))
    # Its members are rendered from the spec of one instance, whose passwords stay.
    children = led(ALL, 2)
    found = decided(observed(children, pods(2)), one)
    assert found.switchover is not None
    assert (found.switchover.leader, found.switchover.candidate) == (NAMES[2], NAMES[1])
    assert not found.strict, "the last replica's removal must not stop writes"
    last = decided(observed(led(ALL)), one)
    assert last.step == InstanceChange(remove=3)
    assert [(each.number, each.applied) for each in last.instances] == [(1, True), (2, True), (3, False)]
    kept = desired(cluster(**one), replication=last)
    owned = {
        key: live | {"metadata": {**live["metadata"], "ownerReferences": [owner("demo", "0000-demo")]}}
        for key, live in ALL.items()
    }
    names = {(each["kind"], each["metadata"]["name"]) for each in render(kept)}
    assert undesired(kept, Observed(owned, ()), names).keys() == {("StatefulSet", "demo-postgres-3")}


def test_the_account_goes_when_no_pod_has_it() -> None:
    there = {key: live for key, live in ALL.items() if key[0] != "StatefulSet"}
    single = desired(cluster())
    names = {(each["kind"], each["metadata"]["name"]) for each in render(single)}
    rights = {(kind, "demo-postgres") for kind in ("ServiceAccount", "Role", "RoleBinding")}
    with_account = {**there, ("StatefulSet", "demo-postgres"): ALL["StatefulSet", "demo-postgres"]}
    assert rights.isdisjoint(undesired(single, Observed(with_account, ()), names))
    plain = {**there, ("StatefulSet", "demo-postgres"): SINGLE["StatefulSet", "demo-postgres"]}
    assert rights <= undesired(single, Observed(plain, ()), names).keys()


def test_the_account_of_before_is_taken_from_the_pods_by_name() -> None:
    """Without one the API server would keep that of the deprecated field."""
    found = database_step.decide(cluster(), Observed({**ALL}, ()), replicated=False)
    assert found.had_account
    rendered = render(replace(desired(cluster()), database=replace(found, config_digest="0")))
    template = next(one["spec"]["template"] for one in rendered if one["kind"] == "StatefulSet")
    assert template["spec"]["serviceAccountName"] == "default"
    assert not database_step.decide(cluster(), Observed(SINGLE, ()), replicated=False).had_account


@pytest.mark.parametrize(
    ("value", "recorded", "candidate"),
    [
        ("a", "", NAMES[2]),
        ("a/3", "", NAMES[3]),
        ("a/3", "a/3", None),
        ("b/3", "a/3", NAMES[3]),
        ("a/1", "", None),
        ("a/77", "", NAMES[2]),
        ("", "", None),
    ],
)
def test_each_new_value_of_the_annotation_is_one_switchover(value: str, recorded: str, candidate: str | None) -> None:
    held = {SWITCHOVER_ANNOTATION: recorded} if recorded else {}
    found = decided(observed(led(ALL, 1, held)), annotations={SWITCHOVER_ANNOTATION: value})
    assert (found.switchover.candidate if found.switchover else None) == candidate
    # Patroni has not carried out the last one yet.
    busy = led(ALL, 1, {**held, "leader": NAMES[1], "member": NAMES[2]})
    assert decided(observed(busy), annotations={SWITCHOVER_ANNOTATION: value}).switchover is None


def claim(number: int) -> tuple[str, str]:
    return "PersistentVolumeClaim", f"{NAMES[number].removesuffix('-0')}-data"


def remembering() -> dict[str, Any]:
    """A ChatCluster whose status remembers the three claims."""
    whole = body(**INSTANCES)
    held = [{"kind": "PersistentVolumeClaim", "name": claim(one)[1], "uid": f"uid {one}"} for one in NAMES]
    return {**whole, "status": {"irreplaceable": held}}


def test_a_lost_volume_is_copied_again_while_another_instance_leads() -> None:
    whole, chatcluster = remembering(), cluster(**INSTANCES)
    children = led({key: live for key, live in ALL.items() if key != claim(3)})
    found = find_losses(chatcluster, whole, observed(children), None)
    assert [one.name for one in found.copied] == ["demo-postgres-3-data"]
    assert (found.reported, found.withheld) == ((), frozenset())


@pytest.mark.parametrize("leader", [1, 2])
def test_the_last_copy_is_protected(leader: int) -> None:
    """The leader's own volume, and any while nobody leads."""
    whole, chatcluster = remembering(), cluster(**INSTANCES)
    children = led({key: live for key, live in ALL.items() if key != claim(leader)}, leader)
    nobody = led({key: live for key, live in ALL.items() if key != claim(3)})
    for seen in (observed(children, pods(leader)), observed(nobody, pods(ready=False))):
        found = find_losses(chatcluster, whole, seen, None)
        assert not found.copied
        assert {one.subject for one in found.reported} == {"volume"}
        assert len(found.withheld) == 1


def test_only_a_chat_that_never_had_a_database_may_begin_one() -> None:
    nothing = decided(Observed({}, ()))
    assert nothing.begin
    assert [one.number for one in nothing.instances] == [1]
    assert not decided(observed(led(ALL))).begin
    without = {key: live for key, live in ALL.items() if key[0] == "Deployment"}
    assert not decided(Observed(without, ())).begin, "chatservers have used one"
    copies = {claim(2): ALL[claim(2)]}
    assert not decided(Observed(copies, ())).begin, "another instance may have it"


def test_with_an_admins_consent_a_lost_database_is_forgotten() -> None:
    whole = remembering()
    whole["metadata"]["annotations"] = {NEW_CONTENT_ANNOTATION: "uid 1"}
    gone = led({key: live for key, live in ALL.items() if key[0] != "PersistentVolumeClaim"})
    chatcluster = parse(whole)
    found = decide(
        chatcluster, whole, Observed(gone, ()), config_digest="0", image="a", pull_policy="Never", held=False
    )
    assert found.forgets
    # Somebody has a copy.
    kept = decide(
        chatcluster,
        whole,
        Observed({**gone, claim(2): ALL[claim(2)]}, ()),
        config_digest="0",
        image="a",
        pull_policy="Never",
        held=False,
    )
    assert not kept.forgets


def test_passwords_of_members_are_added_to_the_others_and_stay() -> None:
    numbers = iter(range(100))

    def secrets(spec: dict[str, Any], there: Children) -> Any:
        return credentials_step.decide(
            cluster(**spec),
            body(**spec),
            Observed(there, ()),
            NOTHING_LOST,
            unix_time=0,
            new_secret=lambda: f"secret {next(numbers)}",
        )

    before = secrets({}, SINGLE)
    assert set(before.logins.passwords) == {"chat_a", "chat_b"}
    after = secrets(INSTANCES, SINGLE)
    assert {name: after.logins.passwords[name] for name in before.logins.passwords} == before.logins.passwords
    assert {"chat_replication", "patroni"} <= after.logins.passwords.keys()
    held = {
        **SINGLE,
        **{key: live for key, live in made(replication=THREE, credentials=after).items() if key[0] == "Secret"},
    }
    for spec in (INSTANCES, {}):
        assert secrets(spec, held).logins.passwords == after.logins.passwords


def test_only_patronis_container_has_the_token() -> None:
    for number in NAMES:
        template = ALL["StatefulSet", NAMES[number].removesuffix("-0")]["spec"]["template"]["spec"]
        mounted = {
            container["name"]: [mount["name"] for mount in container["volumeMounts"]]
            for container in template["containers"]
        }
        assert {name for name, volumes in mounted.items() if account.TOKEN_VOLUME in volumes} == {"postgres"}
        assert not template["automountServiceAccountToken"]
    assert not any(
        "serviceAccountName" in one["spec"]["template"]["spec"]
        for (kind, name), one in ALL.items()
        if kind in {"Deployment", "StatefulSet", "Job"} and not name.startswith("demo-postgres")
    )


@pytest.mark.parametrize(
    ("instances", "stated", "strict"),
    [(1, None, False), (2, None, False), (3, None, True), (5, None, True), (2, True, True), (3, False, False)],
)
def test_writes_wait_for_a_second_instance_where_there_are_three(
    instances: int, *, stated: bool | None, strict: bool
) -> None:
    spec = {"instances": instances, **({} if stated is None else {"strict": stated})}
    assert cluster(database=spec).database.strict is strict
    assert patroni.dynamic_configuration({}, strict=strict)["synchronous_mode_strict"] is strict


def test_what_patroni_sets_is_in_its_configuration_alone() -> None:
    children = made({"database": {"instances": 3, "parameters": {"max_connections": "500"}}}, replication=THREE)
    text = children["ConfigMap", "demo-postgres"]["data"]["postgresql.conf"]
    dynamic = json.loads(children["ConfigMap", "demo-postgres-config"]["metadata"]["annotations"]["config"])
    assert "max_connections" not in text
    assert dynamic["postgresql"]["parameters"] == {"max_connections": "500"}
    assert "shared_buffers" in text
    assert dynamic["ttl"] >= dynamic["loop_wait"] + 2 * dynamic["retry_timeout"]


@pytest.mark.parametrize("name", ["synchronous_standby_names", "recovery_target_time", "primary_conninfo"])
def test_parameters_that_patroni_sets_are_refused_with_several_instances(name: str) -> None:
    cluster(database={"parameters": {name: "a"}})
    with pytest.raises(SpecError, match=name):
        cluster(database={"instances": 3, "parameters": {name: "a"}})


def test_an_external_database_has_no_instances() -> None:
    with pytest.raises(SpecError, match=r"database\.instances"):
        cluster(database={"instances": 3, "external": {"secretName": "theirs"}})


MEMBER = {"role": "replica", "state": "streaming", "timeline": 3, "lag_bytes": 12, "synchronous": True}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ({**MEMBER, "pending_restart": False, "paused": False, "leader": "demo-postgres-0"}, 12),
        ({**MEMBER, "lag_bytes": None}, None),
        ({**MEMBER, "lag_bytes": "much"}, None),
        ({**MEMBER, "state": "s" * 129}, None),
        ({**MEMBER, "role": "replica\x1b[2J"}, None),
        ("streaming", None),
        ([], None),
    ],
)
def test_what_cannot_be_read_of_a_member_leaves_the_rest_of_the_report(raw: object, expected: int | None) -> None:
    page = json.dumps({"credentials": "a", "configuration": "b", "refused": None, "member": raw})
    report = parse_report(page)
    assert report is not None
    assert report.credentials == "a"
    assert (report.member.lag_bytes if report.member else None) == expected


def test_roles_are_the_leaders_agents_business() -> None:
    reports = {NAMES[1]: AgentReport("old", None, None), NAMES[2]: AgentReport("new", None, None)}
    seen = replace(observed(led(ALL, 2)), agents=reports)
    assert report_of_leader("demo", seen) == reports[NAMES[2]]
    assert report_of_leader("demo", replace(seen, agents={NAMES[3]: STREAMING})) == STREAMING
    assert report_of_leader("demo", replace(observed(ALL), agents=reports)) is None


def test_the_lease_that_patroni_renews_wakes_nobody() -> None:
    store, scope = Store(), ("ConfigMap", None)
    metadata = {
        "name": "demo-postgres-leader", "namespace": "chat", "uid": "1",
        "labels": labels("demo", "postgres"), "ownerReferences": [owner("demo", "0000-demo")],
    }  # fmt: skip

    def renewed(version: int, **annotations: str) -> set[tuple[str, str]]:
        raw = {"metadata": {**metadata, "resourceVersion": str(version), "annotations": annotations}}
        return store.apply_event(scope, "MODIFIED", raw)

    assert renewed(1, leader=NAMES[1], renewTime="a", optime="1")
    assert not renewed(2, leader=NAMES[1], renewTime="b", optime="2")
    held = store.owned(("chat", "demo"))["ConfigMap", "demo-postgres-leader"]
    assert held["metadata"]["resourceVersion"] == "2"
    assert held["metadata"]["annotations"] == {"leader": NAMES[1]}
    assert renewed(3, leader=NAMES[2], renewTime="c", optime="3")


STATES = {
    number: replace(STREAMING, member=MemberReport("replica", "streaming", lag_bytes=5 * 2**20 + 1))
    for number in (2, 3)
}


def inputs(spec: dict[str, Any], children: Children, found: tuple[Pod, ...], following: tuple[int, ...]) -> Any:
    agents = {NAMES[number]: STATES[number] for number in following}
    seen = Observed(children, found, agents=agents)
    made_now = desired(cluster(**spec), replication=decided(seen, spec))
    return ConditionInputs(body(**spec), seen, Answer(ok=True, message="ok"), NOW, desired=made_now)


def synced(children: Children, *numbers: int) -> Children:
    found = copy.deepcopy(children)
    names = ",".join(NAMES[number] for number in numbers)
    found["ConfigMap", "demo-postgres-sync"]["metadata"]["annotations"] = {"leader": NAMES[1], "sync_standby": names}
    return found


LOOSE = {"database": {"instances": 3, "strict": False}}


@pytest.mark.parametrize(
    ("spec", "children", "following", "reason"),
    [
        (INSTANCES, synced(led(ALL), 2, 3), (2, 3), "Replicated"),
        (INSTANCES, synced(led(ALL), 2), (2,), "Copying"),
        (INSTANCES, led(ALL), (), "WritesStopped"),
        (LOOSE, led(ALL), (), "OneCopy"),
        # Patroni still lists them as synchronous, but none follows.
        (INSTANCES, synced(led(ALL), 2, 3), (), "WritesStopped"),
        # Only just a member.
        (INSTANCES, SINGLE, (), "Copying"),
    ],
)
def test_the_condition_says_on_how_many_instances_a_message_is(
    spec: dict[str, Any], children: Children, following: tuple[int, ...], reason: str
) -> None:
    found = pods() if children is not SINGLE else ALONE
    by_type = {one.type: one for one in conditions(inputs(spec, children, found, following))}
    assert by_type["DatabaseReplicated"].reason == reason
    assert by_type["DatabaseReady"].status == "True"


def test_without_a_leader_the_database_is_not_ready() -> None:
    down = pods(ready=False, trouble="container postgres exited with code 1")
    by_type = {one.type: one for one in conditions(inputs(INSTANCES, led(ALL), down, ()))}
    assert by_type["DatabaseReplicated"].reason == "NoLeader"
    assert "exited with code 1" in by_type["DatabaseReplicated"].message
    assert by_type["DatabaseReady"].status == "False"


def test_a_missing_instance_is_counted() -> None:
    children = synced(led(ALL), 2)
    for number, ready in ((1, 1), (2, 1), (3, 0)):
        children["StatefulSet", database_name("demo", number)]["status"] = {"readyReplicas": ready}
    counted = series.figures(inputs(INSTANCES, children, pods(), (2,)), {"conditions": [], "connections": 0}).replicas
    assert (counted["database", "desired"], counted["database", "ready"]) == (3, 2)


def test_a_chat_with_one_instance_has_no_such_condition() -> None:
    made_now = ConditionInputs(body(), Observed(SINGLE, ALONE), Answer(ok=True, message=""), NOW, desired(cluster()))
    assert "DatabaseReplicated" not in {one.type for one in conditions(made_now)}
    held = [{"type": "DatabaseReplicated", "status": "True"}, {"type": "OfAnotherRelease", "status": "True"}]
    merged = status.merge(held, conditions(made_now), generation=1, now=NOW.isoformat(), ended=ended(made_now))
    assert {"DatabaseReplicated", "OfAnotherRelease"} & {one["type"] for one in merged} == {"OfAnotherRelease"}


def test_status_shows_who_leads_and_who_follows() -> None:
    given = inputs(INSTANCES, synced(led(ALL), 2), pods(), (2,))
    shown = figures(given.body, given.observed, given.desired)["database"]
    assert shown["leader"] == NAMES[1]
    assert [(one["state"], one["synchronous"], one["lagMebibytes"]) for one in shown["instances"]] == [
        ("unknown", False, None),
        ("streaming", True, 5),
        ("unknown", False, None),
    ]
    assert figures(body(), Observed(SINGLE, ()), desired(cluster()))["database"] is None
