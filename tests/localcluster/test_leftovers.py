"""Real clusters, made and removed, also after `up` was killed with -9: nothing may stay on this machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from localcluster import programs
from localcluster.paths import REPO_ROOT, ClusterPaths
from tests.support.traces import left, snapshot

if TYPE_CHECKING:
    from pathlib import Path

NAME = "leftovers"

UP_SECONDS = 900
"""Seconds until the text that a test waits for; a node image may have to be built first."""

PATHS = ClusterPaths.of(NAME)

pytestmark = [pytest.mark.e2e, pytest.mark.machine, pytest.mark.timeout(2 * UP_SECONDS)]


def localcluster(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "localcluster", "--name", NAME, *arguments]


def down() -> None:
    done = subprocess.run(localcluster("down"), cwd=REPO_ROOT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("reached", ["container engine", "Kubernetes cluster"])
def test_nothing_is_left_of_an_up_that_was_killed(reached: str, tmp_path: Path) -> None:
    before = snapshot(PATHS)
    output = tmp_path / "up.txt"
    with output.open("w") as stream:
        up = subprocess.Popen(localcluster("up", "--cluster-only"), cwd=REPO_ROOT, stdout=stream)
        try:
            until = time.monotonic() + UP_SECONDS
            while not re.search(reached, output.read_text()) and up.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            up.send_signal(signal.SIGKILL)
            up.wait(timeout=10)
    down()
    assert left(PATHS, before) == []
    assert not PATHS.state.exists()


@pytest.mark.soak
def test_a_cluster_works_and_leaves_nothing() -> None:
    """As in tests/e2e/test_readme.py, without a chat."""
    before = snapshot(PATHS)
    kubectl = [programs.in_cache("kubectl") or "kubectl", "--kubeconfig", str(PATHS.kubeconfig)]
    try:
        subprocess.run(localcluster("up", "--cluster-only"), cwd=REPO_ROOT, timeout=UP_SECONDS, check=True)
        nodes = subprocess.run([*kubectl, "get", "nodes"], capture_output=True, text=True, timeout=60, check=True)
        assert " Ready " in nodes.stdout
        again = subprocess.run(
            localcluster("up", "--cluster-only"), cwd=REPO_ROOT, timeout=120, capture_output=True, text=True, check=True
        )
        assert "it was there" in again.stdout
    finally:
        down()
    assert left(PATHS, before) == []
    assert not PATHS.state.exists()
