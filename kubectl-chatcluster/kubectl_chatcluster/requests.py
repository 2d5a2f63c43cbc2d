"""What an admin requests of the operator by an annotation on a ChatCluster, and where the answer is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubectl_chatcluster.errors import NoBackups
from kubectl_chatcluster.names import RESOURCE

if TYPE_CHECKING:
    import datetime as dt

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object

POLL_SECONDS = 2
"""Between two looks at the status."""


def named(now: dt.datetime) -> str:
    """Name of a request, which makes it another one than the last: 2026-11-30T12.00.00Z."""
    return f"{now:%Y-%m-%dT%H.%M.%SZ}"


def annotate(kubectl: Kubectl, body: Object, annotation: str, value: str) -> None:
    """Set an annotation of a ChatCluster.

    Args:
        kubectl: The cluster.
        body: The ChatCluster.
        annotation: Name of the annotation.
        value: Its value.

    Raises:
        KubectlError: A right is missing, or the cluster does not answer.
    """
    metadata = body["metadata"]
    where = (RESOURCE, metadata["name"], "-n", metadata["namespace"])
    kubectl.run("annotate", *where, "--overwrite", f"{annotation}={value}")


def live(kubectl: Kubectl, body: Object) -> Object:
    """Return the ChatCluster as it is now.

    Raises:
        KubectlError: A right is missing, or the cluster does not answer.
    """
    return kubectl.get(RESOURCE, body["metadata"]["name"], body["metadata"]["namespace"])


def backup_spec(body: Object) -> dict[str, Any]:
    """Return spec.database.backup.

    Raises:
        NoBackups: There is none, and so no repository.
    """
    backup = ((body.get("spec") or {}).get("database") or {}).get("backup")
    if not backup:
        name = body["metadata"]["name"]
        raise NoBackups(f"ChatCluster {name} has no repository for backups; set spec.database.backup.repository")
    return dict(backup)


def database_status(body: Object, part: str) -> dict[str, Any]:
    """Return a part of status.database, such as `backup`; empty where there is none."""
    database: dict[str, Any] = (body.get("status") or {}).get("database") or {}
    return dict(database.get(part) or {})
