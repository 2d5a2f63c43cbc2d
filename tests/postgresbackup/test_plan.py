"""What a restore begins with, and what it says if it cannot reach its target."""

from __future__ import annotations

import datetime as dt

import pytest

from postgresbackup import plan, wal
from postgresbackup.plan import CannotRestore, Request
from tests.postgresbackup.test_repository import at, backup, made, segment
from tests.postgresbackup.test_repository import wal as archived

FOUND = made(backup("F1", "full", at(1), segment(2), segment(2)), backup("F2", "full", at(2), segment(4), segment(4)))
WHOLE = archived(*(segment(number) for number in range(2, 8)))
BROKEN = archived(segment(2), segment(3), segment(4), segment(6))
NEWEST = at(3)


def test_the_latest_state_comes_from_the_newest_backup() -> None:
    found = plan.plan(Request(None, may_begin=True), FOUND, WHOLE, NEWEST)
    assert (found.backup.label, found.target, found.newest_wal) == ("F2", None, segment(7))


@pytest.mark.parametrize(
    ("target", "label"),
    [
        (at(1, 30), "F1"),
        (at(2) + dt.timedelta(seconds=10), "F1"),
        (at(2) + dt.timedelta(seconds=11), "F2"),
        (at(3), "F2"),
    ],
)
def test_a_time_comes_from_the_last_backup_that_ended_before_it(target: dt.datetime, label: str) -> None:
    found = plan.plan(Request(target, may_begin=True), FOUND, WHOLE, NEWEST)
    assert found.backup.label == label
    assert found.may_end_with_archive


@pytest.mark.parametrize(("target", "word"), [(at(0), "too early"), (at(3, 1), "too late")])
def test_a_time_outside_of_the_window_names_the_window(target: dt.datetime, word: str) -> None:
    with pytest.raises(CannotRestore, match="from 2026-11-30T01:00:11Z to 2026-11-30T03:00:00Z") as raised:
        plan.plan(Request(target, may_begin=True), FOUND, WHOLE, NEWEST)
    assert word in str(raised.value)
    assert plan.said(target) in str(raised.value)


def test_the_end_of_the_archive_is_no_answer_where_wal_is_missing() -> None:
    with pytest.raises(CannotRestore, match=segment(5)):
        plan.plan(Request(None, may_begin=True), FOUND, BROKEN, NEWEST)
    assert not plan.plan(Request(at(2, 30), may_begin=True), FOUND, BROKEN, NEWEST).may_end_with_archive


def test_all_that_was_committed_before_the_newest_backup_can_be_restored() -> None:
    found = plan.plan(Request(at(2), may_begin=True), FOUND, WHOLE, None)
    assert (found.backup.label, found.may_end_with_archive) == ("F1", True)
    with pytest.raises(CannotRestore, match="too late"):
        plan.plan(Request(at(2, 30), may_begin=True), FOUND, WHOLE, None)


def test_a_chat_in_which_nothing_has_happened_has_its_latest_state_only() -> None:
    idle = made(backup("F1", "full", at(1), segment(2), segment(2)))
    with pytest.raises(CannotRestore, match="its latest state only"):
        plan.plan(Request(at(2), may_begin=True), idle, WHOLE, at(0))
    assert plan.plan(Request(None, may_begin=True), idle, WHOLE, at(0)).backup.label == "F1"


def test_nothing_is_restored_from_nothing() -> None:
    with pytest.raises(CannotRestore, match="has no backup"):
        plan.plan(Request(None, may_begin=True), made(), WHOLE, NEWEST)


def test_a_target_is_a_time_with_a_zone() -> None:
    assert plan.request({"target_time": "", "begin": True}) == Request(None, may_begin=True)
    assert plan.request({"target_time": "2026-11-30T01:00:00Z"}) == Request(at(1), may_begin=False)
    for text in ("yesterday", "2026-11-30T01:00:00"):
        with pytest.raises(CannotRestore, match=r"restore\.targetTime"):
            plan.request({"target_time": text})


def test_a_recovery_that_ends_before_the_newest_wal_is_none() -> None:
    assert plan.reaches("0/7000100", segment(7))
    assert plan.reaches("0/8000000", segment(7))
    assert not plan.reaches("0/6FFFFFF", segment(7))
    assert plan.reaches("0/1", None)


def test_the_last_commit_is_found_in_wal() -> None:
    head = "rmgr: Transaction len (rec/tot): 34/ 34, tx: 745, lsn: 0/01, prev 0/00, desc:"
    lines = [
        f"{head} COMMIT 2026-11-30 01:00:00.500000 UTC",
        f"{head} COMMIT 2026-11-30 02:00:00 UTC; inval msgs: catcache 1",
        f"{head} ABORT 2026-11-30 09:00:00 UTC",
    ]
    assert wal.last_commit("\n".join(lines)) == at(2)
    assert wal.last_commit(lines[2]) is None


def test_a_restore_in_place_needs_room_beside_what_is_there() -> None:
    newest = FOUND.backups[-1]
    plan.check_room(newest, free_bytes=1500, reserve_bytes=500)
    with pytest.raises(CannotRestore, match=r"database\.storage\.size") as raised:
        plan.check_room(newest, free_bytes=1499, reserve_bytes=500)
    assert raised.value.code == plan.NO_ROOM


def test_what_a_server_without_an_archive_has_written_is_left_to_the_next_one() -> None:
    old, ended, going_on, recycled = (
        f"{timeline}00000000000000{number}"
        for timeline, number in (("00000001", "0C"), ("00000002", "0C"), ("00000002", "0D"), ("00000002", "0E"))
    )
    names = [
        recycled,
        old,
        ended,
        going_on,
        "00000001.history",
        "00000002.history",
        "archive_status",
        f"{ended}.partial",
    ]
    assert wal.unarchived(names, going_on) == ["00000002.history", ended]
    assert wal.unarchived(names, old) == ["00000001.history"]
