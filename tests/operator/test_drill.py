"""spec.database.backup.drill: its scratch volume, its requests, what the backup pod reports of it, RestoreTested."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatoperator.conditions import conditions, restore_tested
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired.database import Volume
from chatoperator.desired.manifests import render
from chatoperator.observed import Answer, Observed
from chatoperator.probes.parsing import parse_backup
from chatoperator.reconcile.figures import figures
from chatoperator.reconcile.touch import stale_mounts
from chatoperator.reports import BackupReport, DrillReport
from tests.operator.test_backup import GOOD, NO_CLAIM, PAGE, backed, changed, decided
from tests.support.chatclusters import NOW, body, cluster, desired, pod

DRILLED = backed(drill={})

WELL = DrillReport(
    at="2026-11-22T05:01:00Z",
    ok=True,
    seconds=61.5,
    good_at="2026-11-22T05:01:00Z",
    messages=500,
    newest_message="2026-11-22T04:59:00Z",
    restored_to="2026-11-22T04:59:30Z",
)
ILL = DrillReport(
    at="2026-11-22T05:01:00Z",
    ok=False,
    seconds=7,
    code="damaged",
    text="pg_amcheck: index x",
    good_at="2026-10-22T05:01:00Z",
)


def backup_pod(spec: dict[str, Any], **given: Any) -> dict[str, Any]:
    """The backup pod's template."""
    made = render(desired(cluster(**spec), **given))
    found = next(one for one in made if (one["kind"], one["metadata"]["name"]) == ("StatefulSet", "demo-backup"))
    template: dict[str, Any] = found["spec"]["template"]["spec"]
    return template


def scratch(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["ephemeral"]["volumeClaimTemplate"]["spec"] for one in template["volumes"] if "ephemeral" in one]


def test_the_scratch_volume_is_as_large_as_the_database_and_only_there_with_drills() -> None:
    assert scratch(backup_pod(backed())) == []
    (claim,) = scratch(backup_pod(DRILLED, volume=Volume("40Gi")))
    assert claim == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "40Gi"}}}
    (claim,) = scratch(backup_pod(backed(drill={"size": "5Gi", "storageClassName": ""}), volume=Volume("40Gi")))
    assert (claim["resources"]["requests"]["storage"], claim["storageClassName"]) == ("5Gi", "")


def test_the_pod_has_memory_for_a_database_unless_the_admin_says_otherwise() -> None:
    def memory(**more: Any) -> str:
        (container,) = backup_pod(backed(**more))["containers"]
        return str(container["resources"]["limits"]["memory"])

    assert (memory(), memory(drill={})) == ("512Mi", "1Gi")
    assert memory(drill={}, resources={"limits": {"memory": "700Mi"}}) == "700Mi"


def test_a_request_reaches_the_pod_at_once() -> None:
    pods = (pod("demo-backup-0", "backup"),)
    seen = stale_mounts(desired(cluster(**DRILLED)), Observed({}, pods), ())["demo-backup-0"]
    again = desired(cluster(**DRILLED), backup=decided(NO_CLAIM, spec=DRILLED, drill="2026-11-30T12.00.00Z"))
    assert stale_mounts(again, Observed({}, pods), ())["demo-backup-0"] != seen
    config = next(
        one for one in render(again) if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "demo-backup")
    )
    plan = json.loads(config["data"]["backup.json"])
    assert plan["drill"] == {"schedule": "0 5 1 * *", "timeoutSeconds": 14_400, "request": "2026-11-30T12.00.00Z"}
    assert plan["request"] is None


def judged(report: BackupReport | None, held: list[dict[str, str]] | None = None) -> tuple[str, str, str]:
    """Status, reason and message of RestoreTested."""
    raw = {**body(), "status": {"conditions": held or []}}
    observed, made = Observed({}, (), backup=report), desired(cluster(**DRILLED))
    inputs = ConditionInputs(raw, observed, Answer(ok=True, message=""), NOW, desired=made)
    found = next(one for one in conditions(inputs) if one.type == "RestoreTested")
    return found.status, found.reason, found.message


