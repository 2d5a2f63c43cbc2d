"""Collects a support bundle: whatever may be read about one ChatCluster, and never a Secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import connections, gather, journal, status
from kubectl_chatcluster.archive import secret_references
from kubectl_chatcluster.errors import KubectlError
from kubectl_chatcluster.kubectl import side_by_side
from kubectl_chatcluster.names import OPERATOR_SELECTOR, instance_selector

if TYPE_CHECKING:
    import datetime as dt

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object

CHILDREN = (
    "deployments",
    "replicasets",
    "statefulsets",
    "jobs",
    "pods",
    "services",
    "endpointslices",
    "configmaps",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
)
"""Kinds of the namespace to put in, as far as they carry the ChatCluster's labels. Secrets are not among them."""

LOG_LINES = 20_000
"""Newest lines a pod: some megabytes, hours of a busy server."""

README = """\
Support bundle of ChatCluster {namespace}/{name}, created at {now}.

  status.txt, connections.txt   what `kubectl chatcluster status` and `connections` print
  chatcluster.json, children/   the resource and the objects that the operator created for it
  events.json                   Events about these objects
  logs/, metrics/               of each pod; *.previous.log is from before the last restart
  operator/                     Deployment, pods and logs of the operator
  secrets.json                  names of Secrets, and of the keys that pods use; no Secret was read
  versions.json                 versions of Kubernetes and kubectl
  missing.txt                   what could not be read, and why

Passwords, tokens, keys and phone numbers were replaced. Still check the files before you pass them on.
"""


def collect(kubectl: Kubectl, body: Object, now: dt.datetime) -> dict[str, Any]:
    """All files by their path, not yet redacted."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    picture = gather.picture(kubectl, body)
    missing = list(picture.unseen)
    files: dict[str, Any] = {
        "README.txt": README.format(namespace=namespace, name=name, now=now.isoformat()),
        "status.txt": status.as_text(picture, now),
        "connections.txt": connections.as_text(picture, now),
        "chatcluster.json": body,
        "events.json": json.loads(status.as_json(picture))["events"],
    }
    children = _children(kubectl, namespace, name, missing)
    files |= {f"children/{kind}.json": found for kind, found in children.items()}
    files["secrets.json"] = secret_references([body, *(one for found in children.values() for one in found)])
    files |= _metrics(kubectl, namespace, [pod for pod in picture.pods if pod.metrics_port is not None], missing)
    files |= _operator(kubectl, missing)
    files |= _logs(kubectl, body, missing)
    try:
        files["versions.json"] = json.loads(kubectl.run("version", "-o", "json"))
    except KubectlError as error:
        missing.append(f"versions: {error}")
    files["missing.txt"] = "\n".join(sorted(set(missing)) or ["nothing"]) + "\n"
    return files


def _children(kubectl: Kubectl, namespace: str, name: str, missing: list[str]) -> dict[str, list[Object]]:
    # Replica sets and endpoint slices are made by Kubernetes, with the labels of their templates and Services.
    selector = instance_selector(name)

    def read(kind: str) -> list[Object] | KubectlError:
        try:
            return kubectl.list(kind, namespace, selector=selector)
        except KubectlError as error:
            return error

    answers = dict(zip(CHILDREN, side_by_side(CHILDREN, read), strict=True))
    missing += [f"{kind}: {answer}" for kind, answer in answers.items() if isinstance(answer, KubectlError)]
    return {kind: answer for kind, answer in answers.items() if not isinstance(answer, KubectlError)}


def _metrics(kubectl: Kubectl, namespace: str, pods: list[Any], missing: list[str]) -> dict[str, str]:
    def read(pod: Any) -> str | KubectlError:
        try:
            return gather.metrics_page(kubectl, namespace, pod)
        except KubectlError as error:
            return error

    answers = zip((pod.name for pod in pods), side_by_side(pods, read), strict=True)
    found: dict[str, str] = {}
    for name, answer in answers:
        if isinstance(answer, KubectlError):
            missing.append(f"metrics of {name}: {answer}")
        else:
            found[f"metrics/{name}.txt"] = answer
    return found


def _operator(kubectl: Kubectl, missing: list[str]) -> dict[str, list[Object]]:
    found = {}
    for kind in ("deployments", "pods"):
        try:
            found[f"operator/{kind}.json"] = kubectl.list(kind, selector=OPERATOR_SELECTOR, everywhere=True)
        except KubectlError as error:
            missing.append(f"{kind} of the operator: {error}")
    return found


def _logs(kubectl: Kubectl, body: Object, missing: list[str]) -> dict[str, str]:
    sources, unseen = journal.sources(kubectl, body, None)
    missing += unseen
    restarted = [source for source in sources if source.pod.restarts]
    found: dict[str, str] = {}
    for suffix, some, options in (("", sources, ()), (".previous", restarted, ("--previous",))):
        for log in journal.read(kubectl, some, f"--tail={LOG_LINES}", *options):
            folder = "operator/logs" if log.source.part == "operator" else "logs"
            if log.error is not None:
                missing.append(f"log of {log.source.pod.name}{suffix}: {log.error}")
            else:
                found[f"{folder}/{log.source.pod.name}{suffix}.log"] = log.printed
    return found
