"""The kinds of objects that the operator deals with: where the API serves them. A new kind of child is added here."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from chatoperator.metadata import GROUP, KIND, VERSION


@dataclass(frozen=True)
class Kind:
    """Where the API serves a kind. All of them are namespaced."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """Path of its group and version: `/apis/apps/v1`, `/api/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


CERTIFICATE, ROUTE = "Certificate", "HTTPRoute"
"""cert-manager's, and the Gateway API's: kinds that a cluster need not have."""

CHILDREN = {
    "Deployment": Kind("apps", "v1", "deployments"),
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
    "Service": Kind("", "v1", "services"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Secret": Kind("", "v1", "secrets"),
    "PersistentVolumeClaim": Kind("", "v1", "persistentvolumeclaims"),
    "Job": Kind("batch", "v1", "jobs"),
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "Role": Kind("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": Kind("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "Ingress": Kind("networking.k8s.io", "v1", "ingresses"),
    ROUTE: Kind("gateway.networking.k8s.io", "v1", "httproutes"),
    CERTIFICATE: Kind("cert-manager.io", "v1", "certificates"),
}
"""What the operator makes, beside Events. A cluster that does not serve one of them is taken to have none of it."""

KINDS = {
    **CHILDREN,
    KIND: Kind(GROUP, VERSION, "chatclusters"),
    "Pod": Kind("", "v1", "pods"),
    "Event": Kind("", "v1", "events"),
}
"""Fixed here rather than discovered: discovery costs requests at start and caches its answers in a file."""

FOLLOWED = (KIND, *CHILDREN, "Pod")
"""What the cache lists and watches: ChatClusters, and by the operator's own label what belongs to them."""


def path_of(kind: str, namespace: str | None, name: str | None = None) -> str:
    """Path of an object at the API server; without a name of all in a namespace, or in all for None."""
    where = KINDS[kind]
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{where.root}{inside}/{where.plural}" + (f"/{quote(name, safe='')}" if name else "")
