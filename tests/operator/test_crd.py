"""House rules of the CRD that no API server checks, and the chart's copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from crds.reference import CHART_COPY, SOURCE, chart_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = "x-kubernetes-preserve-unknown-fields"

CRD = yaml.load(SOURCE.read_text(), yaml.CSafeLoader)
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
    written = CHART_COPY.read_text(encoding="utf-8")
    assert written == chart_copy(SOURCE.read_text(encoding="utf-8")), "run `make docs`"
    text = "\n".join(line for line in written.splitlines() if not line.startswith("{{"))
    copied = yaml.load(text, yaml.CSafeLoader)
    assert copied["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert copied == CRD


def test_every_field_is_described() -> None:
    assert [path for path, field in SPEC + STATUS if not field.get("description")] == []


def every(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All schemas at and below one, entries of lists and maps included, with their paths."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from every(child, f"{path}.{name}")
    for entries, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if entries in schema:
            yield from every(schema[entries], path + mark)


BOUNDS = {
    "string": {"enum", "maxLength"},
    "integer": {"maximum", "enum"},
    "array": {"maxItems"},
    "boolean": {"type"},
}


def _is_quantity(schema: dict[str, Any]) -> bool:
    """A number or a string: neither an object nor a list can meet it, so that nothing in one is kept."""
    return bool(schema["minProperties"] > schema["maxProperties"] and schema["minItems"] > schema["maxItems"])


def _is_bounded(schema: dict[str, Any]) -> bool:
    if schema.get(OPEN):
        return _is_quantity(schema) and {"maxLength", "maximum"} <= set(schema)
    if schema["type"] == "object":
        return "maxProperties" in schema if "additionalProperties" in schema else bool(schema.get("properties"))
    return bool(BOUNDS[schema["type"]] & set(schema))


def test_no_field_of_the_spec_takes_a_value_without_bounds() -> None:
    """One object that could be of any size or depth would stop the operator for all namespaces."""
    found = list(every(SCHEMA["properties"]["spec"], "spec"))
    assert len(found) > 300
    assert [path for path, schema in found if not _is_bounded(schema)] == []


def test_status_is_bounded_where_it_can_grow() -> None:
    grown = [
        path
        for path, schema in every(SCHEMA["properties"]["status"], "status")
        if schema.get("type") in {"array", "string"} and not _is_bounded(schema) and schema.get("format") != "date-time"
    ]
    assert grown == []


def test_nothing_is_kept_that_the_schema_does_not_name() -> None:
    opened = [path for path, schema in every(SCHEMA, "") if any(key.startswith(OPEN) for key in schema)]
    quantities = [path for path in opened if path.endswith((".resources.requests{}", ".resources.limits{}"))]
    assert len(opened) == 10
    assert opened == quantities


def test_what_may_be_absent_may_be_null() -> None:
    """A file that leaves a field empty says null; server-side apply does not drop it."""
    strict = [
        f"{path}.{name}"
        for path, schema in every(SCHEMA["properties"]["spec"], "spec")
        for name, child in schema.get("properties", {}).items()
        if name not in schema.get("required", ()) and not {"default", "nullable"} & set(child)
    ]
    # It has to be set.
    assert strict == ["spec.auth.otp.sender"]
    enums = [path for path, schema in every(SCHEMA, "") if "enum" in schema and schema.get("nullable")]
    assert enums == [], "an enum is not met by null: a pattern is"


def test_every_parent_has_an_empty_default() -> None:
    """Otherwise neither nested defaults nor rules run. What is listed must stay absent where it is not wanted."""
    parents = [
        path
        for path, field in SPEC
        if field.get("properties")
        and "default" not in field
        # As in a pod, where an absent one and an empty one are not the same.
        and ".podTemplate.affinity." not in path
        and ".podTemplate.topologySpreadConstraints[" not in path
    ]
    peer = "spec.networkPolicies.metricsFrom[]"
    assert parents == [
        "spec.ingress.tls.issuerRef",
        "spec.ingress.front",
        "spec.database.external",
        "spec.database.backup",
        "spec.database.backup.repository",
        *(f"spec.database.backup.repository.{kind}" for kind in ("volume", "s3", "gcs", "azure")),
        "spec.database.backup.drill",
        "spec.database.restore",
        "spec.database.restore.from",
        "spec.database.restore.from.chatCluster",
        "spec.database.restore.from.repository",
        *(f"spec.database.restore.from.repository.{kind}" for kind in ("s3", "gcs", "azure")),
        "spec.bus.external",
        "spec.auth.otp.webhook",
        *(f"{peer}.{part}" for part in ("podSelector", "namespaceSelector", "ipBlock")),
    ]


def test_every_rule_has_a_sentence() -> None:
    rules = [rule for _, field in SPEC for rule in field.get("x-kubernetes-validations", [])]
    rules += SCHEMA["x-kubernetes-validations"] + SCHEMA["properties"]["spec"]["x-kubernetes-validations"]
    assert len(rules) >= 12
    for rule in rules:
        assert len(rule["message"].split()) >= 6, rule["rule"]
