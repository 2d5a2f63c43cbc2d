"""A run keeps what it found and cost, and fails when too much of it passed only the second time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.findings import Finding
from tests.support.lanes import (
    FOLDER,
    FOLDERS,
    MOST_FILES,
    SHARED,
    Lane,
    cpu_seconds,
    dearest,
    findings_file,
    machine_seconds,
    read,
    read_findings,
    table,
    uncollected,
    write,
)

ROOT = Path(__file__).parent.parent

TEST_CPU_SECONDS = 0.3
SECOND_TIME = """
import pathlib, pytest, time
from tests.support.findings import tell

{marker}
@pytest.mark.parametrize("number", range({count}))
def test_second_time(number, request):
    begun = time.process_time()
    tell(f"figure {{number}}")
    first = pathlib.Path(__file__).with_name(f"{{number}}.seen")
    if not first.exists():
        first.touch()
        while time.process_time() < begun + {cpu_seconds}:
            pass
        print("printed the first time")
        assert not "the first time"
"""


def run_small(
    folder: Path, *arguments: str, count: int, marker: str = "@pytest.mark.e2e"
) -> subprocess.CompletedProcess[str]:
    """Run pytest on a tree of one file, whose tests all pass the second time only."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = e2e\n")
    (folder / "test_small.py").write_text(SECOND_TIME.format(count=count, marker=marker, cpu_seconds=TEST_CPU_SECONDS))
    plugins = ("tests.support.lanereport", "pytest_rerunfailures", "xdist.plugin")
    command = [sys.executable, "-m", "pytest", "--lane=small", *(f"-p{name}" for name in plugins)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [*command, *arguments, str(folder)],
        cwd=folder,
        # Other plugins take seconds to load.
        env={**environment, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_many_tests_have_used_is_no_cost_of_the_last_one(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(SERVER.format(cpu_seconds=TEST_CPU_SECONDS))
    done = run_small(tmp_path, "--reruns", "1", count=1)
    assert done.returncode == 0, done.stdout
    [lane] = read(tmp_path / FOLDER)
    assert lane.files[SHARED] >= TEST_CPU_SECONDS - 0.05
    assert lane.files["test_small.py"] < lane.cpu_seconds - TEST_CPU_SECONDS


SERVER = """
import pytest, subprocess, sys

WORK = "import time\\nwhile time.process_time() < {cpu_seconds}: pass\\ninput()"

@pytest.fixture(scope="session", autouse=True)
def server():
    process = subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE)
    yield
    process.communicate()
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_three_reruns_pass_and_leave_the_first_failures(tmp_path: Path, processes: str) -> None:
    before = cpu_seconds()
    done = run_small(tmp_path, "--reruns", "1", "-n", processes, count=3)
    used = cpu_seconds() - before
    assert done.returncode == 0, done.stdout
    [lane] = read(tmp_path / FOLDER)
    assert (lane.name, lane.passed, lane.failed, lane.rerun) == ("small", 3, 0, 3)
    assert lane.seconds > 0
    # Of several processes too; the one that reports still has to end then. The file has tenths of a second.
    assert 3 * TEST_CPU_SECONDS - 0.05 <= lane.cpu_seconds <= used + 0.05
    assert 3 * TEST_CPU_SECONDS - 0.05 <= lane.files["test_small.py"] <= lane.cpu_seconds
    assert lane.files[SHARED] < TEST_CPU_SECONDS
    findings = read_findings(findings_file(tmp_path / FOLDER, "small"))
    first = [finding for finding in findings if finding.rerun]
    assert sorted(finding.test for finding in first) == [f"test_small.py::test_second_time[{n}]" for n in range(3)]
    assert all('assert not "the first time"' in finding.text for finding in first)
    assert all("printed the first time" in finding.text for finding in first)
    assert Finding("test_small.py::test_second_time[1]", "figure 1") in findings
    assert "test_small.py::test_second_time[2] failed, and was run again:" in done.stdout


def test_four_reruns_fail_the_run(tmp_path: Path) -> None:
    done = run_small(tmp_path, "--reruns", "1", count=4)
    assert done.returncode == 1, done.stdout
    assert "4 tests were run again, of which 3 may: test_small.py::test_second_time[" in done.stdout


def test_a_test_that_is_not_end_to_end_must_not_be_run_again(tmp_path: Path) -> None:
    done = run_small(tmp_path, count=1, marker="@pytest.mark.flaky(reruns=1)")
    assert done.returncode == 1, done.stdout
    assert "only end-to-end tests may be run again, not: test_small.py::test_second_time[0]" in done.stdout


def test_without_reruns_a_failure_is_one(tmp_path: Path) -> None:
    done = run_small(tmp_path, count=1)
    assert done.returncode == 1, done.stdout
    [lane] = read(tmp_path / FOLDER)
    assert (lane.passed, lane.failed, lane.rerun) == (0, 1, 0)
    [failure] = lane.failures
    assert failure.startswith("test_small.py::test_second_time[0]: AssertionError: assert not 'the first time'")


def test_the_table_has_the_slowest_lane_first(tmp_path: Path) -> None:
    for name, seconds in (("unit", 61.2), ("e2e-chat", 931.0)):
        write(tmp_path, Lane(name, "3.13.0", seconds, 1.5 * seconds, passed=3516, failed=0, skipped=2, rerun=1), [])
    assert table(read(tmp_path)).splitlines() == [
        "lane      Python  seconds  CPU s  passed  failed  skipped  run again",
        "e2e-chat  3.13.0      931   1396    3516       0        2          1",
        "unit      3.13.0       61     92    3516       0        2          1",
    ]


def test_files_are_listed_by_what_they_cost() -> None:
    one = Lane("one", "3.13.0", 1, 1, 1, 0, 0, 0, files={"tests/a.py": 3.4, "tests/b.py": 120.0})
    other = Lane("other", "3.13.0", 1, 1, 1, 0, 0, 0, files={f"tests/c{n}.py": 5.0 for n in range(20)})
    lines = dearest([one, other])
    assert lines[0] == "120 s tests/b.py (one)"
    assert len(lines) == MOST_FILES


def test_what_the_whole_machine_took_is_told_from_what_was_idle() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    earlier, later = [0] * 10, [ticks * seconds for seconds in (1, 2, 3, 40, 5, 6, 7, 80, 90, 100)]
    begun, ended = (" ".join(map(str, ["cpu ", *fields])) + "\ncpu0 1\n" for fields in (earlier, later))
    assert machine_seconds(begun, ended) == (19, 45)


SOAK = r'\bmark\.soak\b|\bBUSES\b|usefixtures\("bus"\)'
"""In a file with tests that only `make soak` runs: by their mark, or with Valkey as the bus."""


def test_each_piece_of_the_soak_is_listed() -> None:
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(SOAK, path.read_text()) and path != Path(__file__)
    }
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("### Pieces of `make soak`")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(tests/\S+)` \|", page, re.MULTILINE)) == marked


def test_each_lane_collects_the_folders_that_may_have_its_tests() -> None:
    makefile = (ROOT / "Makefile").read_text().splitlines()
    for mark, folders in FOLDERS.items():
        assert f"{mark.upper()} = {' '.join(folders)}" in makefile
    assert uncollected("tests/integration/test_a.py::test_b", ["asyncio", "integration"]) is None
    assert "move it to tests/integration or tests/soak" in str(
        uncollected("tests/client/test_a.py::b", ["integration"])
    )
