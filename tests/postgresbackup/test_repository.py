"""What is in a repository, from pgBackRest's own answers."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from postgresbackup import repository

if TYPE_CHECKING:
    from postgresbackup.repository import Archive, Repository

DIGEST = "0" * 40


def at(hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2026, 11, 30, hour, minute, tzinfo=dt.UTC)


def backup(label: str, kind: str, started: dt.datetime, first: str, last: str, **annotations: str) -> dict[str, Any]:
    """One backup as `pgbackrest info --output=json` has it."""
    return {
        "label": label,
        "type": kind,
        "timestamp": {"start": int(started.timestamp()), "stop": int(started.timestamp()) + 10},
        "archive": {"start": first, "stop": last},
        "info": {"size": 1000, "delta": 1000, "repository": {"size": 500, "delta": 400}},
        "error": False,
        "annotation": annotations or None,
    }


def info(*backups: dict[str, Any], code: int = 0, message: str = "ok") -> list[dict[str, Any]]:
    return [
        {
            "name": "chat",
            "cipher": "aes-256-cbc",
            "db": [{"id": 1, "system-id": 7, "version": "17"}],
            "backup": list(backups),
            "repo": [{"key": 1, "status": {"code": code, "message": message}}],
            "status": {"code": code, "message": message},
        }
    ]


def made(*backups: dict[str, Any]) -> Repository:
    return repository.repository(info(*backups))


def segment(number: int, timeline: int = 1) -> str:
    return repository.named(f"{timeline:08X}", number)


def wal(*segments: str) -> Archive:
    names = [f"17-1/{one[:16]}/{one}-{DIGEST}.zst" for one in segments]
    return repository.archive(
        "17-1", [*names, "archive.info", "17-1/00000002.history", f"9-1/x/{segment(99)}-{DIGEST}.gz"]
    )


def test_backups_are_read_oldest_first() -> None:
    found = made(
        backup("F2", "full", at(2), segment(5), segment(6), request="abc"),
        backup("F1", "full", at(1), segment(2), segment(3)),
    )
    assert [one.label for one in found.backups] == ["F1", "F2"]
    assert found.newest_full is found.newest is found.backups[-1]
    assert found.newest.stopped == at(2) + dt.timedelta(seconds=10)
    assert found.newest.repository_bytes == 400
    assert found.has_stanza
    assert found.is_encrypted
    assert found.archive_folder == "17-1"
    assert found.answered("abc")
    assert not found.answered("abd")


@pytest.mark.parametrize(
    "answer", [[], [{"name": "chat", "db": [], "backup": []}], [{"name": "other", "db": [{"id": 1}]}]]
)
def test_a_repository_without_a_stanza_has_nothing(answer: list[dict[str, Any]]) -> None:
    assert repository.repository(answer) == repository.NOTHING


def test_a_repository_that_cannot_be_read_is_no_empty_one() -> None:
    assert repository.trouble(info(code=99, message="[CryptoError] unable\n to read")) == "[CryptoError] unable to read"
    assert repository.trouble(info(code=2, message="no valid backups")) is None


def test_a_segment_has_a_place_and_a_name() -> None:
    assert repository.number("000000020000000100000003") == 259
    assert repository.named("00000002", 259) == "000000020000000100000003"


def test_wal_is_that_of_the_databases_own_history() -> None:
    found = wal(segment(3), segment(2))
    assert found.segments == (segment(2), segment(3))
    assert found.newest == segment(3)
    assert found.files[segment(2)].endswith(".zst")


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([segment(2), segment(3), segment(4)], []),
        # The newest file is not archived yet.
        ([segment(2)], []),
        ([segment(2), segment(4)], [segment(3)]),
        ([segment(3), segment(4)], [segment(2)]),
        ([], [segment(2)]),
        # A timeline goes on where the one before it ended, in the same file.
        ([segment(2), segment(3), segment(3, 2), segment(4, 2)], []),
        # After a failover: the old leader had not archived its last files.
        ([segment(2), segment(5, 2)], [segment(3)]),
        ([segment(255), segment(256)], [segment(2)]),
    ],
)
def test_missing_wal_is_found(segments: list[str], expected: list[str]) -> None:
    assert repository.gaps(wal(*segments), segment(2)) == expected


def test_the_window_begins_after_the_last_gap() -> None:
    found = made(
        backup("F1", "full", at(1), segment(2), segment(2)), backup("F2", "full", at(2), segment(6), segment(6))
    )
    window = repository.window(found, wal(segment(2), segment(4), segment(6), segment(7)))
    assert window.oldest is found.backups[1]
    assert window.gaps == (segment(3), segment(5))
    assert window.newest_wal == segment(7)


def test_there_is_no_window_without_a_backup_or_its_wal() -> None:
    assert repository.window(made(), wal(segment(2))).oldest is None
    alone = made(backup("F1", "full", at(1), segment(2), segment(2)))
    assert repository.window(alone, wal(segment(1))).oldest is None


HISTORY = "17-1/00000003.history"

LEFT = "1\t0/5000100\tbefore 2026-11-30 10:15:01+00\n\n2\t0/7000000\tno recovery target specified\n"
"""Timeline 1 was left in file 5, timeline 2 at the beginning of file 7."""


def test_only_wal_that_leads_to_the_newest_timeline_counts() -> None:
    first = [segment(number) for number in range(2, 12)]
    second = [segment(number, 2) for number in (5, 6, 7, 8)]
    third = [segment(number, 3) for number in (7, 8)]
    found = repository.on_newest_timeline(wal(*first, *second, *third), HISTORY, LEFT)
    # Of timeline 2 file 7 has nothing that counts, but its copy on timeline 3 begins with it.
    assert [one for one in found.segments if number_of(one) < 7] == [*first[:4], *second[:2]]
    assert found.newest == segment(8, 3)
    assert not repository.gaps(found, segment(2))
    assert set(found.files) == set(found.segments)
    assert found.timeline == 3
    # What was left does not hide that a file is missing.
    missing = repository.on_newest_timeline(wal(*first, segment(6, 2), segment(8, 3)), HISTORY, LEFT)
    assert repository.gaps(missing, segment(2)) == [segment(7, 2)]


def number_of(name: str) -> int:
    return repository.number(name)


def test_the_newest_history_is_found_by_its_number() -> None:
    names = ["17-1/00000002.history", "17-1/0000000A.history", "9-1/0000000B.history", "17-1/x.history"]
    assert repository.newest_history("17-1", names) == "17-1/0000000A.history"
    assert repository.newest_history("17-2", names) is None


def test_a_backup_that_a_restore_has_left_begins_nothing() -> None:
    kept, same, left, new = (
        backup("F1", "full", at(1), segment(2), segment(2)),
        {**backup("I1", "incr", at(2), segment(5), segment(5)), "lsn": {"start": "0/5000028", "stop": "0/5000100"}},
        {**backup("I2", "incr", at(3), segment(5), segment(5)), "lsn": {"start": "0/5000110", "stop": "0/5000138"}},
        backup("F2", "full", at(4), segment(8, 3), segment(8, 3)),
    )
    archive = repository.on_newest_timeline(wal(segment(2)), HISTORY, LEFT)
    found = repository.on_timeline_of(made(kept, same, left, new), archive)
    assert [one.label for one in found.backups] == ["F1", "I1", "F2"]
    # A database that was promoted before it was backed up: nothing says where its timeline began.
    promoted = [backup("F3", "full", at(5), segment(20, 8), segment(20, 8))]
    archive = wal(segment(20, 8), segment(21, 8))
    assert repository.on_timeline_of(made(*promoted), archive).backups == made(*promoted).backups
    archive = repository.on_newest_timeline(wal(segment(2), segment(20, 8), segment(21, 8)), HISTORY, LEFT)
    assert archive.segments == (segment(20, 8), segment(21, 8))
    assert [one.label for one in repository.on_timeline_of(made(kept, *promoted), archive).backups] == ["F3"]
    # Without histories there is one timeline, and all of them count.
    assert repository.on_timeline_of(made(kept, same, left), wal(segment(2))).backups == made(kept, same, left).backups
