"""Names and labels by which the operator's objects are found; a test compares them with the operator's own."""

from __future__ import annotations

GROUP = "chatcluster.io"
RESOURCE = f"chatclusters.{GROUP}"
"""With its group: another operator may serve a `chatclusters` too."""

SWITCHOVER_ANNOTATION = f"{GROUP}/switchover"
"""On a ChatCluster: each new value requests another leader of its database."""

BACKUP_ANNOTATION = f"{GROUP}/backup"
"""On a ChatCluster: each new value requests a backup of its database."""

RESTORE_ANNOTATION = f"{GROUP}/restore"
"""On a ChatCluster: requests that its database returns to an earlier state, as JSON."""

DRILL_ANNOTATION = f"{GROUP}/drill"
"""On a ChatCluster: each new value requests a restore drill."""

INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

OPERATOR_SELECTOR = "app.kubernetes.io/name=chatcluster-operator"
"""The operator's own pods and Deployment, as the Helm chart labels them."""

PARTS = ("chatserver", "ingress", "postgres", "migrate", "probe", "bus", "backup")
"""Components of a ChatCluster that have pods."""

OPERATOR = "operator"

METRICS_PORT_NAME = "metrics"
"""Of the container port with the metrics page."""


def instance_selector(name: str) -> str:
    """Pods of one ChatCluster, and all else that the operator made for it."""
    return f"{INSTANCE_LABEL}={name},{MANAGED_BY_LABEL}=chatcluster-operator"


def part_name(name: str, part: str) -> str:
    """Name of a part's workload and Service: `demo`, `ingress` -> `demo-ingress`."""
    return f"{name}-{part}"


def claim_name(name: str) -> str:
    """The database's volume claim."""
    return f"{name}-postgres-data"
