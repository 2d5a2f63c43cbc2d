"""A step beside the others is waited for, its error is raised, and it does not outlive an error of the others."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from localcluster import beside
from localcluster.lock import MARK
from localcluster.paths import ClusterPaths
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> ClusterPaths:
    return ClusterPaths.of("beside", tmp_path)


def test_the_block_ends_after_the_step(paths: ClusterPaths) -> None:
    order = []
    entered = threading.Event()

    def step() -> None:
        entered.wait(30)
        order.append("step")

    with beside.running(step, paths):
        order.append("block")
        entered.set()
    assert order == ["block", "step"]


def test_an_error_of_the_step_is_raised_after_the_block(paths: ClusterPaths) -> None:
    def step() -> None:
        raise LocalClusterError("no space left")

    order = []
    with pytest.raises(LocalClusterError, match="no space left"), beside.running(step, paths):
        order.append("block")
    assert order == ["block"]


def test_an_error_of_the_block_ends_the_programs_of_the_step(paths: ClusterPaths) -> None:
    started = threading.Event()
    codes = []

    def step() -> None:
        # The second one starts after the first was stopped.
        for _ in range(2):
            with subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(paths.state)}) as program:
                started.set()
                codes.append(program.wait())

    def block() -> None:
        assert started.wait(30)
        raise LocalClusterError("kind create failed")

    with pytest.raises(LocalClusterError, match="kind create failed"), beside.running(step, paths):
        block()
    assert [code != 0 for code in codes] == [True, True]


def test_without_a_step_nothing_runs_beside(paths: ClusterPaths) -> None:
    with beside.running(None, paths):
        pass
