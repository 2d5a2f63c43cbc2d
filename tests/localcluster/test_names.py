"""Names, paths and ports: what is derived from NAME, and that clusters do not collide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from localcluster import ports
from localcluster.paths import MAX_NODES, ClusterPaths, InvalidNameError, known_names
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_default_clusters_kubeconfig_is_at_the_top(tmp_path: Path) -> None:
    assert ClusterPaths.of("default", tmp_path).kubeconfig == tmp_path / "kubeconfig"
    assert ClusterPaths.of("other", tmp_path).kubeconfig == tmp_path / "other" / "kubeconfig"


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a/b", "..", "a" * 31, "logs", "engine", "lanes"])
def test_a_name_that_is_no_host_name_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(InvalidNameError) as refused:
        ClusterPaths.of(name)
    assert "choose" in refused.value.remedy


@pytest.mark.parametrize("name", ["a", "e2e", "a-b", "a" * 30])
def test_every_node_is_a_host_name_of_its_own(name: str) -> None:
    nodes = ClusterPaths.of(name).nodes(MAX_NODES)
    assert len(set(nodes)) == MAX_NODES
    assert all(len(node) <= 63 for node in nodes)


def test_nodes_have_the_names_that_kind_gives_them() -> None:
    assert ClusterPaths.of("e2e").nodes(1) == ("chatcluster-e2e-control-plane",)
    assert ClusterPaths.of("e2e").nodes(3)[1:] == ("chatcluster-e2e-worker", "chatcluster-e2e-worker2")


def test_two_checkouts_have_different_cgroups(tmp_path: Path) -> None:
    assert ClusterPaths.of("a", tmp_path / "x").cgroup != ClusterPaths.of("a", tmp_path / "y").cgroup


def test_known_names_are_the_folders_with_state(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "lanes").mkdir()
    (tmp_path / "python3.11").mkdir()
    (tmp_path / "kubeconfig").touch()
    assert known_names(tmp_path) == ["a", "b"]
    assert known_names(tmp_path / "missing") == []


def test_ports_of_other_clusters_and_busy_ones_are_passed_over() -> None:
    chosen = ports.choose({30443, 16443}, lambda port: port not in {30444, 16444})
    assert chosen == ports.Ports(chat=30445, api=16445)


def test_no_free_port_is_an_error_with_a_remedy() -> None:
    with pytest.raises(LocalClusterError) as refused:
        ports.choose(set(), lambda _: False)
    assert refused.value.remedy


def test_ports_are_chosen_once_and_for_one_cluster_of_all_checkouts(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    clusters = [ClusterPaths.of(name, tmp_path / checkout) for checkout in ("one", "other") for name in ("a", "b")]
    chosen = [ports.ensure(paths, registry) for paths in clusters]
    assert [ports.ensure(paths, registry) for paths in clusters] == chosen
    assert len({port for one in chosen for port in (one.chat, one.api)}) == 2 * len(clusters)


def test_a_damaged_ports_file_is_replaced(tmp_path: Path) -> None:
    paths = ClusterPaths.of("a", tmp_path)
    paths.state.mkdir()
    (paths.state / "ports.json").write_text("{")
    assert ports.ensure(paths, tmp_path / "registry").chat in ports.CHAT_PORTS
