"""What an admin does again and again, over one connection to the API server: kubectl costs a process each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from chatoperator.kube.kinds import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS = 60

_BACKGROUND = {"propagationPolicy": "Background"}

_KINDS = {
    **{kind.lower(): where for kind, where in KINDS.items()},
    "cc": KINDS["ChatCluster"],
    "pdb": KINDS["PodDisruptionBudget"],
    "pvc": KINDS["PersistentVolumeClaim"],
    "certificaterequest": Kind("cert-manager.io", "v1", "certificaterequests"),
    "lease": Kind("coordination.k8s.io", "v1", "leases"),
    "resourcequota": Kind("", "v1", "resourcequotas"),
}


def connection(url: str, token: str) -> httpx.Client:
    """A connection to an API server whose certificate is its own; close it."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=url, headers=headers, verify=False, timeout=TIMEOUT_SECONDS, trust_env=False)  # noqa: S501


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin of one namespace, for whom a kind may be in lower case, or one of kubectl's short names.

    Attributes:
        client: The connection.
        namespace: Of all objects.
    """

    client: httpx.Client
    namespace: str

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        answer = self.client.get(self._path(kind, name))
        return None if answer.status_code == httpx.codes.NOT_FOUND else _decoded(answer)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object that there is."""
        return _decoded(self.client.get(self._path(kind, name)))

    def list(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, without kind and apiVersion in each."""
        found: list[dict[str, Any]] = _decoded(self.client.get(self._path(kind)))["items"]
        return found

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Create an object; a field that its kind does not have is refused, as by kubectl."""
        _checked(self._post(manifest))

    def refusal(self, manifest: Mapping[str, Any], **query: str) -> str:
        """Create an object; why the API server refuses it, or nothing where it does not.

        Args:
            manifest: The object.
            query: Further parameters, such as `dryRun="All"`.
        """
        answer = self._post(manifest, **query)
        return "" if answer.is_success else str(answer.json()["message"])

    def _post(self, manifest: Mapping[str, Any], **query: str) -> httpx.Response:
        params = {"fieldManager": "kubectl-create", "fieldValidation": "Strict", **query}
        return self.client.post(self._path(manifest["kind"]), params=params, json=manifest)

    def patch(
        self, kind: str, name: str, body: Mapping[str, Any], subresource: str = "", manager: str = "kubectl-patch"
    ) -> None:
        """Merge into an object, or into a subresource such as `/status`, as the manager of these fields."""
        query = {"fieldManager": manager}
        headers = {"Content-Type": "application/merge-patch+json"}
        path = self._path(kind, name) + subresource
        _checked(self.client.patch(path, params=query, headers=headers, json=body))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object that there is, and in the background what belongs to it."""
        _checked(self.client.delete(self._path(kind, name), params=_BACKGROUND))

    def delete_all(self, kind: str) -> None:
        """Delete all objects of a kind, and in the background what belongs to them."""
        _checked(self.client.delete(self._path(kind), params=_BACKGROUND))

    def _path(self, kind: str, name: str | None = None) -> str:
        where = _KINDS[kind.lower()]
        return f"{where.root}/namespaces/{self.namespace}/{where.plural}" + (f"/{name}" if name else "")


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, which need not be read: tests store what no client of ours could decode."""
    assert answer.is_success, answer.text
    return answer


def _decoded(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = _checked(answer).json()
    return found
