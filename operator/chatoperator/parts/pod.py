"""What every pod of the data plane has in common: the restricted security profile, resources, spreading, budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.api.quantity import number
from chatoperator.metadata import metadata, part_name, selector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatoperator.api.pods import Resources
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest, Part

SERVICE_USER_ID = 10001
"""User and group of the chatserver and haproxy images."""

POSTGRES_USER_ID = 999
"""User and group of the postgres image, Debian's number for it."""

SCRATCH_LIMIT = "64Mi"
"""Of each volume for small files, of which a few hundred KiB are used. The root file system being read-only, nothing a
pod writes can fill its node's disk."""

SECRET_FILE_MODE = 0o440
"""Readable by the pod's group only (fsGroup)."""


def resources(
    default_requests: Mapping[str, str], default_limits: Mapping[str, str], given: Resources
) -> dict[str, dict[str, str]]:
    """Container resources: the part's defaults with what the user gave laid over them, name by name.

    A default never contradicts what the user gave: a default limit rises to the request, a default request falls to
    the limit. A limit of 0 is none.

    Example: requests {memory: 2Gi}, default limit 1Gi -> limit 2Gi. limits {cpu: 0} -> no limit of cpu.
    """
    unlimited = {name for name, limit in given.limits.items() if not number(limit)}
    limits = {name: limit for name, limit in given.limits.items() if name not in unlimited}
    requests = {
        name: min(request, limits.get(name, request), key=number) for name, request in default_requests.items()
    } | dict(given.requests)
    defaults = {
        name: max(limit, given.requests.get(name, limit), key=number)
        for name, limit in default_limits.items()
        if name not in unlimited
    }
    made = {"requests": requests, "limits": {**defaults, **limits}}
    return {kind: quantities for kind, quantities in made.items() if quantities}


def usable(default_requests: Mapping[str, str], default_limits: Mapping[str, str], given: Resources) -> dict[str, str]:
    """What a container may count on, by resource name: its limit, or without one its request.

    Without either it is what the default limit would have allowed.
    """
    made = resources(default_requests, default_limits, given)
    return {**default_limits, **given.requests, **made.get("limits", {})}


def container_security() -> Manifest:
    """Security context of a container, as the Pod Security level `restricted` and a read-only root require it."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def pod_security(user_id: int) -> Manifest:
    """Security context of a pod whose image runs as `user_id`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "fsGroup": user_id,
        # Walking a large volume at each start would delay the database by minutes.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def scratch(name: str) -> Manifest:
    """An empty volume for small files that need not outlive the pod."""
    return {"name": name, "emptyDir": {"sizeLimit": SCRATCH_LIMIT}}


def secret_volume(name: str, secret_name: str, paths: Mapping[str, str] | None = None) -> Manifest:
    """A volume with a Secret, which only the pod's group can read.

    Args:
        name: Of the volume.
        secret_name: Of the Secret.
        paths: The file of each key; None: all keys, each in a file of its name.
    """
    items = {} if paths is None else {"items": [{"key": key, "path": path} for key, path in paths.items()]}
    return {"name": name, "secret": {"secretName": secret_name, **items, "defaultMode": SECRET_FILE_MODE}}


def pod_spec(
    *,
    user_id: int,
    containers: Sequence[Manifest],
    volumes: Sequence[Manifest],
    pull_secrets: Sequence[str],
    termination_grace_seconds: int,
    spread_over: Mapping[str, str] | None = None,
) -> Manifest:
    """A pod spec without a Kubernetes token, spread over nodes where there are several.

    Args:
        user_id: User and group that the image runs as.
        containers: The containers, as the part makes them.
        volumes: The volumes, beside which each pod gets an empty `/tmp` volume named tmp.
        pull_secrets: Names of the Secrets that kubelet pulls the images with.
        termination_grace_seconds: What kubelet gives the pod between SIGTERM and SIGKILL.
        spread_over: Labels of the pods to keep apart; None for a part with one pod.
    """
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(user_id),
        "terminationGracePeriodSeconds": termination_grace_seconds,
        "containers": list(containers),
        "volumes": [scratch("tmp"), *volumes],
    }
    if pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    if spread_over is not None:
        spec |= _apart(spread_over)
    return spec


def _apart(pods: Mapping[str, str]) -> Manifest:
    """Keep pods with these labels on different nodes, and in different zones, as far as it goes.

    Soft: a cluster with one node, or one left, still runs the chat.
    """
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(pods)},
                # A rollout spreads the new pods among each other: those they replace are leaving.
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        # Not a second constraint: nodes without the zone's label would then count for neither, and in a cluster without
        # zones all pods may end on one node.
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "labelSelector": {"matchLabels": dict(pods)},
                            "topologyKey": "topology.kubernetes.io/zone",
                        },
                    }
                ]
            }
        },
    }


def http_probe(path: str, port: str, *, period_seconds: int, failures: int, timeout_seconds: int = 3) -> Manifest:
    """An HTTP probe by kubelet."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": timeout_seconds,
    }


def disruption_budget(cluster: ChatCluster, component: Part) -> Manifest:
    """Node drains take a part's pods one at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(cluster, part_name(cluster.name, component), component),
        "spec": {
            "maxUnavailable": 1,
            # A pod that does not work keeps no node from being drained; nobody would miss it.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(cluster.name, component)},
        },
    }
