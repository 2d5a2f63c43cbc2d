"""What a repository host reports."""

from __future__ import annotations

import dataclasses
import json

from prometheus_client.parser import text_string_to_metric_families

from postgresagent.volume import Space
from postgresbackup import metrics, repository
from postgresbackup.problems import Code, Problem
from postgresbackup.status import Failure, State, Verified, status
from tests.postgresbackup.test_drilled import FAILED, GOOD
from tests.postgresbackup.test_repository import at, backup, made, segment, wal

FOUND = made(
    backup("F", "full", at(1), segment(2), segment(2)),
    backup("I", "incr", at(2), segment(3), segment(3), request="abc"),
)
STATE = State(
    looked_at=at(3),
    found=FOUND,
    window=repository.window(FOUND, wal(segment(2), segment(3), segment(4))),
    newest_commit=at(2, 59),
    last_verify=Verified(at(2, 5), ok=True, text=""),
    request="abc",
    runs={("incr", "ok"): 2, ("full", "full"): 1},
    volume=Space(100, 40),
)


def test_the_status_is_what_the_operator_reads() -> None:
    found = status(STATE)
    assert json.loads(json.dumps(found)) == found
    assert found["phase"] == "idle"
    assert found["repository"] == {"reachable": True, "error": "", "code": ""}
    assert [one["type"] for one in found["backups"]] == ["full", "incremental"]
    assert found["oldest_restorable"] == "2026-11-30T01:00:10Z"
    assert found["newest_archived"] == "2026-11-30T02:59:00Z"
    assert found["last_archived_wal"] == segment(4)
    assert found["last_backup_error"] is None
    assert found["last_verify"] == {"at": "2026-11-30T02:05:00Z", "ok": True, "text": ""}
    assert found["answered_request"] == "abc"


def test_a_request_is_answered_when_its_backup_has_ended_well_or_not() -> None:
    assert status(dataclasses.replace(STATE, request="new"))["answered_request"] == ""
    failed = dataclasses.replace(
        STATE, request="new", tried_request="new", last_failure=Failure(at(3), Problem(Code.FULL, "no space"))
    )
    assert status(failed)["answered_request"] == "new"
    assert status(failed)["last_backup_error"] == {"at": "2026-11-30T03:00:00Z", "text": "no space", "code": "full"}


def test_nothing_is_known_before_the_first_look() -> None:
    found = status(State())
    assert not found["repository"]["reachable"]
    assert found["oldest_restorable"] is found["newest_archived"] is None
    unreadable = status(
        dataclasses.replace(STATE, problem=Problem(Code.WRONG_KEY, "cipher header invalid"), phase="incr")
    )
    assert unreadable["repository"] == {"reachable": False, "error": "cipher header invalid", "code": "wrong_key"}
    assert unreadable["phase"] == "backup"


def test_every_metric_is_on_the_page_when_it_has_a_value() -> None:
    state = dataclasses.replace(STATE, next_due=at(4), overdue_since=at(1))
    state = dataclasses.replace(state, has_drills=True, last_drill=GOOD, drill_overdue_since=at(1))
    families = {one.name: one for one in text_string_to_metric_families(metrics.page(state).decode())}
    assert set(families) == {one.name.removesuffix("_total") for one in metrics.METRICS}
    times = {
        sample.labels["type"]: sample.value for sample in families["chatbackup_last_backup_timestamp_seconds"].samples
    }
    assert times == {"full": at(1).timestamp() + 10, "incremental": at(2).timestamp() + 10}
    empty = {one.name: one for one in text_string_to_metric_families(metrics.page(State()).decode())}
    assert {one.value for one in empty["chatbackup_last_backup_timestamp_seconds"].samples} == {0}
    assert empty["chatbackup_repository_reachable"].samples[0].value == 0


def test_the_last_drill_is_reported_while_there_are_drills() -> None:
    state = dataclasses.replace(STATE, has_drills=True, last_drill=GOOD)
    assert status(state)["answered_drill"] == "abc"
    assert status(state)["last_drill"] == {
        "at": "2026-11-30T05:00:00Z",
        "ok": True,
        "seconds": 61.5,
        "code": "",
        "text": "",
        "backup": "F",
        "good_at": "2026-11-30T05:00:00Z",
        "users": 2,
        "chats": 1,
        "messages": 500,
        "newest_message": "2026-11-30T04:59:00Z",
        "restored_to": "2026-11-30T04:58:00Z",
    }
    failed = status(dataclasses.replace(state, last_drill=FAILED))["last_drill"]
    assert (failed["ok"], failed["code"], failed["messages"]) == (False, "damaged", None)
    assert metrics.values(dataclasses.replace(state, last_drill=FAILED))["chatbackup_drill_failing"] == 1
    without = dataclasses.replace(state, has_drills=False)
    assert status(without)["last_drill"] is None
    assert metrics.values(without)["chatbackup_drill_failing"] is None
