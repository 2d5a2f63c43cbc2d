"""Restores: what is refused, the phases of one in place, what each does to the objects, and what is said of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chatoperator.conditions import conditions, database_restored
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired import restoration, restoring
from chatoperator.desired.manifests import render
from chatoperator.desired.restoration import COMPLETED, FAILED, RESTORING, STARTING, STOPPING, Restoration
from chatoperator.kube.objects import pod as read_pod
from chatoperator.metadata import BACKUP_ANNOTATION, RESTORE_ANNOTATION
from chatoperator.observed import Answer, Observed, RestoreSource
from chatoperator.probes.parsing import parse_report
from chatoperator.reconcile.figures import figures
from chatoperator.reconcile.scale import present_number
from chatoperator.reconcile.state import State
from chatoperator.reconcile.usersecrets import needed
from chatoperator.reports import (
    AgentReport,
    ArchiveReport,
    BackupReport,
    MadeBackup,
    RepositoryReport,
    RestoreOutcome,
    VolumeReport,
)
from postgresbackup import plan, problems
from postgresbackup.schedule import AFTER_RESTORE
from tests.support.chatclusters import NOW, body, cluster, desired, pod, secret

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster

BACKED_UP: dict[str, Any] = {"database": {"backup": {"repository": {"volume": {}}}}}

TARGET = "2026-11-22T11:00:00Z"

GIB = 2**30

REPORT = BackupReport(
    RepositoryReport(reachable=True),
    (
        MadeBackup("F1", "full", "2026-11-22T01:10:00Z", bytes=GIB),
        MadeBackup("I1", "incremental", "2026-11-22T11:30:00Z", bytes=4 * GIB),
    ),
    oldest_restorable="2026-11-22T01:10:00Z",
    newest_archived="2026-11-22T11:50:00Z",
)

AGENT = AgentReport(
    "1",
    "1",
    None,
    archive=ArchiveReport(failing=False, waiting=0, lag_seconds=0),
    volume=VolumeReport(10 * GIB, 2 * GIB),
)

CHILDREN: dict[tuple[str, str], dict[str, Any]] = {
    ("PersistentVolumeClaim", "demo-postgres-data"): {"metadata": {"name": "demo-postgres-data", "uid": "claim"}},
    ("Deployment", "demo-chatserver"): {
        "metadata": {"name": "demo-chatserver", "annotations": {"chatcluster.io/schema": "demo-migrate-1"}},
        "spec": {"replicas": 2},
    },
}

SEEN = Observed(children=CHILDREN, pods=(), agent=AGENT, backup=REPORT)

EMPTY = Observed(children={}, pods=())


def chat(
    request: dict[str, Any] | str | None = None, held: Restoration | None = None, **spec: Any
) -> tuple[ChatCluster, dict[str, Any]]:
    """A ChatCluster with a request and a state, parsed and as the API server has it."""
    made = body(**{**BACKED_UP, **spec})
    text = request if isinstance(request, str) or request is None else json.dumps(request)
    made["metadata"]["annotations"] = {} if text is None else {RESTORE_ANNOTATION: text}
    if held is not None:
        made["status"] = {"database": {"restore": restoration.shown(held)}}
    return cluster(**{**BACKED_UP, **spec}), made


def decided(
    request: dict[str, Any] | str | None = None,
    held: Restoration | None = None,
    observed: Observed = SEEN,
    **spec: Any,
) -> Restoration | None:
    return restoring.decide(*chat(request, held, **spec), observed, now=NOW)


def to(target: str = TARGET, name: str = "a") -> dict[str, Any]:
    return {"id": name, "targetTime": target}


def at(phase: str, **fields: Any) -> Restoration:
    """A restore that an admin has requested, in some phase."""
    return Restoration(
        **{"id": "a", "phase": phase, "target_time": TARGET, "began_at": "2026-11-22T11:59:00Z", **fields}
    )


DONE = at(
    COMPLETED,
    kept_data="pgdata.before-a",
    ended_at="2026-11-22T11:59:30Z",
    left_from=TARGET,
    left_until="2026-11-22T11:59:30Z",
)


def changed(**fields: Any) -> Observed:
    return dataclasses.replace(SEEN, **fields)


def agent(**fields: Any) -> Observed:
    return changed(agent=dataclasses.replace(AGENT, **fields))


KEPT = VolumeReport(10 * GIB, 9 * GIB, ("pgdata.before-a",))
RESIZING = {**CHILDREN[("PersistentVolumeClaim", "demo-postgres-data")]}
RESIZING["status"] = {"conditions": [{"type": "Resizing", "status": "True"}]}
SECOND = {**CHILDREN, ("StatefulSet", "demo-postgres-2"): {"metadata": {"name": "demo-postgres-2"}}}
FAILING = ArchiveReport(failing=True, waiting=3, lag_seconds=10, error="no space left")


def test_a_request_that_can_be_made_stops_the_chatservers_first() -> None:
    found = decided(to())
    assert found == Restoration(
        id="a", phase=STOPPING, target_time=TARGET, began_at="2026-11-22T12:00:00Z", left_from=TARGET
    )


@pytest.mark.parametrize(
    ("request_", "reason", "said", "observed", "spec"),
    [
        ("{", "InvalidRequest", "cannot be read", SEEN, {}),
        ("x" * 2000, "InvalidRequest", "longer than", SEEN, {}),
        ({"id": "../etc", "targetTime": TARGET}, "InvalidRequest", "its id", SEEN, {}),
        ({"id": "a"}, "InvalidRequest", "exactly one", SEEN, {}),
        (to("yesterday"), "InvalidRequest", "no time", SEEN, {}),
        (to("2026-02-30T11:00:00Z"), "InvalidRequest", "not in the calendar", SEEN, {}),
        (to("2026-11-22T11:00:00"), "InvalidRequest", "no time with its zone", SEEN, {}),
        (to(), "External", "external", SEEN, {"database": {"external": {"secretName": "theirs"}}}),
        (to(), "NoBackups", "spec.database.backup", SEEN, {"database": {}}),
        (to(), "SeveralInstances", "instances to 1", SEEN, {"database": {**BACKED_UP["database"], "instances": 3}}),
        (to(), "SeveralInstances", "instances to 1", changed(children=SECOND), {}),
        (to(), "NoDatabase", "no database yet", changed(children={}), {}),
        (
            to(),
            "StorageChanging",
            "Resizing",
            changed(children={**CHILDREN, ("PersistentVolumeClaim", "demo-postgres-data"): RESIZING}),
            {},
        ),
        (to(), "RepositoryUnavailable", "does not answer", changed(backup=None), {}),
        (
            to(),
            "RepositoryUnavailable",
            "host down",
            changed(
                backup=dataclasses.replace(REPORT, repository=RepositoryReport(reachable=False, error="host down"))
            ),
            {},
        ),
        (to(), "OutsideWindow", "no backup", changed(backup=dataclasses.replace(REPORT, oldest_restorable=None)), {}),
        (to("2026-11-22T01:10:00Z"), "OutsideWindow", "after 2026-11-22T01:10:00Z", SEEN, {}),
        (to("2026-11-22T12:00:01Z"), "OutsideWindow", "up to now", SEEN, {}),
        # The newest backup before the target counts: 1 GiB fits, 4 do not.
        (to("2026-11-22T11:40:00Z"), "NoRoom", "4761 MiB", SEEN, {}),
        (to("latest"), "NoRoom", "database.storage.size", agent(volume=dataclasses.replace(KEPT, free_bytes=GIB)), {}),
        (to("latest"), "ArchiveFailing", "no space left", agent(archive=FAILING, volume=KEPT), {}),
        (to("2026-11-22T11:55:00Z"), "ArchiveFailing", "no space left", agent(archive=FAILING, volume=KEPT), {}),
        ({"id": "b", "undo": "a"}, "NothingKept", "not the last restore", SEEN, {}),
    ],
)
def test_a_request_that_cannot_be_made_is_refused_with_a_remedy(
    request_: Any, reason: str, said: str, observed: Observed, spec: dict[str, Any]
) -> None:
    found = decided(request_, observed=observed, **spec)
    assert found is not None
    assert found.refused is not None
    assert (found.refused.reason, found.phase) == (reason, "")
    assert said in found.refused.message
    assert not found.holds_servers
    assert not found.in_template
    # It stays refused whatever changes, and goes with the annotation.
    if found.refused.id:
        assert decided(request_, found) == found
    assert decided(None, found) is None


def test_what_archiving_has_reached_can_be_restored_while_it_fails() -> None:
    found = decided(to(), observed=agent(archive=FAILING, volume=KEPT))
    assert found is not None
    assert found.phase == STOPPING


def test_a_database_that_does_not_run_can_be_restored() -> None:
    found = decided(to(), observed=changed(agent=None))
    assert found is not None
    assert found.phase == STOPPING


def test_a_paused_chat_begins_nothing_and_forgets_nothing() -> None:
    assert decided(to(), paused=True) is None
    held = at(RESTORING)
    assert decided(to(), held, paused=True) == held


@pytest.mark.parametrize("phase", [STOPPING, RESTORING, STARTING])
def test_a_second_request_is_refused_while_one_is_in_progress(phase: str) -> None:
    # Of which the servers still run.
    observed = changed(pods=(pod("demo-chatserver-a", "chatserver"),))
    found = decided(to(name="b"), at(phase), observed)
    assert found is not None
    assert (found.id, found.phase) == ("a", phase)
    assert found.refused is not None
    assert found.refused.reason == "InProgress"
    assert database_restored.condition(found).reason == "Restoring"


def test_times_that_a_restore_has_left_need_its_undoing_first() -> None:
    observed = agent(volume=KEPT)
    found = decided(to("2026-11-22T11:30:01Z", "b"), DONE, observed)
    assert found is not None
    assert found.refused is not None
    assert found.refused.reason == "LeftHistory"
    assert "--undo" in found.refused.message
    assert found.phase == COMPLETED
    assert database_restored.condition(found).reason == "RequestRefused"
    # Before and after it anything goes.
    for target in ("2026-11-22T10:00:00Z", TARGET, "2026-11-22T11:59:40Z"):
        again = decided(to(target, "c"), found, observed)
        assert again is not None
        assert (again.id, again.phase, again.refused) == ("c", STOPPING, None)
    # What an undone restore had is left instead.
    undone = decided({"id": "d", "undo": "a"}, DONE, observed)
    assert undone is not None
    assert (undone.phase, undone.undoes, undone.left_from) == (STOPPING, "a", DONE.ended_at)


def test_what_is_not_kept_any_more_cannot_be_put_back() -> None:
    found = decided({"id": "b", "undo": "a"}, DONE)
    assert found is not None
    assert found.refused is not None
    assert (found.refused.reason, found.phase) == ("NothingKept", COMPLETED)


SUCCESS = RestoreOutcome(
    "a", ended="2026-11-22T11:59:59Z", restored_to="2026-11-22T10:59:59Z", backup="F1", kept="pgdata.before-a"
)


def database(*outcomes: RestoreOutcome, restores: str | None = "a") -> Observed:
    return changed(agent=None, pods=(pod("demo-postgres-0", "postgres", restores=restores, outcomes=outcomes),))


def test_a_restore_goes_through_its_phases_from_whatever_operator() -> None:
    server = pod("demo-chatserver-a", "chatserver", terminating=True)
    assert decided(to(), at(STOPPING), changed(pods=(server,))) == at(STOPPING)
    # On a node that is lost nobody knows.
    lost = dataclasses.replace(server, lost=True)
    assert decided(to(), at(STOPPING), changed(pods=(lost,))) == at(RESTORING)
    migrates = {"metadata": {"name": "demo-migrate-0123456789"}, "status": {}}
    job = changed(children={**CHILDREN, ("Job", "demo-migrate-0123456789"): migrates})
    assert decided(to(), at(STOPPING), job) == at(STOPPING)
    # The old pod, and a message of an earlier restore, say nothing.
    assert decided(to(), at(RESTORING), database(restores=None)) == at(RESTORING)
    assert decided(to(), at(RESTORING), database(dataclasses.replace(SUCCESS, id="z"))) == at(RESTORING)
    failed = decided(to(), at(RESTORING), database(RestoreOutcome("a", "unreachable", "host down")))
    assert failed == at(FAILED, reason="unreachable", message="host down")
    killed = decided(to(), at(RESTORING), database(RestoreOutcome("", "failed", "OOMKilled")))
    assert killed == at(FAILED, reason="failed", message="OOMKilled")
    # It tries again, and succeeds.
    assert decided(to(), failed, database()) == failed
    restored = at(
        STARTING,
        ended_at="2026-11-22T11:59:59Z",
        restored_to="2026-11-22T10:59:59Z",
        backup="F1",
        kept_data="pgdata.before-a",
    )
    assert decided(to(), failed, database(SUCCESS)) == restored
    assert restoring.migrated(restored, done=False) == restored
    complete = restoring.migrated(restored, done=True)
    assert complete is not None
    assert (complete.phase, complete.left_until) == (COMPLETED, "2026-11-22T11:59:59Z")
    assert decided(to(), complete, SEEN) == complete


def test_a_restore_that_fails_can_be_undone_or_tried_with_another_time() -> None:
    failed = at(FAILED, reason="wal_missing", message="gone")
    observed = dataclasses.replace(database(RestoreOutcome("a", "wal_missing", "gone")), backup=REPORT)
    undone = decided({"id": "b", "undo": "a"}, failed, observed)
    assert undone is not None
    assert (undone.id, undone.phase, undone.undoes) == ("b", STOPPING, "a")
    other = decided(to("2026-11-22T10:00:00Z", "c"), failed, observed)
    assert other is not None
    assert (other.id, other.phase) == ("c", STOPPING)


@pytest.mark.parametrize("phase", [STOPPING, RESTORING, STARTING])
def test_a_restore_that_does_not_end_can_be_given_up(phase: str) -> None:
    found = decided({"id": "b", "undo": "a"}, at(phase), changed(pods=(pod("demo-chatserver-a", "chatserver"),)))
    assert found is not None
    assert (found.id, found.phase, found.undoes) == ("b", STOPPING, "a")


def rendered(held: Restoration | None) -> dict[tuple[str, str], dict[str, Any]]:
    made = dataclasses.replace(desired(cluster(**BACKED_UP)), restoration=held)
    return {(one["kind"], one["metadata"]["name"]): one for one in render(made)}


@pytest.mark.parametrize(
    ("phase", "replicas", "state"),
    [
        (STOPPING, 0, None),
        (RESTORING, 0, "a pending"),
        (FAILED, 0, "a pending"),
        (STARTING, 0, "a done"),
        (COMPLETED, 2, "a done"),
    ],
)
def test_each_phase_has_its_objects(phase: str, replicas: int, state: str | None) -> None:
    objects = rendered(at(phase))
    assert objects["Deployment", "demo-chatserver"]["spec"]["replicas"] == replicas
    assert objects["ConfigMap", "demo-postgres"]["data"].get("restore") == state
    template = objects["StatefulSet", "demo-postgres"]["spec"]["template"]
    containers = template["spec"].get("initContainers", [])
    assert [one["name"] for one in containers] == (["restore-in-place"] if state else [])
    assert template["metadata"]["annotations"].get(RESTORE_ANNOTATION) == ("a" if state else None)
    if state:
        environment = {one["name"]: one["value"] for one in containers[0]["env"]}
        assert environment["RESTORE_ID"] == "a"
        assert (environment["RESTORE_TARGET"], environment["RESTORE_UNDO"]) == (TARGET, "")
        assert "/etc/chatcluster/backup" in {one["mountPath"] for one in containers[0]["volumeMounts"]}
        # From the beginning of a restore on, nothing restarts PostgreSQL.
        assert template == rendered(at(RESTORING))["StatefulSet", "demo-postgres"]["spec"]["template"]


def test_latest_is_no_target() -> None:
    assert restoration.environment(at(RESTORING, target_time="latest"))["RESTORE_TARGET"] == ""


def test_an_operator_that_starts_during_a_restore_remembers_the_number_of_servers() -> None:
    none = {**CHILDREN, ("Deployment", "demo-chatserver"): {"metadata": {"name": "x"}, "spec": {"replicas": 0}}}
    made = {**body(), "status": {"desiredReplicas": 7}}
    assert present_number(cluster(), made, changed(children=none), State()) == 7


def test_a_restored_chat_has_a_full_backup_made_until_an_admin_requests_another() -> None:
    assert restoration.AFTER_RESTORE == AFTER_RESTORE
    done = dataclasses_of(DONE, backup_request="x")
    assert restoration.backup_request("x", None) == "x"
    assert restoration.backup_request("x", done) == "restored-a"
    assert restoration.backup_request("y", done) == "y"
    assert restoration.backup_request(None, DONE) == "restored-a"
    assert restoration.backup_request("x", at(RESTORING, backup_request="x")) == "x"
    _, made = chat(to())
    made["metadata"]["annotations"][BACKUP_ANNOTATION] = "x"
    found = restoring.decide(cluster(**BACKED_UP), made, SEEN, now=NOW)
    assert found is not None
    assert found.backup_request == "x"


def dataclasses_of(held: Restoration, **fields: Any) -> Restoration:
    return msgspec.structs.replace(held, **fields)


def reported(held: Restoration) -> dict[str, Any]:
    made = dataclasses.replace(desired(cluster(**BACKED_UP)), restoration=held)
    inputs = ConditionInputs(
        body=body(), observed=SEEN, answer=Answer(ok=False, message="A request failed"), now=NOW, desired=made
    )
    return {one.type: one for one in conditions(inputs)}


def test_while_no_server_may_run_every_condition_says_why() -> None:
    found = reported(at(STOPPING))
    assert (found["DatabaseRestored"].status, found["DatabaseRestored"].reason) == ("False", "Restoring")
    assert TARGET in found["DatabaseRestored"].message
    assert (found["ChatserverReady"].status, found["ChatserverReady"].reason) == ("False", "Restoring")
    assert (found["Progressing"].status, found["Progressing"].reason) == ("True", "Restoring")
    done = reported(DONE)["DatabaseRestored"]
    assert (done.status, done.reason) == ("True", "Restored")
    assert "pgdata.before-a" in done.message
    failed = reported(at(FAILED, reason="wal_missing", message="file 7 is gone"))["DatabaseRestored"]
    assert failed.reason == "WalMissing"
    assert "file 7 is gone" in failed.message
    assert "--undo" in failed.message


def test_every_word_of_the_container_has_a_reason() -> None:
    words = {plan.OUTSIDE_WINDOW, plan.NO_BACKUP, plan.WAL_MISSING, plan.VOLUME_EMPTY, plan.NO_ROOM, plan.NOTHING_KEPT}
    words |= {problems.Code.WRONG_KEY, problems.Code.UNREACHABLE, problems.Code.ACCESS_DENIED, problems.Code.TLS}
    assert words <= database_restored.REASONS.keys()


def test_status_shows_it_and_loses_what_is_over() -> None:
    made = dataclasses.replace(desired(cluster(**BACKED_UP)), restoration=DONE)
    _, before = chat(None, at(FAILED, reason="x", message="y"))
    shown = figures(before, EMPTY, made)["database"]["restore"]
    assert (shown["phase"], shown["keptData"], shown["reason"], shown["message"]) == (
        COMPLETED,
        "pgdata.before-a",
        None,
        None,
    )


# The first content of a chat.

FROM_CHAT: dict[str, Any] = {"database": {"restore": {"from": {"chatCluster": {"name": "old"}}}}}
STORE = {"bucket": "chats", "region": "eu", "endpoint": "s3.example.com", "secretName": "store"}
FROM_STORE: dict[str, Any] = {
    "database": {"restore": {"from": {"repository": {"s3": STORE, "encryption": {"secretName": "key"}}}}}
}
KEYS = {
    "store": secret("store", **{"access-key-id": "a", "secret-access-key": "b"}),
    "key": secret("key", passphrase="p"),
}
WHOLE = RestoreSource(exists=True, backed_up=True, certificate=True)


@pytest.mark.parametrize(
    ("spec", "observed", "reason", "said"),
    [
        (FROM_CHAT, Observed({}, (), source=RestoreSource()), "SourceMissing", "ChatCluster old"),
        (FROM_CHAT, Observed({}, (), source=RestoreSource(exists=True)), "NoBackups", "has no database.backup"),
        (
            FROM_CHAT,
            Observed({}, (), source=RestoreSource(exists=True, backed_up=True)),
            "NoBackups",
            "no backup pod yet",
        ),
        (
            FROM_STORE,
            Observed({}, (), user_secrets={"store": None, "key": KEYS["key"]}),
            "SecretMissing",
            "Secret store",
        ),
        (
            FROM_STORE,
            Observed({}, (), user_secrets={**KEYS, "key": secret("key")}),
            "SecretMissing",
            "has no key passphrase",
        ),
    ],
)
def test_what_a_chat_cannot_begin_with_names_the_field(
    spec: dict[str, Any], observed: Observed, reason: str, said: str
) -> None:
    found = decided(observed=observed, **spec)
    assert found is not None
    condition = database_restored.condition(found)
    assert (condition.status, condition.reason) == ("False", reason)
    assert said in condition.message
    assert "database.restore.from" in condition.message
    # It has no effect on what is made: pods wait for what they mount.
    assert not found.holds_servers
    assert not found.in_template


def test_a_chat_begins_and_says_to_which_time() -> None:
    begins = decided(observed=Observed({}, (), source=WHOLE), **FROM_CHAT)
    assert begins == Restoration(phase=RESTORING, target_time="latest")
    late = RestoreOutcome("", "outside_window", "restore.targetTime is too late; from A to B")
    observed = Observed({}, (pod("demo-postgres-0", "postgres", outcomes=(late,)),), source=WHOLE)
    failed = decided(held=begins, observed=observed, **FROM_CHAT)
    assert failed is not None
    assert database_restored.condition(failed).reason == "OutsideWindow"
    assert "from A to B" in database_restored.condition(failed).message
    assert "with another database.restore.targetTime" in database_restored.condition(failed).message
    made = RestoreOutcome("", ended="2026-11-22T11:59:59Z", restored_to="2026-11-22T11:00:00Z", backup="F1")
    observed = Observed({}, (pod("demo-postgres-0", "postgres", outcomes=(made,)),), source=WHOLE)
    done = decided(held=failed, observed=observed, **FROM_CHAT)
    assert done == Restoration(
        phase=COMPLETED,
        target_time="latest",
        ended_at="2026-11-22T11:59:59Z",
        restored_to="2026-11-22T11:00:00Z",
        backup="F1",
    )
    # Whatever becomes of the source.
    assert decided(held=done, observed=EMPTY, **FROM_CHAT) == done


@pytest.mark.parametrize(
    ("code", "reason", "field"),
    [
        ("wrong_key", "WrongKey", "database.restore.from.repository.encryption.secretName"),
        ("unreachable", "RepositoryUnavailable", "database.restore.from.repository"),
        ("access_denied", "RepositoryUnavailable", "database.restore.from.repository"),
        ("wal_missing", "WalMissing", "database.restore.targetTime"),
        ("other", "RestoreFailed", "tried again"),
    ],
)
def test_what_the_container_cannot_do_has_its_field_and_a_remedy(code: str, reason: str, field: str) -> None:
    failed = RestoreOutcome("", code, "pgBackRest's words")
    observed = Observed({}, (pod("demo-postgres-0", "postgres", outcomes=(failed,)),), source=WHOLE)
    found = decided(observed=observed, **FROM_CHAT)
    assert found is not None
    condition = database_restored.condition(found)
    assert (condition.status, condition.reason) == ("False", reason)
    assert "pgBackRest's words" in condition.message
    assert field in condition.message


def test_a_chat_that_was_restored_by_an_earlier_release_is_complete() -> None:
    found = decided(observed=SEEN, **FROM_CHAT)
    assert found is not None
    assert database_restored.condition(found).status == "True"


def test_secrets_of_a_restore_are_read_until_it_is_complete() -> None:
    assert set(needed(cluster(**FROM_STORE), begins=True)) == {"key", "store"}
    assert not needed(cluster(**FROM_STORE))
    assert restoration.begins(body())
    assert not restoration.begins(chat(None, at(RESTORING))[1])


# What pods and agents say.


def container(**state: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "status": {"initContainerStatuses": [{"name": "restore-in-place", **state}]}}


def ended(code: int, message: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": "Error" if code else "Completed"}}


def test_the_message_of_the_container_is_read() -> None:
    success = {"restored": {"id": "a", "target": TARGET, "ended": "2026-11-22T11:59:59Z", "restored_to": None}}
    found = read_pod(container(state=ended(0, json.dumps(success))))
    assert found.outcomes == (RestoreOutcome("a", ended="2026-11-22T11:59:59Z"),)
    assert found.trouble is None
    failure = json.dumps({"failed": {"id": "a", "code": "no_room", "text": "it does not fit"}})
    for state in (
        {"state": ended(1, failure)},
        {"state": {"waiting": {"reason": "X"}}, "lastState": ended(1, failure)},
    ):
        found = read_pod(container(**state))
        assert found.outcomes == (RestoreOutcome("a", "no_room", "it does not fit"),)
        assert found.trouble == "container restore-in-place: it does not fit"
    killed = read_pod(container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))
    assert killed.outcomes == (RestoreOutcome("", "failed", "the container ended with 137 (OOMKilled)"),)


@pytest.mark.parametrize("message", ["", "[]", "{", '{"restored": 7}', '{"restored": {"id": []}}', "7"])
def test_a_message_that_is_none_is_no_outcome(message: str) -> None:
    assert read_pod(container(state=ended(0, message))).outcomes == ()
    assert len(read_pod(container(state=ended(1, message))).outcomes) == 1


def test_a_container_that_runs_or_had_nothing_to_do_says_nothing() -> None:
    assert read_pod(container(state={"running": {}})).outcomes == ()


def test_the_agent_says_what_is_on_the_volume() -> None:
    page = {"credentials": "1", "configuration": "1", "refused": None}
    volume = {"size_bytes": 10, "free_bytes": 3, "kept": ["pgdata.before-a"]}
    report = parse_report(json.dumps({**page, "volume": volume}))
    assert report is not None
    assert report.volume == VolumeReport(10, 3, ("pgdata.before-a",))
    unreadable: tuple[object, ...] = ({**volume, "free_bytes": -1}, {**volume, "kept": ["x"] * 2000}, [], None)
    for wrong in unreadable:
        report = parse_report(json.dumps({**page, "volume": wrong}))
        assert report is not None
        assert report.volume is None


def test_the_target_may_be_the_present_second() -> None:
    assert decided(to(restoring.rfc3339(NOW)), observed=agent(volume=KEPT)) is not None
    assert dt.datetime.fromisoformat(restoring.rfc3339(NOW)) == NOW
