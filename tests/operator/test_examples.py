"""Every example: valid by the CRD's own schema, and parsed by the operator. Its CEL rules are tried in integration."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.desired.manifests import render
from tests.support.chatclusters import desired
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

CRD = yaml.load((ROOT / "crds" / "chatcluster.yaml").read_text(), yaml.CSafeLoader)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused, as `kubectl apply --validate=strict` does."""
    made = copy.deepcopy(schema)
    if made.get("properties") and made is not schema:
        made.setdefault("additionalProperties", False)
    made["properties"] = {
        name: closed(child) if child.get("properties") else child for name, child in made.get("properties", {}).items()
    }
    return made


@functools.cache
def validator() -> jsonschema.protocols.Validator:
    """Of the spec, with unknown fields refused; `jsonschema.validate` would check the schema itself each time."""
    schema = closed(CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    made = jsonschema.validators.validator_for(schema)
    made.check_schema(schema)
    return made({**schema, "additionalProperties": False})


def chatclusters(path: Path) -> list[dict[str, Any]]:
    return [
        document for document in yaml.load_all(path.read_text(), yaml.CSafeLoader) if document["kind"] == "ChatCluster"
    ]


def test_there_are_the_promised_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "minimal",
        "autoscaling",
        "production",
        "external-database",
        "pod-placement",
        "external-database-with-ca",
        "webhook-codes",
        "cert-manager",
        "behind-a-gateway",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_and_parsed(path: Path) -> None:
    made = chatclusters(path)
    assert made
    for document in made:
        validator().validate(document["spec"])
        document["metadata"] |= {"uid": "0000", "generation": 1}
        assert render(desired(parse(document)))


def test_the_schema_in_this_test_refuses_unknown_fields() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'scalling' was unexpected"):
        validator().validate({"chatserver": {"scalling": {}}})
