"""What the members may do at the API server: their ServiceAccount, Role and RoleBinding. Pure.

It is the only account of a chat that has a token. Every right is one that the operator has itself: Kubernetes refuses a
Role that grants more. What a member may change of a pod, an admission policy of the chart restricts further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import PATRONI_KEYS, member_name, metadata, part_name, patroni_name
from chatoperator.parts.pod import SECRET_FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

RBAC = "rbac.authorization.k8s.io"

TOKEN_VOLUME, TOKEN_FOLDER = "token", "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where every client for Kubernetes looks."""

TOKEN_SECONDS = 3600
"""After which a stolen one is worthless; kubelet renews it before."""

AUTHORITY_CONFIG_MAP = "kube-root-ca.crt"
"""In every namespace: the authority of the API server's certificate."""


def objects(cluster: ChatCluster, instances: Iterable[int]) -> list[Manifest]:
    """The account and its rights.

    Args:
        cluster: The ChatCluster.
        instances: Numbers of the instances that there are or are to be.
    """
    name = part_name(cluster.name, "postgres")
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(cluster, name, "postgres"),
        "automountServiceAccountToken": False,
    }
    role: Manifest = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": metadata(cluster, name, "postgres"),
        "rules": rules(cluster.name, instances),
    }
    binding: Manifest = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(cluster, name, "postgres"),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}],
    }
    return [account, role, binding]


def rules(cluster_name: str, instances: Iterable[int]) -> list[Manifest]:
    """The rules of the Role. Lists and watches cannot be limited to names."""
    members = [member_name(cluster_name, instance) for instance in sorted(instances)]
    config_maps = [patroni_name(cluster_name, key) for key in PATRONI_KEYS]
    return [
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": members, "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": config_maps, "verbs": ["get", "patch"]},
    ]


def token_volume() -> Manifest:
    """The token, the API server's authority and the namespace, as kubelet would mount them itself."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": TOKEN_VOLUME,
        "projected": {
            "defaultMode": SECRET_FILE_MODE,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {"name": AUTHORITY_CONFIG_MAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    }


def token_mount() -> Manifest:
    """Its mount, for Patroni's container alone."""
    return {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True}