JUDGED: list[tuple[BackupReport | None, str, str]] = [
    (None, "NoDrillYet", "starts"),
    (GOOD, "NoDrillYet", "not ended yet"),
    (changed(last_drill=WELL), "RestoreTested", "500 messages up to 2026-11-22T04:59:30Z"),
    (changed(last_drill=ILL), "DrillFailed", "(damaged): pg_amcheck: index x; the last good one ended at 2026-10"),
    (changed(drill_overdue_since="2026-11-20T05:00:00Z"), "DrillOverdue", "2026-11-20T05:00:00Z"),
    (changed(last_drill=WELL, drill_overdue_since="2026-11-20T05:00:00Z"), "DrillOverdue", "no result"),
    (changed(last_drill=ILL, drill_overdue_since="2026-11-20T05:00:00Z"), "DrillFailed", "damaged"),
]


@pytest.mark.parametrize(("report", "reason", "said"), JUDGED)
def test_the_condition_says_how_the_last_drill_ended(report: BackupReport | None, reason: str, said: str) -> None:
    status, found, message = judged(report)
    assert (found, status) == (reason, "True" if reason == "RestoreTested" else "False")
    assert said in message


def test_every_reason_of_the_condition_is_tried() -> None:
    assert {reason for _, reason, _ in JUDGED} == {reason.name for reason in restore_tested.TYPE.reasons}


def test_a_backup_pod_that_is_silent_says_nothing_about_drills() -> None:
    held = [{"type": "RestoreTested", "status": "False", "reason": "DrillFailed", "message": "no space"}]
    assert judged(None, held) == ("False", "DrillFailed", "no space")


def test_a_chat_without_drills_has_no_such_condition() -> None:
    made = desired(cluster(**backed()))
    inputs = ConditionInputs(body(), Observed({}, ()), Answer(ok=True, message=""), NOW, desired=made)
    assert "RestoreTested" not in {one.type for one in conditions(inputs)}


def test_the_status_has_the_figures_and_loses_what_is_over() -> None:
    raw, spec = body(**DRILLED), desired(cluster(**DRILLED))
    well = changed(last_drill=WELL, answered_drill="abc")
    first = figures(raw, Observed({}, (), backup=well), spec)["database"]
    assert {name: value for name, value in first["backup"].items() if "rill" in name} == {
        "lastDrillAt": "2026-11-22T05:01:00Z",
        "lastGoodDrillAt": "2026-11-22T05:01:00Z",
        "lastDrillSeconds": 61,
        "lastDrillMessages": 500,
        "lastDrillNewestMessageAt": "2026-11-22T04:59:00Z",
        "lastDrillRestoredTo": "2026-11-22T04:59:30Z",
        "answeredDrill": "abc",
    }
    raw["status"] = {"database": first}
    second = figures(raw, Observed({}, (), backup=changed(last_drill=ILL)), spec)["database"]["backup"]
    assert second["lastDrillError"] == "pg_amcheck: index x"
    assert second["lastGoodDrillAt"] == "2026-10-22T05:01:00Z"
    assert second["lastDrillMessages"] is None
    assert figures(raw, Observed({}, ()), spec)["database"] == first


LAST: dict[str, Any] = {
    "at": "2026-11-22T05:01:00Z",
    "ok": True,
    "seconds": 61.5,
    "code": "",
    "text": "",
    "backup": "F",
    "good_at": "2026-11-22T05:01:00Z",
    "users": 2,
    "chats": 1,
    "messages": 500,
    "newest_message": "2026-11-22T04:59:00Z",
    "restored_to": "2026-11-22T04:59:30Z",
}


def test_the_report_of_the_backup_pod_is_read() -> None:
    page = {**PAGE, "last_drill": LAST, "answered_drill": "abc", "drill_overdue_since": None}
    assert parse_backup(json.dumps(page)) == changed(last_drill=WELL, answered_drill="abc")
    long = parse_backup(json.dumps({**page, "last_drill": {**LAST, "text": "x" * 10_000}}))
    assert long is not None
    assert long.last_drill is not None
    assert len(long.last_drill.text) == 500


@pytest.mark.parametrize(
    "change",
    [
        {"last_drill": {**LAST, "at": "yesterday"}},
        {"last_drill": {**LAST, "newest_message": "2026-11-22T04:59:00"}},
        {"last_drill": {**LAST, "messages": -1}},
        {"last_drill": {**LAST, "messages": 2**60}},
        {"last_drill": {**LAST, "seconds": 1e12}},
        {"last_drill": []},
        {"drill_overdue_since": "x"},
    ],
)
def test_what_cannot_be_a_report_is_none(change: dict[str, Any]) -> None:
    assert parse_backup(json.dumps({**PAGE, **change})) is None
