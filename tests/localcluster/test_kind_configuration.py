"""The kind configuration, for each kind of machine, and what decides names of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from localcluster import gomodules, nodeimage, programs, releases
from localcluster.kindconfig import POD_RANGE, configuration
from localcluster.paths import MAX_NODES, REPO_ROOT, ClusterPaths
from localcluster.ports import Ports

if TYPE_CHECKING:
    from pathlib import Path


def rendered(*, own_node: bool, cgroup_2: bool, nodes: int = 1) -> dict[str, Any]:
    text = configuration(
        ClusterPaths.of("e2e"), Ports(chat=8444, api=16444), nodes=nodes, own_node=own_node, cgroup_2=cgroup_2
    )
    parsed: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return parsed


def patches(parsed: dict[str, Any]) -> dict[str, Any]:
    return {patch["kind"]: patch for patch in map(yaml.safe_load, parsed.get("kubeadmConfigPatches", []))}


@pytest.mark.parametrize("own_node", [True, False])
@pytest.mark.parametrize("cgroup_2", [True, False])
def test_both_ports_are_published_on_loopback_only(*, own_node: bool, cgroup_2: bool) -> None:
    parsed = rendered(own_node=own_node, cgroup_2=cgroup_2)
    assert parsed["name"] == "chatcluster-e2e"
    assert parsed["networking"]["apiServerAddress"] == "127.0.0.1"
    assert parsed["networking"]["apiServerPort"] == 16444
    assert parsed["nodes"][0]["extraPortMappings"] == [
        {"containerPort": 30443, "hostPort": 8444, "listenAddress": "127.0.0.1"}
    ]


def test_a_pulled_node_image_is_plain_kind() -> None:
    parsed = rendered(own_node=False, cgroup_2=True)
    assert parsed["nodes"][0]["image"] == nodeimage.KINDEST_NODE
    assert "kubeadmConfigPatches" not in parsed
    assert "disableDefaultCNI" not in parsed["networking"]


@pytest.mark.parametrize("own_node", [True, False])
@pytest.mark.parametrize("nodes", [1, 2, MAX_NODES])
def test_all_nodes_are_of_one_image_and_carry_pods(*, own_node: bool, nodes: int) -> None:
    parsed = rendered(own_node=own_node, cgroup_2=True, nodes=nodes)
    assert [node["role"] for node in parsed["nodes"]] == ["control-plane", *["worker"] * (nodes - 1)]
    assert len({node["image"] for node in parsed["nodes"]}) == 1
    assert all("extraPortMappings" not in node for node in parsed["nodes"][1:])
    # kind itself takes the taint away where there is but one node.
    registration = patches(parsed).get("InitConfiguration", {}).get("nodeRegistration")
    assert registration == ({"taints": []} if nodes > 1 else None)


def test_the_nodes_know_the_range_of_all_pods() -> None:
    """Their script keeps what goes there from leaving by the default route."""
    script = (nodeimage.NODE_FOLDER / "rootfs" / "usr" / "local" / "bin" / "pod-network").read_text()
    assert f"readonly pods={POD_RANGE}\n" in script
    assert rendered(own_node=True, cgroup_2=True)["networking"]["podSubnet"] == POD_RANGE


def test_the_kubelet_accepts_cgroup_1_only_where_that_is_what_there_is() -> None:
    old = patches(rendered(own_node=True, cgroup_2=False))["KubeletConfiguration"]
    new = patches(rendered(own_node=True, cgroup_2=True))["KubeletConfiguration"]
    assert old["failCgroupV1"] is False
    assert old["cgroupDriver"] == "cgroupfs"
    assert "failCgroupV1" not in new
    assert "cgroupDriver" not in new


def test_our_node_asks_for_the_images_that_it_has() -> None:
    versions = patches(rendered(own_node=True, cgroup_2=False))["ClusterConfiguration"]
    references = {image.reference for image in nodeimage.SYSTEM_IMAGES}
    assert f"registry.k8s.io/etcd:{versions['etcd']['local']['imageTag']}" in references
    assert f"registry.k8s.io/coredns/coredns:{versions['dns']['imageTag']}" in references


@pytest.mark.parametrize(
    "manifest",
    ["localcluster/manifests/metrics-server.yaml", "localcluster/node/rootfs/kind/manifests/default-storage.yaml"],
)
def test_system_manifests_use_only_images_of_the_node(manifest: str) -> None:
    known = {image.reference for image in nodeimage.SYSTEM_IMAGES}
    documents = list(yaml.load_all((REPO_ROOT / manifest).read_text(), yaml.CSafeLoader))
    used = [
        container["image"]
        for document in documents
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    assert used
    assert set(used) <= known


def test_pinned_versions_are_those_of_the_go_modules() -> None:
    required = (gomodules.GO_MODULES / "cluster" / "go.mod").read_text()
    references = " ".join(image.reference for image in nodeimage.SYSTEM_IMAGES)
    assert f"k8s.io/kubernetes {gomodules.KUBERNETES_VERSION}" in required
    assert f"sigs.k8s.io/kind {releases.RELEASES['kind'].version}" in required
    assert f"helm.sh/helm/v3 {releases.RELEASES['helm'].version}" in required
    assert releases.RELEASES["kubectl"].version == gomodules.KUBERNETES_VERSION
    assert f"coredns/coredns {nodeimage.COREDNS_TAG}" in required
    assert f"go.etcd.io/etcd/server/v3 v{nodeimage.ETCD_TAG.removesuffix('-0')}" in required
    for module, package in (
        ("metrics-server", "sigs.k8s.io/metrics-server"),
        ("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    ):
        version = next(line.split()[1] for line in required.splitlines() if line.strip().startswith(f"{package} v"))
        assert f"{module}:{version}" in references


def test_the_fingerprint_follows_go_sum_and_a_programs_own_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kwok" / "own").mkdir(parents=True)
    (tmp_path / "kwok" / "go.mod").write_text("module x\n")
    (tmp_path / "kwok" / "go.sum").write_text("a\n")
    monkeypatch.setattr(gomodules, "GO_MODULES", tmp_path)
    seen = {gomodules.fingerprint("kwok")}
    for name in ("go.sum", "own/main.go"):
        (tmp_path / "kwok" / name).write_text("b\n")
        seen.add(gomodules.fingerprint("kwok"))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32)),
        ("kind v0.30.0 go1.24.6 linux/amd64", (0, 30)),
        ("v3.19.5", (3, 19)),
        ("nonsense", None),
    ],
)
def test_versions_are_read_as_numbers(text: str, version: tuple[int, int] | None) -> None:
    assert programs.minor_version(text) == version
