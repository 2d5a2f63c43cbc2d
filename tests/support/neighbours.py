"""Pods beside a chat, and what can be reached from inside of any pod."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.support.cluster import Cluster

LISTENING = 8000
"""The port of a plain neighbour."""

LISTEN = ("python", "-m", "http.server", str(LISTENING), "--directory", "/tmp")  # noqa: S108 - it may stay empty

# Networks refuse what they forbid, or drop it: then only time tells. All at once, so that it passes once.
_TRY = """
for target in "$@"; do
  timeout 3 bash -c "exec 3<>/dev/tcp/${target/:/\\/}" 2>/dev/null && echo "$target" &
done
wait
"""

Way = tuple[str, str, int]
"""From a part or a pod to a part's or a pod's port, by names."""


@dataclass(frozen=True)
class Spot:
    """A pod to try from, or to try to reach.

    Attributes:
        part: What it is, which several pods may be.
        namespace: Where it is.
        pod: Its name.
        address: Its IP address.
        container: The one that has a shell.
    """

    part: str
    namespace: str
    pod: str
    address: str
    container: str

    @classmethod
    def of(cls, part: str, pod: Mapping[str, Any]) -> Spot:
        """The pod as Kubernetes describes it."""
        container = pod["spec"]["containers"][0]["name"]
        return cls(part, pod["metadata"]["namespace"], pod["metadata"]["name"], pod["status"]["podIP"], container)


def pod(
    name: str,
    namespace: str,
    image: str,
    labels: Mapping[str, str],
    command: Sequence[str] = LISTEN,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A pod that runs a command, within the restricted profile.

    Args:
        secrets: Those that it mounts, by folder.
    """
    mounted = list((secrets or {}).items())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "shell",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": secret, "mountPath": folder} for folder, secret in mounted],
                }
            ],
            "volumes": [{"name": secret, "secret": {"secretName": secret}} for _, secret in mounted],
        },
    }


async def reached(cluster: Cluster, spots: Iterable[Spot], ports: Mapping[str, Iterable[int]]) -> set[Way]:
    """The open ways between pods of different parts, tried from inside each.

    Args:
        cluster: Where they are.
        spots: All pods.
        ports: Those on which each part listens.
    """
    everywhere = list(spots)

    async def tried(source: Spot) -> set[Way]:
        targets = {
            f"{target.address}:{port}": (source.pod, target.pod, port)
            for target in everywhere
            for port in ports.get(target.part, ())
            # What a part sends to itself needs no network, or is of no interest.
            if target.part != source.part
        }
        printed = await cluster.kubectl(
            *("exec", source.pod, "-n", source.namespace, "-c", source.container, "--"),
            *("bash", "-c", _TRY, "try", *targets),
        )
        return {targets[line] for line in printed.splitlines()}

    found = await asyncio.gather(*(tried(source) for source in everywhere))
    return set().union(*found)


def between(spots: Iterable[Spot], ways: Iterable[Way]) -> set[Way]:
    """The ways between parts as ways between all their pods."""
    by_part: dict[str, list[Spot]] = {}
    for spot in spots:
        by_part.setdefault(spot.part, []).append(spot)
    return {
        (source.pod, target.pod, port)
        for one, other, port in ways
        for source in by_part[one]
        for target in by_part[other]
    }
