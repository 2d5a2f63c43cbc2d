"""Text that means something to a shell, HAProxy, PostgreSQL or a terminal, in every text field of a ChatCluster."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.desired.manifests import render
from chatoperator.errors import SpecError
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from tests.support.apiserver import ADMIN_TOKEN
from tests.support.chatclusters import desired
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

INJECTIONS = (
    "x\n    http-request deny",
    "x\r\nHost: evil",
    "'; DROP TABLE messages; --",
    "x' # ",
    'x" }',
    "$(id)",
    "`id`",
    "%[env(HOME)]",
    "../../etc/passwd",
    "x\x1b[2J",
    "{{ x }}",
    "x\\",
)

Path = tuple[str, ...]

ENTRY, KEY, VALUE = "[]", "{key}", "{value}"

PASSED_THROUGH = ("affinity", "tolerations", "topologySpreadConstraints", "metricsFrom", "resources")
"""Structures that Kubernetes checks once more, and that nothing is rendered from."""

BASES: dict[Path, dict[str, Any]] = {
    ("ingress", "tls", "secretName"): {"ingress": {"tls": {"mode": "Secret", "secretName": "mine"}}},
    ("ingress", "tls", "issuerRef"): {
        "ingress": {"hostnames": ["a.example"], "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}
    },
    ("ingress", "front", "parentRefs"): {
        "ingress": {"hostnames": ["a.example"], "front": {"kind": "HTTPRoute", "parentRefs": [{"name": "public"}]}}
    },
    ("ingress", "front"): {"ingress": {"hostnames": ["a.example"], "front": {"kind": "Ingress"}}},
    ("database", "external"): {"database": {"external": {"secretName": "mine"}}},
    ("auth", "otp", "webhook"): {
        "auth": {
            "otp": {"sender": "Webhook", "webhook": {"url": "https://sms.example.com/codes", "secretName": "codes"}}
        }
    },
}
"""What a field needs around it."""


def texts(schema: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """Every field that holds text of the user's, lists' entries and maps' keys among them."""
    if path and path[-1] in PASSED_THROUGH:
        return
    if schema.get("type") == "string" and "enum" not in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from texts(child, (*path, name))
    if "items" in schema:
        yield from texts(schema["items"], (*path, ENTRY))
    if isinstance(schema.get("additionalProperties"), dict):
        yield (*path, KEY)
        yield (*path, VALUE)


SCHEMA = yaml.load((ROOT / "crds" / "chatcluster.yaml").read_text(), yaml.CSafeLoader)["spec"]["versions"][0]["schema"]
FIELDS = tuple(texts(SCHEMA["openAPIV3Schema"]["properties"]["spec"]))


def planted(path: Path, text: str, found: Any = None) -> Any:
    """A value with text at a path, laid over what is there."""
    if not path:
        return text
    first, *rest = path
    if first == ENTRY:
        inner = found[0] if found else {"name": "x"} if rest else None
        return [planted(tuple(rest), text, inner)]
    if first in {KEY, VALUE}:
        return {text: "x"} if first == KEY else {"work_mem": text}
    made = dict(found or {})
    made[first] = planted(tuple(rest), text, made.get(first))
    return made


def body(namespace: str, path: Path, text: str) -> dict[str, Any]:
    base: dict[str, Any] = {"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}}}
    for needs, around in BASES.items():
        if path[: len(needs)] == needs:
            base |= copy.deepcopy(around)
            break
    return {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": planted(path, text, base),
    }


def shape(manifests: tuple[dict[str, Any], ...]) -> object:
    """What no field's text may change: the objects, what runs in them, and the directives of the rendered files."""
    made = []
    for manifest in manifests:
        pods = manifest.get("spec", {}).get("template", {}).get("spec", {})
        runs = [(one["name"], one.get("command"), one.get("args")) for one in pods.get("containers", [])]
        name = re.sub(r"-migrate-\w+$", "-migrate", manifest["metadata"]["name"])
        files = manifest.get("data", {}) if manifest["kind"] == "ConfigMap" else {}
        directives = [line.split()[:1] for line in files.get("haproxy.cfg", "").splitlines()]
        made.append((manifest["kind"], name, runs, directives))
    return made


LINE = re.compile(r"[a-z0-9_.]+ = '(?:[^'\\\n]|''|\\\\)*'")


def test_no_text_becomes_configuration_or_another_object(server: ApiServer, namespace: str) -> None:
    assert len(FIELDS) >= 36
    admitted = 0
    url = f"{server.url}/apis/chatcluster.io/v1alpha1/namespaces/{namespace}/chatclusters?dryRun=All"
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    # S501: its certificate is its own.
    with httpx.Client(headers=headers, verify=False, timeout=30) as client:  # noqa: S501
        for path in FIELDS:
            shapes = []
            for text in INJECTIONS:
                answer = client.post(url, json=body(namespace, path, text))
                assert answer.status_code in {201, 422}, (path, text, answer.text)
                if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                    continue
                admitted += 1
                live = answer.json()
                live["metadata"].setdefault("uid", "0000")
                try:
                    made = render(desired(parse(live), served={CERTIFICATE, ROUTE}))
                except SpecError:
                    continue
                shapes.append(shape(made))
                for manifest in made:
                    lines = manifest.get("data", {}).get("postgresql.conf", "").splitlines()
                    assert [line for line in lines if not LINE.fullmatch(line)] == [], (path, text)
            assert all(one == shapes[0] for one in shapes), path
    assert admitted, "some fields are free text"
