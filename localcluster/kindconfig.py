"""The configuration for kind: nodes, ports, pod network, and settings of kubelet and kubeadm on this machine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcluster import nodeimage

if TYPE_CHECKING:
    from localcluster.paths import ClusterPaths
    from localcluster.ports import Ports

NODE_PORT = 30443
"""The node port of the chat's ingress in the local cluster's manifests."""

POD_RANGE = "10.244.0.0/16"
"""Every node's pods get their addresses from a /24 of it; `pod-network` on our own nodes knows it, too."""

_KUBELET_ON_CGROUP_1 = """\
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  cgroupDriver: cgroupfs
  failCgroupV1: false
  resolvConf: /kind/resolv.conf
"""

_KUBELET_ON_CGROUP_2 = """\
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  resolvConf: /kind/resolv.conf
"""

_OWN_VERSIONS = f"""\
- |
  kind: ClusterConfiguration
  apiVersion: kubeadm.k8s.io/v1beta3
  etcd:
    local:
      imageTag: {nodeimage.ETCD_TAG}
  dns:
    imageTag: {nodeimage.COREDNS_TAG}
"""

# What enforces NetworkPolicies writes the filter table back as it has read it. A change of kube-proxy between, such
# as that a Service has pods again, is lost until its next look, which by default is half a minute later.
_KUBE_PROXY_LOOKS_OFTEN = """\
- |
  kind: KubeProxyConfiguration
  apiVersion: kubeproxy.config.k8s.io/v1alpha1
  iptables:
    syncPeriod: 5s
"""

# With several nodes kind would keep the control plane's to itself: the machine's memory is better used.
_CONTROL_PLANE_CARRIES_PODS = """\
- |
  kind: InitConfiguration
  apiVersion: kubeadm.k8s.io/v1beta3
  nodeRegistration:
    taints: []
"""


def configuration(paths: ClusterPaths, ports: Ports, *, nodes: int, own_node: bool, cgroup_2: bool) -> str:
    """The kind configuration as YAML.

    Args:
        paths: gives the name.
        ports: published on 127.0.0.1 by the engine; any node would answer on the chat's, the first has it.
        nodes: how many; the first has the control plane, and all carry pods.
        own_node: the node image is the one built here; it brings its own pod network and versions.
        cgroup_2: the machine has the unified hierarchy.
    """
    image = nodeimage.reference() if own_node else nodeimage.KINDEST_NODE
    lines = [
        "kind: Cluster",
        "apiVersion: kind.x-k8s.io/v1alpha4",
        f"name: {paths.kind_name}",
        "networking:",
        "  ipFamily: ipv4",
        '  apiServerAddress: "127.0.0.1"',
        f"  apiServerPort: {ports.api}",
        f'  podSubnet: "{POD_RANGE}"',
        *(["  disableDefaultCNI: true"] if own_node else []),
        "nodes:",
        "- role: control-plane",
        f'  image: "{image}"',
        "  extraPortMappings:",
        f'  - {{containerPort: {NODE_PORT}, hostPort: {ports.chat}, listenAddress: "127.0.0.1"}}',
        *(line for _ in range(1, nodes) for line in ("- role: worker", f'  image: "{image}"')),
    ]
    patches = _CONTROL_PLANE_CARRIES_PODS if nodes > 1 else ""
    if own_node:
        kubelet = _KUBELET_ON_CGROUP_2 if cgroup_2 else _KUBELET_ON_CGROUP_1
        patches += kubelet + _OWN_VERSIONS + _KUBE_PROXY_LOOKS_OFTEN
    return "\n".join(lines) + "\n" + (f"kubeadmConfigPatches:\n{patches}" if patches else "")
