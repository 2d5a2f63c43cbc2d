"""House rules of the CRD that no API server checks, and the chart's copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = ROOT / "crds" / "chatcluster.yaml"
COPY = ROOT / "charts" / "chatcluster-operator" / "templates" / "crd.yaml"

CRD = yaml.safe_load(SOURCE.read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All fields below a schema with their paths."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


SPEC = list(fields(SCHEMA["properties"]["spec"], "spec"))
STATUS = list(fields(SCHEMA["properties"]["status"], "status"))


def test_the_charts_copy_differs_by_its_annotation_alone() -> None:
    text = "\n".join(line for line in COPY.read_text().splitlines() if not line.startswith("{{"))
    copied = yaml.safe_load(text)
    assert copied["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert copied == CRD


def test_every_field_is_described() -> None:
    assert [path for path, field in SPEC + STATUS if not field.get("description")] == []


def test_every_field_of_the_spec_is_bounded() -> None:
    bounds = {
        "string": {"enum", "maxLength"},
        "integer": {"maximum"},
        "array": {"maxItems"},
    }
    unbounded = [path for path, field in SPEC if field["type"] in bounds and not bounds[field["type"]] & set(field)]
    assert unbounded == []
    maps = [path for path, field in SPEC if "additionalProperties" in field and "maxProperties" not in field]
    assert maps == []


def test_every_parent_has_an_empty_default() -> None:
    """Otherwise neither nested defaults nor rules run. What is listed must stay absent where it is not wanted."""
    parents = [path for path, field in SPEC if field.get("properties") and "default" not in field]
    peer = "spec.networkPolicies.metricsFrom[]"
    assert parents == [
        "spec.ingress.tls.issuerRef",
        "spec.ingress.front",
        "spec.database.external",
        "spec.auth.otp.webhook",
        *(f"{peer}.{part}" for part in ("podSelector", "namespaceSelector", "ipBlock")),
    ]


def test_every_rule_has_a_sentence() -> None:
    rules = [rule for _, field in SPEC for rule in field.get("x-kubernetes-validations", [])]
    rules += SCHEMA["x-kubernetes-validations"] + SCHEMA["properties"]["spec"]["x-kubernetes-validations"]
    assert len(rules) >= 12
    for rule in rules:
        assert len(rule["message"].split()) >= 6, rule["rule"]
