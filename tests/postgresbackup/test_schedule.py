"""What a repository host does next."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from postgresbackup import schedule
from postgresbackup.drilled import Begun, Drilled
from postgresbackup.problems import Code
from postgresbackup.repository import FULL, INCREMENTAL
from postgresbackup.schedule import (
    DRILL,
    VERIFY,
    Drills,
    DrillSeen,
    Failures,
    InvalidSettings,
    Seen,
    Settings,
    Work,
)
from tests.postgresbackup.test_repository import at, backup, made, segment

NIGHTLY = Settings(full="0 1 * * 0", incremental="0 1 * * 1-6", verify="0 4 * * *")
"""The 30th of November 2026 is a Monday."""

SEEN = Seen(at(0))

SUNDAY = at(1) - dt.timedelta(days=1)


def full(started: dt.datetime, **annotations: str) -> dict[str, Any]:
    return backup("F", "full", started, segment(2), segment(2), **annotations)


def incremental(started: dt.datetime, **annotations: str) -> dict[str, Any]:
    return backup("I", "incr", started, segment(3), segment(3), **annotations)


@pytest.mark.parametrize(
    ("now", "backups", "expected"),
    [
        # The first one is not waited for.
        (at(0, 30), [], Work(FULL, at(0))),
        (at(0, 30), [full(SUNDAY, verified="2026-11-29T05:00:00+00:00")], None),
        (at(1), [full(SUNDAY)], Work(INCREMENTAL, at(1))),
        (at(1, 5), [full(SUNDAY), incremental(at(1))], Work(VERIFY, at(4) - dt.timedelta(days=1))),
        (at(4), [full(SUNDAY), incremental(at(1), verified="2026-11-29T05:00:00+00:00")], Work(VERIFY, at(4))),
        (at(4, 9), [full(SUNDAY), incremental(at(1), verified="2026-11-30T04:01:00+00:00")], None),
        # A whole week was missed: one full backup makes up for all.
        (at(2), [full(SUNDAY - dt.timedelta(days=7))], Work(FULL, SUNDAY)),
    ],
)
def test_what_was_scheduled_last_is_due(now: dt.datetime, backups: list[dict[str, Any]], expected: Work | None) -> None:
    assert schedule.due(now, NIGHTLY, made(*backups), SEEN) == expected


def test_a_request_is_answered_once() -> None:
    asked = Settings(request="abc")
    assert schedule.due(at(2), asked, made(), SEEN) == Work(FULL, at(0), "abc")
    assert schedule.due(at(2), asked, made(full(SUNDAY)), SEEN) == Work(INCREMENTAL, at(2), "abc")
    assert schedule.due(at(2), asked, made(full(SUNDAY), incremental(at(1), request="abc")), SEEN) is None


def test_the_history_that_a_restore_begins_has_a_full_backup_once() -> None:
    restored = Settings(request="restored-a")
    assert schedule.due(at(2), restored, made(full(SUNDAY)), SEEN) == Work(FULL, at(2), "restored-a")
    assert schedule.due(at(2), restored, made(full(SUNDAY), full(at(1), request="restored-a")), SEEN) is None


def test_missing_wal_makes_another_backup_due() -> None:
    found = made(full(SUNDAY))
    assert schedule.due(at(2), Settings(), found, Seen(at(0), missing_wal=True)) == Work(INCREMENTAL, at(2))
    assert schedule.due(at(2), Settings(), found, SEEN) is None
    # One that was just made has not ended it: another one would not either.
    seen = Seen(at(0), missing_wal=True, mended_at=at(2))
    assert schedule.due(at(2), Settings(), found, seen) is None
    assert schedule.due(at(3), Settings(), found, seen) == Work(INCREMENTAL, at(3))


def test_damage_makes_one_full_backup_due() -> None:
    damaged = Seen(at(0), damaged_at=at(2))
    assert schedule.due(at(3), Settings(), made(full(SUNDAY)), damaged) == Work(FULL, at(2))
    assert schedule.due(at(3), Settings(request="abc"), made(full(SUNDAY)), damaged) == Work(FULL, at(2), "abc")
    assert schedule.due(at(3), Settings(), made(full(SUNDAY), full(at(2, 1))), damaged) is None


def test_what_was_found_to_be_damaged_is_not_read_again_at_once() -> None:
    found = made(full(at(3)))
    assert schedule.due(at(4), Settings(verify="0 4 * * *"), found, SEEN) == Work(VERIFY, at(4))
    assert schedule.due(at(4, 5), Settings(verify="0 4 * * *"), found, Seen(at(0), read_at=at(4, 1))) is None


def test_nothing_is_due_while_archiving_is_suspended() -> None:
    assert schedule.due(at(2), Settings(suspended=True, full="* * * * *"), made(), SEEN) is None


def test_the_last_time_may_be_now() -> None:
    assert schedule.last("0 1 * * *", at(1)) == at(1)
    assert schedule.last("0 1 * * *", at(0, 59)) == at(1) - dt.timedelta(days=1)
    assert schedule.last("", at(1)) is None


def test_the_next_time_is_that_of_either_kind() -> None:
    assert schedule.next_due(at(1), NIGHTLY) == at(1) + dt.timedelta(days=1)
    assert schedule.next_due(at(1), Settings()) is None


def test_tries_are_spread_but_never_given_up() -> None:
    assert schedule.may_try(at(1), Failures())
    assert not schedule.may_try(at(1) + dt.timedelta(seconds=29), Failures(1, at(1)))
    assert schedule.may_try(at(1) + dt.timedelta(seconds=30), Failures(1, at(1)))
    assert not schedule.may_try(at(1, 14), Failures(1000, at(1)))
    assert schedule.may_try(at(1, 15), Failures(1000, at(1)))


def test_a_backup_is_overdue_after_two_hours() -> None:
    work = Work(FULL, at(1))
    assert schedule.overdue_since(at(2, 59), work) is None
    assert schedule.overdue_since(at(3), work) == at(1)
    assert schedule.overdue_since(at(9), Work(VERIFY, at(1))) is None
    assert schedule.overdue_since(at(9), None) is None


def test_settings_are_what_the_operator_renders() -> None:
    data = {"schedule": {"full": "0 1 * * 0", "incremental": "", "verify": None}, "request": None, "suspended": True}
    assert schedule.settings(data) == Settings(full="0 1 * * 0", suspended=True)
    assert schedule.settings({}) == Settings()


@pytest.mark.parametrize("expression", ["61 * * * *", "every day", "* * *", 5])
def test_a_wrong_schedule_names_its_field(expression: object) -> None:
    with pytest.raises(InvalidSettings, match=r"schedule\.verify"):
        schedule.settings({"schedule": {"verify": expression}})


DAILY = Settings(drills=Drills("0 5 * * *"))
FIVE = at(5)
NEVER_SEEN = DrillSeen(at(0))


def drilled(ended: dt.datetime, code: str = "", tries: int = 1, request: str = "") -> Drilled:
    return Drilled(ended, 60, "F", tries if code else 0, request, None if code else ended, code)


def asking(request: str) -> Settings:
    return Settings(drills=Drills("0 5 * * *", request))


@pytest.mark.parametrize(
    ("now", "desired", "last", "seen", "expected"),
    [
        # The first one is not waited for.
        (at(1), DAILY, None, NEVER_SEEN, Work(DRILL, at(0))),
        (at(1), Settings(), None, NEVER_SEEN, None),
        (at(1), Settings(suspended=True, drills=Drills("* * * * *", "abc")), None, NEVER_SEEN, None),
        (at(4, 59), DAILY, drilled(at(1)), NEVER_SEEN, None),
        (at(5, 30), DAILY, drilled(at(1)), NEVER_SEEN, Work(DRILL, FIVE)),
        # One that was made meanwhile counts.
        (at(5, 30), DAILY, drilled(at(5, 10)), NEVER_SEEN, None),
        (at(6), asking("abc"), drilled(at(5, 10)), NEVER_SEEN, Work(DRILL, at(6), "abc", 3)),
        (at(6), asking("abc"), drilled(at(5, 10), request="abc"), NEVER_SEEN, None),
        (at(6), asking("abc"), None, NEVER_SEEN, Work(DRILL, at(6), "abc", 3)),
        # What failed is tried again, with a pause.
        (at(6, 9), DAILY, drilled(at(5, 10), Code.UNREACHABLE), NEVER_SEEN, None),
        (at(6, 10), DAILY, drilled(at(5, 10), Code.UNREACHABLE), NEVER_SEEN, Work(DRILL, at(6, 10), tries=2)),
        (at(9), DAILY, drilled(at(5, 10), Code.UNREACHABLE, 3), NEVER_SEEN, None),
        (at(9), DAILY, drilled(at(5, 10), Code.DAMAGED), NEVER_SEEN, None),
        (at(9), DAILY, drilled(at(5, 10), Code.NO_CHAT), NEVER_SEEN, None),
        (at(9), asking("abc"), drilled(at(5, 10), Code.UNREACHABLE, 3, "abc"), NEVER_SEEN, None),
        # What was interrupted begins again at once.
        (at(6), DAILY, drilled(at(1)), DrillSeen(at(0), Begun(FIVE, 1, "")), Work(DRILL, FIVE, tries=2)),
        (at(6), asking("x"), None, DrillSeen(at(0), Begun(FIVE, 2, "abc")), Work(DRILL, FIVE, "abc", 3)),
    ],
)
def test_which_drill_is_due(
    now: dt.datetime, desired: Settings, last: Drilled | None, seen: DrillSeen, expected: Work | None
) -> None:
    assert schedule.drill_due(now, desired, made(full(SUNDAY)), last, seen) == expected


def test_no_drill_is_due_before_there_is_a_backup() -> None:
    assert schedule.drill_due(at(6), asking("abc"), made(), None, NEVER_SEEN) is None


def test_a_drill_that_ends_its_container_three_times_is_given_up() -> None:
    assert [schedule.is_given_up(Begun(FIVE, tries, "")) for tries in (1, 2, 3)] == [False, False, True]


def test_a_drill_is_overdue_after_a_day() -> None:
    work = Work(DRILL, at(1))
    assert schedule.drill_overdue_since(at(23), work) is None
    assert schedule.drill_overdue_since(at(1) + dt.timedelta(days=1), work) == at(1)
    assert schedule.drill_overdue_since(at(1), None) is None


def test_settings_of_drills_are_what_the_operator_renders() -> None:
    data = {"schedule": "0 5 1 * *", "timeoutSeconds": 60, "request": None}
    assert schedule.settings({"drill": data}).drills == Drills("0 5 1 * *", "", 60)
    assert schedule.settings({"drill": None}).drills is None
    for wrong in ({"schedule": "monthly"}, {"request": "abc"}, {"schedule": "0 5 1 * *", "timeoutSeconds": 0}):
        with pytest.raises(InvalidSettings, match=r"drill\."):
            schedule.settings({"drill": wrong})
