"""How often a repository host has its database archive a WAL file to see that it does."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from postgresbackup.pgbackrest import PgBackRest
from postgresbackup.preparation import Preparation

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

PROGRAM = """#!/bin/sh
for last; do case $last in check) name=check;; stanza-create) name=stanza-create;; esac; done
echo $name >> "$RUNS"
[ $name != check ] || [ ! -e "$FAILS" ]
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The commands that ran; a check fails while the file `fails` is beside them."""
    program = tmp_path / "bin" / "pgbackrest"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return tmp_path / "runs"


def checks(runs: Path) -> int:
    return runs.read_text().split().count("check")


def prepared(runs: Path) -> Preparation:
    fails = runs.with_name("fails")
    path = f"{runs.with_name('bin')}:/usr/bin:/bin"
    environment = {"PATH": path, "RUNS": str(runs), "FAILS": str(fails)}
    preparation = Preparation(PgBackRest(runs.with_name("pgbackrest.conf"), environment))
    preparation.check(NOW)
    assert not runs.exists(), "before the repository is prepared there is nothing to check"
    assert preparation.prepare() is None
    return preparation


def test_the_archive_is_checked_once_and_again_after_wal_was_discarded(runs: Path) -> None:
    preparation = prepared(runs)
    for _ in range(3):
        preparation.check(NOW)
    assert checks(runs) == 1
    preparation.archiving_ended()
    preparation.check(NOW)
    assert checks(runs) == 2


def test_a_backup_is_as_good_as_a_check(runs: Path) -> None:
    preparation = prepared(runs)
    preparation.archiving_seen()
    preparation.check(NOW)
    assert checks(runs) == 0


def test_a_check_that_fails_is_tried_later_since_each_takes_a_wal_file(runs: Path) -> None:
    preparation = prepared(runs)
    runs.with_name("fails").touch()
    times = [NOW + dt.timedelta(seconds=seconds) for seconds in (0, 5, 29, 30, 60, 89, 90)]
    counts = []
    for time in times:
        preparation.check(time)
        counts.append(checks(runs))
    assert counts == [1, 1, 1, 2, 2, 2, 3]
    runs.with_name("fails").unlink()
    preparation.check(NOW + dt.timedelta(hours=1))
    preparation.check(NOW + dt.timedelta(hours=2))
    assert checks(runs) == 4
