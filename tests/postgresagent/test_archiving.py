"""How far archiving has come."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from postgresagent.archiving import Archiving, archiving, is_on, look

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("archive_mode = 'on'\n", True),
        ("work_mem = '1MB'\narchive_mode = on\n", True),
        ("archive_mode = 'off'\n", False),
        ("#archive_mode = on\n", False),
        ("", False),
    ],
)
def test_archiving_is_on_where_the_operator_says_so(text: str, *, expected: bool) -> None:
    assert is_on(text) is expected


def test_the_lag_is_the_age_of_the_oldest_file() -> None:
    assert archiving([100.0, 130.0], 160.0, None) == Archiving(failing=False, waiting=2, lag_seconds=60.0, error="")
    assert archiving([], 160.0, "ERROR: a\n  b\n") == Archiving(
        failing=True, waiting=0, lag_seconds=0.0, error="ERROR: a b"
    )


def test_marks_are_counted_in_the_database_cluster(tmp_path: Path) -> None:
    assert look(tmp_path, tmp_path, 0.0) is None
    folder = tmp_path / "pg_wal" / "archive_status"
    folder.mkdir(parents=True)
    (folder / "000000010000000000000001.done").touch()
    waits = folder / "000000010000000000000002.ready"
    waits.touch()
    os.utime(waits, (50.0, 50.0))
    assert look(tmp_path, tmp_path, 60.0) == Archiving(failing=False, waiting=1, lag_seconds=10.0, error="")
    (tmp_path / "archive-failed").write_text("no\n")
    found = look(tmp_path, tmp_path, 60.0)
    assert found is not None
    assert found.failing
    assert found.error == "no"
