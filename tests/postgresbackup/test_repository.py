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
