"""Requests to a local cluster's API server over one connection: a kubectl costs a process each time, 0.15 s of CPU."""

from __future__ import annotations

import base64
import contextlib
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TIMEOUT_SECONDS = 60

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""All resources of all groups in one answer."""


class RequestRefusedError(AssertionError):
    """The API server refused a request or did not answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of a kind are.

    Attributes:
        path: Of the group's version, such as `/apis/apps/v1`.
        plural: The last part of a list's path.
        namespaced: Whether its objects are in namespaces.
    """

    path: str
    plural: str
    namespaced: bool

    def at(self, namespace: str = "", name: str = "") -> str:
        """The path of an object, or of a list: of a namespace, or of all where none is given."""
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.path}{inside}/{self.plural}" + (f"/{name}" if name else "")


class ClusterApi:
    """An admin's requests. Kinds may be given in any form that kubectl knows: `deployment`, `deployments`, `deploy`.

    Args:
        client: A connection to the API server.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._resources: dict[str, Resource] = {}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        answer = self._send("GET", self._resource(kind).at(namespace, name))
        return None if answer.status_code == httpx.codes.NOT_FOUND else _decoded(answer)

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        """The objects with these labels, of a namespace or of all."""
        query = {"labelSelector": selector} if selector else {}
        answer = _decoded(self._send("GET", self._resource(kind).at(namespace), params=query))
        # A list says it once for all.
        same = {"apiVersion": answer["apiVersion"], "kind": answer["kind"].removesuffix("List")}
        return [{**same, **item} for item in answer["items"]]

    def patch(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Merge into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        query = {"fieldManager": "kubectl-patch"}
        _checked(
            self._send("PATCH", self._resource(kind).at(namespace, name), params=query, headers=headers, json=body)
        )

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Post an object to a path, such as a pod's `/eviction`."""
        _checked(self._send("POST", path, json=body))

    def text(self, path: str) -> str:
        """What is at a path, such as a page that the API server fetches from a pod."""
        return _checked(self._send("GET", path)).text

    def _resource(self, kind: str) -> Resource:
        if kind.lower() not in self._resources:
            self._resources = self._discovered()
        found = self._resources.get(kind.lower())
        if found is None:
            raise RequestRefusedError(f"the API server has no resource {kind!r}")
        return found

    def _discovered(self) -> dict[str, Resource]:
        """Resources by each of their names; of two with the same one the first, which is kubectl's, too."""
        found: dict[str, Resource] = {}
        for root in ("/api", "/apis"):
            for group in _decoded(self._send("GET", root, headers={"Accept": DISCOVERY}))["items"]:
                for version in group["versions"]:
                    path = "/".join(filter(None, (root, group["metadata"].get("name"), version["version"])))
                    for one in version.get("resources", []):
                        made = Resource(path, one["resource"], one["scope"] == "Namespaced")
                        for name in (one["resource"], one["singularResource"], *one.get("shortNames", [])):
                            found.setdefault(name.lower(), made)
        return found

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except httpx.TransportError as error:
            raise RequestRefusedError(f"{method} {path}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def connected(kubeconfig: Path) -> Iterator[ClusterApi]:
    """A connection as the user of a kubeconfig that kind has written."""
    made = yaml.load(kubeconfig.read_text(), yaml.CSafeLoader)
    (cluster,), (user,) = ([one[kind] for one in made[f"{kind}s"]] for kind in ("cluster", "user"))
    context = ssl.create_default_context(cadata=_text(cluster, "certificate-authority-data"))
    with tempfile.NamedTemporaryFile("w") as pair:
        # OpenSSL reads the pair from files alone.
        pair.write(_text(user, "client-certificate-data") + _text(user, "client-key-data"))
        pair.flush()
        context.load_cert_chain(pair.name)
    with httpx.Client(base_url=cluster["server"], verify=context, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        yield ClusterApi(client)


def _text(part: Mapping[str, str], name: str) -> str:
    return base64.b64decode(part[name]).decode()


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise RequestRefusedError(f"{answer.request.method} {answer.request.url.path}: {answer.text}")
    return answer


def _decoded(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = _checked(answer).json()
    return found
