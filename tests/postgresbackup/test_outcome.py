"""What a restore leaves behind: a record in its folder, and a message for the pod's status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from postgresbackup import outcome
from postgresbackup.outcome import Record
from postgresbackup.plan import CannotRestore

if TYPE_CHECKING:
    from pathlib import Path

MADE = Record("a", "latest", "2026-11-30T10:14:59Z", "2026-11-30T12:00:00Z", "F1", "pgdata.before-a")


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(outcome, "TERMINATION_LOG", path)
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    outcome.written(tmp_path, MADE)
    assert outcome.found(tmp_path) == MADE
    assert [path.name for path in tmp_path.iterdir()] == [outcome.RECORD]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "a", "unknown": 1}'])
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    assert outcome.found(tmp_path) is None
    (tmp_path / outcome.RECORD).write_text(text)
    assert outcome.found(tmp_path) is None


def test_success_and_failure_are_left_for_the_status_of_the_pod(message: Path) -> None:
    assert outcome.ends("a", lambda: MADE) == 0
    assert json.loads(message.read_text())["restored"]["restored_to"] == "2026-11-30T10:14:59Z"

    def fails() -> Record:
        raise CannotRestore("it is too late " * 1000)

    assert outcome.ends("a", fails) == 1
    failed = json.loads(message.read_text())["failed"]
    assert (failed["id"], failed["code"]) == ("a", "outside_window")
    assert len(message.read_text()) < 2000


def test_who_had_nothing_to_do_leaves_nothing(message: Path) -> None:
    assert outcome.ends("a", lambda: None) == 0
    assert message.read_text() == ""
