"""A program that begins as a fork is like one that begins by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import forks
from tests.support.network import private_network

ENVIRONMENT = {"PATH": os.environ["PATH"], "COLUMNS": "50"}

IMPORTED = ("argparse", "http.server")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        pytest.param("calendar", ["--type", "text", "2026", "2"], id="prints"),
        # Its help is as wide as the environment says.
        pytest.param("http.server", ["--help"], id="environment"),
        pytest.param("http.server", ["no-port"], id="fails"),
        pytest.param("timeit", ["-n", "1", "-r", "1", "raise ValueError('a defect')"], id="raises"),
    ],
)
def test_a_fork_prints_and_exits_as_the_program_itself(module: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", module, *arguments]
    alone = subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    code, printed = forks.run(module, arguments, ENVIRONMENT, IMPORTED)
    assert (code, printed.splitlines()[-1]) == (alone.returncode, alone.stdout.splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_ends_by_a_signal_and_says_by_which(tmp_path: Path, number: signal.Signals) -> None:
    with (tmp_path / "log").open("wb") as log:
        running = forks.begin("http.server", ["0"], ENVIRONMENT, log, IMPORTED)
    assert isinstance(running, forks.Fork)
    assert running.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0)
    running.send_signal(number)
    assert running.wait(60) == running.poll() == -number
    running.kill()


def test_what_python_reads_at_its_start_is_given_to_a_process_of_its_own(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        running = forks.begin("calendar", [], {**ENVIRONMENT, "PYTHONHASHSEED": "0"}, log, IMPORTED)
    assert isinstance(running, subprocess.Popen)
    assert running.wait(60) == 0


def test_forks_end_with_what_began_them(tmp_path: Path) -> None:
    template = forks.Template(IMPORTED)
    with (tmp_path / "log").open("wb") as log:
        running = template.begin("http.server", ["0"], ENVIRONMENT, log)
    template.close()
    assert running.wait(60) == -signal.SIGKILL


def test_a_fork_is_in_the_network_of_the_test(tmp_path: Path) -> None:
    def network(process: str | int) -> Path:
        return Path(f"/proc/{process}/ns/net").readlink()

    try:
        with private_network(), (tmp_path / "log").open("wb") as log:
            running = forks.begin("http.server", ["0"], ENVIRONMENT, log, ("argparse", "http.server", "calendar"))
            assert network("thread-self") != forks.NETWORK
            # It enters the network after it has begun.
            while network(running.pid) != network("thread-self"):
                assert running.poll() is None
                time.sleep(0.01)
            running.kill()
            assert running.wait(60) == -signal.SIGKILL
    except PermissionError as error:
        pytest.skip(f"networks need root: {error}")
    assert network("thread-self") == forks.NETWORK
