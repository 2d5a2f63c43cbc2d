"""Conditions: what they say of what was observed."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.autoscaling.autoscaler import Decision, Memory
from chatoperator.conditions import TYPES, conditions
from chatoperator.conditions.declared import Condition
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired import Desired
from chatoperator.desired.migration import SchemaMigration
from chatoperator.observed import Answer, Observed, Pod
from chatoperator.parts.ingress.tls.expiry import CERTIFICATE_SOON_DAYS
from chatoperator.parts.ingress.tls.issuance import CertificateTrouble
from chatoperator.parts.ingress.tls.serving import Serving
from tests.support.chatclusters import NOW, body, cluster, desired, pod

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster


def workload(name: str, ready: int, wanted: int) -> dict[str, Any]:
    counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "observedGeneration": 1}
    return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": wanted}, "status": counts}


def running(*, postgres: int = 1, servers: int = 2, ingress: int = 2) -> Observed:
    return Observed(
        children={
            ("StatefulSet", "demo-postgres"): workload("demo-postgres", postgres, 1),
            ("Deployment", "demo-chatserver"): workload("demo-chatserver", servers, 2),
            ("Deployment", "demo-ingress"): workload("demo-ingress", ingress, 2),
        },
        pods=(),
    )


FRONT = {"kind": "HTTPRoute", "parentRefs": [{"name": "public"}]}
MIGRATED = SchemaMigration(job_name="demo-migrate-1", done=True)
MIGRATING = replace(MIGRATED, done=False)


def inputs(
    observed: Observed, chatcluster: ChatCluster | None = None, *, ok: bool = True, **changed: Any
) -> ConditionInputs:
    """What a reconcile found and decided, with these changes of the inputs or of what was decided."""
    decided = {field.name for field in fields(Desired)} & changed.keys()
    made = replace(desired(chatcluster or cluster()), migration=MIGRATED)
    return ConditionInputs(
        observed=observed,
        answer=Answer(ok=ok, message="answered" if ok else "A request failed"),
        desired=replace(made, **{name: changed[name] for name in decided}),
        **{"body": body(), "now": NOW, **{name: value for name, value in changed.items() if name not in decided}},
    )


def declared(type_name: str) -> dict[str, tuple[str, ...]]:
    """The statuses of a type by reason, of those whose reasons it passes on, too."""
    kind = next(kind for kind in TYPES if kind.name == type_name)
    passed_on = {reason.name: (kind.bad,) for other in kind.passes_on for reason in other.reasons}
    return {**passed_on, **{reason.name: reason.statuses for reason in kind.reasons}}


def by_type(made: tuple[Condition, ...]) -> dict[str, Condition]:
    assert [one for one in made if one.status not in declared(one.type).get(one.reason, ())] == []
    return {condition.type: condition for condition in made}


def test_all_is_well() -> None:
    made = by_type(conditions(inputs(running())))
    for kind in ("Ready", "DatabaseReady", "ChatserverReady", "IngressReady"):
        assert made[kind].status == "True"
    assert (made["Progressing"].status, made["Progressing"].reason) == ("False", "Settled")
    assert made["DevelopmentCodes"].status == "True"


def test_ready_is_what_the_ingress_answers_and_not_what_pods_claim() -> None:
    made = by_type(conditions(inputs(running(), ok=False)))
    assert made["ChatserverReady"].status == "True"
    assert made["Ready"].status == "False"
    assert made["Ready"].reason == "NotAnswering"


def unready(name: str, trouble: str, *, terminating: bool = False) -> Pod:
    return pod(name, name.split("-")[1], ready=False, started=False, terminating=terminating, trouble=trouble)


def test_ready_says_which_part_is_broken_and_why() -> None:
    broken = unready("demo-postgres-0", "ImagePullBackOff: no such image")
    made = by_type(conditions(inputs(replace(running(postgres=0), pods=(broken,)), ok=False)))
    assert made["Ready"].reason == "NotReady"
    assert "ImagePullBackOff: no such image" in made["Ready"].message
    assert made["DatabaseReady"].status == "False"


def test_a_chat_that_answers_with_a_server_missing_is_ready() -> None:
    made = by_type(conditions(inputs(running(servers=1))))
    assert made["Ready"].status == "True"
    assert (made["ChatserverReady"].status, made["ChatserverReady"].reason) == ("False", "PartlyReady")


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"spec_error": "spec.x: y"}, "False", "InvalidSpec"),
        ({"failure": "refused"}, "False", "ApplyFailed"),
        ({"chatcluster": cluster(paused=True)}, "False", "Paused"),
        ({"migration": MIGRATING}, "True", "Migrating"),
    ],
)
def test_progressing_says_what_holds_things_up(changed: dict[str, Any], status: str, reason: str) -> None:
    made = by_type(conditions(inputs(running(), **changed)))["Progressing"]
    assert (made.status, made.reason) == (status, reason)


def test_a_failed_migration_is_told_with_the_place_to_look() -> None:
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    observed = replace(running(), children={**running().children, ("Job", "demo-migrate-1"): failed})
    made = by_type(conditions(inputs(observed, migration=MIGRATING)))["Progressing"]
    assert (made.status, made.reason) == ("False", "MigrationFailed")
    assert "kubectl logs job/demo-migrate-1" in made.message


def test_a_migration_that_fails_again_and_again_is_told_with_how_it_ended() -> None:
    pods = (
        unready("demo-migrate-0-x", "container migrate exited with code 1, of another image"),
        unready("demo-migrate-1-y", "container migrate exited with code 2"),
    )
    made = by_type(conditions(inputs(replace(running(), pods=pods), migration=MIGRATING)))["Progressing"]
    assert (made.status, made.reason) == ("True", "MigrationFailing")
    assert "exited with code 2. Check its logs (kubectl logs job/demo-migrate-1 -c migrate -n chat)" in made.message
    assert "another image" not in made.message


def rolling(part: str, **status: Any) -> Observed:
    """All that is wanted is ready, and a new pod beside it is not."""
    key = ("StatefulSet" if part == "postgres" else "Deployment", f"demo-{part}")
    live = running().children[key]
    moving = {**live, "status": {**live["status"], "updatedReplicas": 1, "replicas": 3, **status}}
    return replace(running(), children={**running().children, key: moving})


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("chatserver", "The previous version keeps serving"),
        ("ingress", "keeps serving"),
        ("postgres", "Fix the spec"),
    ],
)
def test_a_rollout_whose_pods_fail_says_why_and_what_to_do(part: str, remedy: str) -> None:
    pods = (
        unready(f"demo-{part}-new", "container x exited with code 2"),
        unready(f"demo-{part}-old", "container x exited with code 137", terminating=True),
    )
    made = by_type(conditions(inputs(replace(rolling(part), pods=pods))))
    assert (made["Progressing"].status, made["Progressing"].reason) == ("True", "RolloutFailing")
    assert f"demo-{part}-new: container x exited with code 2. " in made["Progressing"].message
    assert remedy in made["Progressing"].message
    assert "137" not in made["Progressing"].message
    assert made["Ready"].status == "True"


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"},
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"},
    ],
)
def test_a_rollout_without_pods_or_without_end_is_told_in_kubernetes_words(condition: dict[str, str]) -> None:
    made = by_type(conditions(inputs(rolling("chatserver", conditions=[condition]))))["Progressing"]
    assert made.reason == "RolloutFailing"
    assert f"{condition['reason']}: {condition['message']}" in made.message


def test_the_conditions_are_those_that_admins_are_promised() -> None:
    assert [condition.type for condition in conditions(inputs(running()))] == [
        "Ready",
        "DatabaseReady",
        "ChatserverReady",
        "IngressReady",
        "Progressing",
        "DataSafe",
        "BusReady",
        "ScalingActive",
        "ScalingLimited",
        "Paused",
        "DevelopmentCodes",
        "UpgradeAvailable",
        "HostnameConflict",
        "ClientAddressesShared",
        "Contested",
    ]


@pytest.mark.parametrize(
    ("days", "ready", "ingress"),
    [
        (0, "False", ("False", "CertificateExpired")),
        (CERTIFICATE_SOON_DAYS, "True", ("True", "CertificateExpiring")),
        (CERTIFICATE_SOON_DAYS + 1, "True", ("True", "AllReady")),
    ],
)
def test_a_certificate_that_expires_is_reported_before_and_after(
    days: int, ready: str, ingress: tuple[str, str]
) -> None:
    mine = cluster(ingress={"tls": {"mode": "Secret", "secretName": "mine"}})
    serving = Serving(expires=NOW + dt.timedelta(days=days))
    made = by_type(conditions(inputs(running(), mine, serving=serving)))
    assert made["Ready"].status == ready
    assert (made["IngressReady"].status, made["IngressReady"].reason) == ingress
    assert ("Secret mine" in made["IngressReady"].message) is (days <= CERTIFICATE_SOON_DAYS)


BY_CERT_MANAGER = {
    "hostnames": ["chat.example.com"],
    "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}},
}


@pytest.mark.parametrize(
    ("accepted", "pods", "ready", "ingress"),
    [
        (False, 2, ("False", "CertificateFailed"), ("False", "CertificateFailed")),
        (True, 2, ("True", "Answering"), ("True", "CertificateFailed")),
        (True, 1, ("True", "Answering"), ("False", "PartlyReady")),
    ],
)
def test_what_cert_manager_does_not_do_is_bad_where_clients_notice(
    *, accepted: bool, pods: int, ready: tuple[str, str], ingress: tuple[str, str]
) -> None:
    trouble = CertificateTrouble("CertificateFailed", "the quota is used up", accepted=accepted)
    made = by_type(
        conditions(inputs(running(ingress=pods), cluster(ingress=BY_CERT_MANAGER), serving=Serving(trouble=trouble)))
    )
    assert (made["Ready"].status, made["Ready"].reason) == ready
    assert (made["IngressReady"].status, made["IngressReady"].reason) == ingress
    assert ("the quota is used up" in made["IngressReady"].message) is (pods == 2)


def test_a_route_that_no_gateway_takes_on_is_told_while_the_chat_is_ready() -> None:
    routed, served = cluster(ingress={"hostnames": ["chat.example.com"], "front": FRONT}), frozenset({"HTTPRoute"})
    made = by_type(conditions(inputs(running(), routed, served=served)))
    missing = "HTTPRoute demo-front does not exist yet"
    assert made["IngressReady"] == Condition("IngressReady", "False", "RouteNotAccepted", missing)
    assert made["Ready"].status == "True"
    assert by_type(conditions(inputs(running(), routed)))["IngressReady"].reason == "GatewayApiMissing"
    # What is wrong nearer to the servers comes first.
    worse = inputs(running(ingress=0), routed, served=served)
    assert by_type(conditions(worse))["IngressReady"].reason == "NotReady"


@pytest.mark.parametrize(("soon", "reason"), [(True, "CertificateExpiring"), (False, "AllReady")])
def test_a_cert_manager_that_stopped_is_told_before_the_certificate_ends(*, soon: bool, reason: str) -> None:
    serving = Serving(expires=NOW + dt.timedelta(hours=1), overdue=soon)
    made = by_type(conditions(inputs(running(), cluster(ingress=BY_CERT_MANAGER), serving=serving)))
    assert (made["IngressReady"].status, made["IngressReady"].reason) == ("True", reason)
    assert (made["Ready"].status, "cert-manager has not renewed" in made["IngressReady"].message) == ("True", soon)


@pytest.mark.parametrize(("bound", "reason"), [("maxReplicas", "TooFewServers"), ("minReplicas", "AtMinimum")])
def test_a_bound_that_keeps_the_number_is_told_without_figures_that_move(bound: Any, reason: str) -> None:
    decision = Decision(2, active=True, bound=bound, reason="ByConnections", message="123 connections", memory=Memory())
    made = by_type(conditions(inputs(running(), decision=decision)))
    assert (made["ScalingLimited"].status, made["ScalingLimited"].reason) == ("True", reason)
    assert "123" not in made["ScalingLimited"].message + made["ScalingActive"].message


def test_without_readings_nothing_is_claimed_about_bounds() -> None:
    decision = Decision(2, active=False, bound=None, reason="NoReadings", message="blind", memory=Memory())
    made = by_type(conditions(inputs(running(), decision=decision)))
    assert (made["ScalingActive"].status, made["ScalingLimited"].status) == ("False", "Unknown")


def test_paused_scaling_is_told() -> None:
    made = by_type(conditions(inputs(running(), chatcluster=cluster(paused=True))))
    assert (made["ScalingActive"].status, made["ScalingActive"].reason) == ("False", "Paused")


def test_a_hostname_that_is_taken_is_told_and_both_serve() -> None:
    made = by_type(conditions(inputs(running(), conflict="The older ChatCluster a already uses chat.example.com")))
    assert (made["HostnameConflict"].status, made["HostnameConflict"].reason) == ("True", "HostnameTaken")
    assert made["Ready"].status == "True"


FAILURE = {"type": "Progressing", "reason": "MigrationFailing", "message": "Job demo-migrate-1 fails and is retried"}
FAILED_BEFORE = {**body(), "status": {"conditions": [FAILURE]}}


def test_the_next_try_of_a_migration_that_failed_is_no_news_until_it_succeeds() -> None:
    made = by_type(conditions(inputs(running(), migration=MIGRATING, body=FAILED_BEFORE)))["Progressing"]
    assert (made.status, made.reason) == ("True", "MigrationFailing")
    assert "kubectl logs job/demo-migrate-1" in made.message
    other = inputs(running(), migration=replace(MIGRATING, job_name="demo-migrate-2"), body=FAILED_BEFORE)
    assert by_type(conditions(other))["Progressing"].reason == "Migrating"
    assert by_type(conditions(inputs(running(), body=FAILED_BEFORE)))["Progressing"].reason == "Settled"


def test_a_job_runs_only_where_it_has_a_pod() -> None:
    def told(observed: Observed) -> str:
        return by_type(conditions(inputs(observed, migration=MIGRATING)))["Progressing"].message

    job: dict[str, Any] = {"metadata": {"name": "demo-migrate-1"}, "spec": {}, "status": {}}
    made = replace(running(), children={**running().children, ("Job", "demo-migrate-1"): job})
    assert told(running()) == "Job demo-migrate-1, which runs the migration, does not exist yet"
    assert told(made) == "Job demo-migrate-1, which runs the migration, has no pod yet"
    pod = replace(unready("demo-migrate-1-x", ""), trouble=None)
    assert told(replace(made, pods=(pod,))) == "Container migrate of Job demo-migrate-1 is running the migration"
    other = replace(unready("demo-migrate-10-x", ""), trouble=None)
    assert told(replace(made, pods=(other,))) == "Job demo-migrate-1, which runs the migration, has no pod yet"
    gone = {**made.children, ("StatefulSet", "demo-postgres"): workload("demo-postgres", 0, 1)}
    assert "waits for the database: 0 of 1 postgres pods are ready" in told(replace(made, children=gone))


def test_nothing_is_said_to_go_on_where_nothing_ran_before() -> None:
    pods = (unready("demo-migrate-1-y", "container migrate exited with code 2"),)
    fresh = Observed(children={("StatefulSet", "demo-postgres"): workload("demo-postgres", 1, 1)}, pods=pods)
    made = by_type(conditions(inputs(fresh, ok=False, migration=MIGRATING)))["Progressing"]
    assert made.reason == "MigrationFailing"
    assert "keeps serving" not in made.message
    assert "Fix the spec" in made.message
    stuck = inputs(rolling("ingress", readyReplicas=0), ok=False)
    assert "keeps serving" not in by_type(conditions(stuck))["Progressing"].message


def test_an_external_database_to_which_no_new_connection_is_known_to_succeed_is_not_called_reachable() -> None:
    made = cluster(database={"external": {"secretName": "theirs"}})
    pods = (unready("demo-migrate-1-y", "container migrate exited with code 1"),)
    without = {key: one for key, one in running().children.items() if key[0] != "StatefulSet"}
    observed = Observed(children=without, pods=pods)
    given = inputs(observed, made, migration=MIGRATING)
    told = by_type(conditions(given))
    assert (told["DatabaseReady"].status, told["DatabaseReady"].reason) == ("Unknown", "Unverified")
    assert "key dsn of Secret theirs" in told["DatabaseReady"].message
    assert "Secret theirs (database.external.secretName)" in told["Progressing"].message
    assert told["Ready"].status == "True"
    pulled = replace(observed, pods=(unready("demo-migrate-1-y", "ImagePullBackOff: no such image"),))
    assert by_type(conditions(replace(given, observed=pulled)))["DatabaseReady"].reason == "Reachable"
    assert by_type(conditions(inputs(observed, made)))["DatabaseReady"].reason == "Reachable"


def with_service(**status: Any) -> Observed:
    service = {"metadata": {"name": "demo-ingress"}, "spec": {"type": "LoadBalancer"}, "status": status}
    return replace(running(), children={**running().children, ("Service", "demo-ingress"): service})


BALANCED = {"service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}}


def test_an_address_that_never_comes_is_told_and_nothing_is_settled() -> None:
    made = by_type(conditions(inputs(with_service(), chatcluster=cluster(ingress=BALANCED))))
    for kind in ("Ready", "IngressReady", "Progressing"):
        assert made[kind].reason == "AddressMissing"
        assert "ingress.service.type" in made[kind].message
    assert (made["Ready"].status, made["IngressReady"].status, made["Progressing"].status) == ("False", "False", "True")
    named = cluster(ingress={**BALANCED, "hostnames": ["chat.example.com"]})
    made = by_type(conditions(inputs(with_service(), chatcluster=named)))
    assert (made["Ready"].status, made["IngressReady"].status) == ("True", "False")
    given = with_service(loadBalancer={"ingress": [{"ip": "192.0.2.1"}]})
    made = by_type(conditions(inputs(given, chatcluster=cluster(ingress=BALANCED))))
    assert [made[kind].reason for kind in ("Ready", "IngressReady", "Progressing")] == [
        "Answering",
        "AllReady",
        "Settled",
    ]


@pytest.mark.parametrize(
    ("ingress", "reason"),
    [
        ({}, "AddressesKept"),
        ({"service": {"type": "LoadBalancer"}}, "TrafficPolicyCluster"),
        ({"service": {"type": "NodePort"}}, "TrafficPolicyCluster"),
        (BALANCED, "AddressesKept"),
        ({"service": {"type": "LoadBalancer", "proxyProtocolFrom": ["10.2.0.0/24"]}}, "AddressesKept"),
        ({"hostnames": ["a.example.com"], "front": {"kind": "Ingress"}}, "FrontNotTrusted"),
        (
            {
                "hostnames": ["a.example.com"],
                "front": {"kind": "Ingress"},
                "limits": {"trustedProxies": ["10.1.0.0/16"]},
            },
            "AddressesKept",
        ),
    ],
)
def test_clients_that_share_an_address_are_told_with_the_limit_that_they_share(
    ingress: dict[str, Any], reason: str
) -> None:
    made = by_type(conditions(inputs(running(), chatcluster=cluster(ingress=ingress))))["ClientAddressesShared"]
    assert made.reason == reason
    assert (made.status == "True") is (reason != "AddressesKept")
    assert ("codesPerAddressPerHour" in made.message) is (made.status == "True")
