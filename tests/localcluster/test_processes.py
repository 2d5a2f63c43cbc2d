"""Finding and ending exactly our own processes, and one command at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from localcluster import leftovers, lock, process
from localcluster.paths import ClusterPaths
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-c", "import time; time.sleep(60)", "localcluster.test", "/some/state"]
    with subprocess.Popen(program, env={**os.environ, "CHATCLUSTER_TEST": "yes"}) as child:
        _until(lambda: bool(process.find("/some/state")))
        yield child
        child.kill()


def test_a_process_is_found_by_the_words_that_only_it_has(sleeper: subprocess.Popen[bytes]) -> None:
    assert [found.pid for found in process.find("localcluster.test", "/some/state")] == [sleeper.pid]
    assert process.find("localcluster.test", "/some") == []
    assert process.find("/some/state", "localcluster.test") == []


def test_a_process_is_found_by_its_environment(sleeper: subprocess.Popen[bytes]) -> None:
    assert [found.pid for found in process.find_by_environment("CHATCLUSTER_TEST", "yes")] == [sleeper.pid]
    assert process.find_by_environment("CHATCLUSTER_TEST", "no") == []


def test_another_process_with_a_reused_id_is_not_touched(sleeper: subprocess.Popen[bytes]) -> None:
    (found,) = process.find("localcluster.test", "/some/state")
    process.end([process.Process(found.pid, found.start_ticks + 1, found.argv)], grace_seconds=0)
    assert sleeper.poll() is None


def test_ending_reaps_nothing_else_and_returns_when_it_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    process.end(process.find("localcluster.test", "/some/state"), grace_seconds=5)
    assert process.find("localcluster.test", "/some/state") == []
    assert sleeper.wait(timeout=5) == -15


def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields() -> None:
    assert process.stat_fields("42 (a) b (c)) S 1 2")[:2] == ["S", "1"]


def test_a_failed_program_tells_its_log_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError) as failed:
        process.run(["sh", "-c", "echo why; exit 3"], log=tmp_path / "x.log", timeout_seconds=10, remedy="do this")
    assert failed.value.remedy == "do this"
    assert failed.value.log == tmp_path / "x.log"
    assert "why" in (tmp_path / "x.log").read_text()


def test_a_program_that_hangs_is_ended_by_its_limit(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="took longer"):
        process.run(["sleep", "60"], log=tmp_path / "x.log", timeout_seconds=0.2)


def test_a_second_up_is_refused_and_a_down_takes_over(tmp_path: Path) -> None:
    holder = (
        "import sys, time, pathlib\n"
        "from localcluster import lock\n"
        "from localcluster.paths import ClusterPaths\n"
        "lock.acquire(ClusterPaths.of('t', pathlib.Path(sys.argv[1])), take_over=False)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        paths = ClusterPaths.of("t", tmp_path)
        with pytest.raises(LocalClusterError, match="another"):
            lock.acquire(paths, take_over=False)
        assert child.poll() is None
        try:
            lock.acquire(paths, take_over=True)
        finally:
            os.environ.pop(lock.MARK, None)
        assert child.wait(timeout=5) != 0


def test_a_difference_names_what_is_new_and_what_is_missing() -> None:
    before = {"links": ["lo", "eth0"], "processes": ["1: init", "9: gone"], "mounts": ["/a"]}
    after = {"links": ["lo", "eth0", "docker0"], "processes": ["1: init", "7: dockerd"], "mounts": []}
    assert leftovers.diff(before, after) == ["links: + docker0", "mounts: - /a", "processes: + 7: dockerd"]


def test_a_snapshot_sees_a_new_process(sleeper: subprocess.Popen[bytes]) -> None:
    after = leftovers.snapshot()
    before = {**after, "processes": [line for line in after["processes"] if not line.startswith(f"{sleeper.pid} ")]}
    assert [line.partition(" ")[0] for line in leftovers.diff(before, after)] == ["processes:"]


def _until(condition: object) -> None:
    assert callable(condition)
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("not within 4 s")
