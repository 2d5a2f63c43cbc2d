"""Takes the leader's label from the pods of other instances, which an old leader that is lost cannot do itself.

The Service of the leader finds pods by that label. The pods of a lost node stay as they were until Kubernetes gives the
node up, 40 s later: until then half of all new connections would go to nobody.
"""

from __future__ import annotations

import json
import shlex
import ssl
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postgresagent.labels import LEADERS_LABEL, ROLE_LABEL
from postgresagent.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Token and authority, which only Patroni's container has."""

REQUEST_SECONDS = 5.0

TRIES, PAUSE_SECONDS = 20, 3.0
"""Together longer than the 40 s after which Kubernetes gives a lost node up."""


def pods_to_correct(pods: list[dict[str, Any]], leader: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a merge patch for each pod that has the leader's label and is not the leader.

    Args:
        pods: Kubernetes' objects.
        leader: Name of the pod that leads.
    """
    for pod in pods:
        name, labels = pod["metadata"]["name"], pod["metadata"].get("labels") or {}
        if name != leader and labels.get(ROLE_LABEL) == LEADERS_LABEL:
            # With its version: whoever has changed it since knows better.
            version = pod["metadata"]["resourceVersion"]
            yield name, {"metadata": {"resourceVersion": version, "labels": {ROLE_LABEL: None}}}


@dataclass(frozen=True)
class Pods:
    """The pods of the instances, at the API server.

    Attributes:
        url: Of the pods of their namespace.
        selector: Selects the pods of all instances by their labels: `name=value,name=value`.
        account: Folder with the token, and the authority of the API server's certificate.
    """

    url: str
    selector: str
    account: Path = ACCOUNT

    def led_by(self, leader: str) -> list[str]:
        """Take the label from the others, and return their names.

        Raises:
            OSError: The API server is unavailable, or refused it.
        """
        leaders = quote(f"{self.selector},{ROLE_LABEL}={LEADERS_LABEL}")
        found = self._request(f"?labelSelector={leaders}")["items"]
        corrected = []
        for name, patch in pods_to_correct(found, leader):
            self._request(f"/{name}", patch)
            corrected.append(name)
        return corrected

    def _request(self, path: str, patch: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {(self.account / 'token').read_text()}", "Accept": "application/json"}
        data = None
        if patch is not None:
            headers["Content-Type"] = "application/merge-patch+json"
            data = json.dumps(patch).encode()
        # From the environment of the pod alone, which has no other scheme.
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data=data, headers=headers, method="GET" if data is None else "PATCH"
        )
        context = ssl.create_default_context(cafile=self.account / "ca.crt")
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with direct.open(request, timeout=REQUEST_SECONDS) as answer:
            return dict(json.load(answer))


def callback(environment: Mapping[str, str]) -> str:
    """Return the command that Patroni calls when the role of an instance has changed, with the role as an argument.

    Patroni keeps its own variables from it, so that they are arguments, too.

    Args:
        environment: Of Patroni's container.
    """
    labels = json.loads(environment["PATRONI_KUBERNETES_LABELS"])
    labels[environment["PATRONI_KUBERNETES_SCOPE_LABEL"]] = environment["PATRONI_SCOPE"]
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    namespace, leader = environment["PATRONI_KUBERNETES_NAMESPACE"], environment["PATRONI_NAME"]
    return shlex.join(["python3", "-m", "postgresagent", "role", namespace, selector, leader])


def take_over(namespace: str, selector: str, leader: str, environment: Mapping[str, str]) -> bool:
    """Take the leader's label from all other instances, with patience for an API server that is unavailable.

    Args:
        namespace: Of the pods.
        selector: Selects the pods of all instances.
        leader: Name of the pod that leads.
        environment: Names the API server, as in every pod.

    Returns:
        Whether it has been done.
    """
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    pods = Pods(f"https://{host}:{port}/api/v1/namespaces/{namespace}/pods", selector)
    for _ in range(TRIES):
        try:
            corrected = pods.led_by(leader)
        except OSError as error:
            log("warning", "the leader's label of other instances was not removed yet", error=str(error))
            time.sleep(PAUSE_SECONDS)
        else:
            if corrected:
                log("info", "the leader's label of other instances was removed", pods=corrected)
            return True
    return False
