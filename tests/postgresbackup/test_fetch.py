"""restore_command: only a file that is not in the repository is the end of WAL."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ROOT / "images" / "postgres" / "pgbackrest-fetch"

ABORT = 255
"""PostgreSQL ends its recovery for a code above 125."""

WAL = "000000010000000000000003"


def fetch(folder: Path, code: int, name: str = WAL, **environment: str) -> int:
    """Run the script with a pgbackrest that ends with a code."""
    program = folder / "pgbackrest"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    sleep = folder / "sleep"
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "PGDATA": "/data", **environment}
    return subprocess.run([str(SCRIPT), name, "target"], env=variables, check=False).returncode


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (49, ABORT), (104, ABORT), (137, ABORT)])
def test_only_a_missing_file_is_the_end(tmp_path: Path, code: int, expected: int) -> None:
    assert fetch(tmp_path, code) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [(WAL, 0), ("000000020000000000000003", 0), ("000000010000000000000004", 1), ("00000003.history", 0)],
)
def test_nothing_is_fetched_after_the_last_file(tmp_path: Path, name: str, expected: int) -> None:
    assert fetch(tmp_path, 0, name, LAST_WAL=WAL[8:]) == expected
