"""The private PostgreSQL of `chatserver dev` and of the tests: it ends with whoever started it, and never before."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chatserver.dev.programs import EmbeddedPostgresError
from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

WAIT_SECONDS = 60
"""Far beyond what it needs, on a loaded machine too."""

HOLDER = """
import signal
from tests.support.postgres import PostgresCluster
with PostgresCluster() as postgres:
    print(*postgres.processes(), postgres.folder, flush=True)
    signal.pause()
"""


def test_killed_tests_leave_no_postgresql_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        *pids, folder = holder.stdout.readline().split()
        assert pids
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT_SECONDS
    while left := [pid for pid in pids if folder in _command(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_thread_that_started_one_may_end() -> None:
    with PostgresCluster() as postgres:
        postgres.stop()
        thread = threading.Thread(target=postgres.start)
        thread.start()
        thread.join()
        assert postgres.sql("SELECT 1") == "1"


def test_a_failed_start_is_explained_by_its_own_log_and_leaves_nothing() -> None:
    with PostgresCluster() as postgres:
        postgres.stop("immediate")
        with (postgres.data / "postgresql.conf").open("a") as file:
            file.write("shared_buffers = 'much'\n")
        with pytest.raises(EmbeddedPostgresError, match="did not start") as failed:
            postgres.start()
        assert "shared_buffers" in str(failed.value)
        assert "immediate shutdown" not in str(failed.value)
        assert postgres.pid is None


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""
