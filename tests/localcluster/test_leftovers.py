"""Real clusters, made and removed, also after `up` was killed with -9: nothing may stay on this machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from localcluster import leftovers, process
from localcluster.paths import REPO_ROOT, ClusterPaths

if TYPE_CHECKING:
    from pathlib import Path

NAME = "leftovers"

UP_SECONDS = 900
"""Seconds until the text that a test waits for; a node image may have to be built first."""

# What this project starts. Others may start processes meanwhile, and make clusters of other names.
OURS = re.compile(rf"localcluster|dockerd|containerd|docker-proxy|kubelet|kube-|kind |mmdebstrap|/{NAME}[/ ]|-{NAME}-")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * UP_SECONDS)]


def localcluster(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "localcluster", "--name", NAME, *arguments]


def left(before: leftovers.Snapshot) -> list[str]:
    """The difference, without other people's processes and the processes and cgroups of other clusters."""
    other = re.compile(rf"/\.local/(?!{NAME}\b)[a-z0-9-]+[/ ]|chatcluster-(?!{NAME}\b)(?!build\b)[a-z0-9-]+-")
    found = leftovers.diff(before, snapshot())
    return [line for line in found if not other.search(line) and (line[:10] != "processes:" or OURS.search(line))]


def snapshot() -> leftovers.Snapshot:
    engines = [found for found in map(process.inspect, all_pids()) if found and "localcluster.engineinit" in found.argv]
    mine = str(ClusterPaths.of(NAME).engine)
    return leftovers.snapshot(ignored_trees=frozenset(found.pid for found in engines if mine not in found.argv))


def all_pids() -> list[int]:
    return [int(entry.name) for entry in process.PROC.iterdir() if entry.name.isdigit()]


def down() -> None:
    done = subprocess.run(localcluster("down"), cwd=REPO_ROOT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("reached", ["container engine", "Kubernetes cluster"])
def test_nothing_is_left_of_an_up_that_was_killed(reached: str, tmp_path: Path) -> None:
    before = snapshot()
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
    assert left(before) == []
    assert not ClusterPaths.of(NAME).state.exists()


def test_a_cluster_works_and_leaves_nothing() -> None:
    before = snapshot()
    paths = ClusterPaths.of(NAME)
    kubectl = ["kubectl", "--kubeconfig", str(paths.kubeconfig)]
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
    assert left(before) == []
    assert not paths.state.exists()
