"""Requests with a stolen token, none of which changes anything: the API server only says what it would do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import httpx

from chatoperator.kube.kinds import KINDS, Kind
from chatoperator.metadata import FIELD_MANAGER

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.apiserver import ApiServer

DRY = {"dryRun": "All"}

LEASES = Kind("coordination.k8s.io", "v1", "leases")


class Thief:
    """Somebody with a token and no other way in.

    Each method returns the API server's refusal, and an empty text where it refuses nothing.
    """

    def __init__(self, server: ApiServer, token: str) -> None:
        self._client = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {token}"},
            # Its certificate is its own.
            verify=False,  # noqa: S501
            timeout=30,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def create(self, manifest: dict[str, Any]) -> str:
        """Create an object of a kind that the operator knows."""
        return self.call("POST", _path(manifest, named=False), manifest)

    def apply(self, manifest: dict[str, Any]) -> str:
        """Apply as the operator does, whoever else has a part in the object."""
        answer = self._client.patch(
            _path(manifest, named=True),
            params={**DRY, "fieldManager": FIELD_MANAGER, "force": "true"},
            content=json.dumps(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return _refusal(answer)

    def patch(self, kind: str, namespace: str, name: str, change: dict[str, Any]) -> str:
        """Merge a change into an object."""
        found = {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        answer = self._client.patch(
            _path(found, named=True),
            params=DRY,
            content=json.dumps(change),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        return _refusal(answer)

    def delete(self, kind: str, namespace: str, name: str) -> str:
        """Delete an object."""
        found = {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        return self.call("DELETE", _path(found, named=True))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """Any request."""
        return _refusal(self._client.request(method, path, params=DRY, json=body))


def _path(manifest: dict[str, Any], *, named: bool) -> str:
    where, metadata = {**KINDS, "Lease": LEASES}[manifest["kind"]], manifest["metadata"]
    name = f"/{metadata['name']}" if named else ""
    return f"{where.root}/namespaces/{metadata['namespace']}/{where.plural}{name}"


def _refusal(answer: httpx.Response) -> str:
    return "" if answer.is_success else f"{answer.status_code}: {answer.json().get('message', answer.text)}"
