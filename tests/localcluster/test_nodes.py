"""How many nodes: what is asked for, what is there, and what is said where the two differ."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from localcluster.engine import Engine
from localcluster.kindcluster import Made, existing
from localcluster.paths import MAX_NODES, ClusterPaths
from localcluster.progress import LocalClusterError
from localcluster.up import check_nodes

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class EngineWith(Engine):
    """An engine that has these containers."""

    private: bool = True
    containers: frozenset[str] = field(default_factory=frozenset)

    def query(self, *arguments: str, timeout_seconds: float = 30) -> str | None:
        """Tell that a container runs, or nothing."""
        del timeout_seconds
        return "running" if arguments[-1] in self.containers else None


@pytest.fixture
def paths(tmp_path: Path) -> ClusterPaths:
    paths = ClusterPaths.of("a", tmp_path)
    paths.state.mkdir()
    return paths


def made(paths: ClusterPaths, **stored: object) -> None:
    (paths.state / "created").write_text(json.dumps(stored))


def test_a_cluster_is_found_as_it_was_made(paths: ClusterPaths) -> None:
    made(paths, own_node=False, nodes=3)
    assert existing(paths, EngineWith(containers=frozenset(paths.nodes(3)))) == Made(own_node=False, nodes=3)


def test_a_cluster_of_before_there_were_several_nodes_has_one(paths: ClusterPaths) -> None:
    made(paths, own_node=False)
    assert existing(paths, EngineWith(containers=frozenset(paths.nodes(1)))) == Made(own_node=False, nodes=1)


def test_a_cluster_that_was_never_finished_or_lost_its_control_plane_is_none(paths: ClusterPaths) -> None:
    everything = EngineWith(containers=frozenset(paths.nodes(2)))
    assert existing(paths, everything) is None
    made(paths, own_node=True, nodes=2)
    assert existing(paths, EngineWith(containers=frozenset(paths.nodes(2)[1:]))) is None


def test_a_removed_worker_is_an_error_with_a_remedy(paths: ClusterPaths) -> None:
    made(paths, own_node=True, nodes=3)
    with pytest.raises(LocalClusterError, match="chatcluster-a-worker2 was removed") as refused:
        existing(paths, EngineWith(containers=frozenset(paths.nodes(2))))
    assert "make down NAME=a" in refused.value.remedy


@pytest.mark.parametrize("wanted", [-1, 0, MAX_NODES + 1])
def test_a_number_that_cannot_be_had_is_refused_with_the_bounds(wanted: int) -> None:
    with pytest.raises(LocalClusterError, match=f"NODES={wanted} ") as refused:
        check_nodes(wanted)
    assert f"1 to {MAX_NODES}" in refused.value.remedy


def test_another_number_than_the_clusters_is_refused_and_none_keeps_it(paths: ClusterPaths) -> None:
    there = Made(own_node=True, nodes=2)
    check_nodes(None, there, paths)
    check_nodes(2, there, paths)
    with pytest.raises(LocalClusterError, match="has 2 nodes; NODES=3 is requested") as refused:
        check_nodes(3, there, paths)
    assert "make down NAME=a" in refused.value.remedy
