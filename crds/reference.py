"""Writes docs/reference/chatcluster.md from crds/chatcluster.yaml: `make docs`. A test says when it is out of date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "crds" / "chatcluster.yaml"
PAGE = ROOT / "docs" / "reference" / "chatcluster.md"

_HEAD = """\
# The ChatCluster, field by field

Made by `make docs` from [crds/chatcluster.yaml](../../crds/chatcluster.yaml): change that file, not this page. What
`kubectl explain chatcluster.spec` says is the same. An object that breaks a rule is refused with the rule's sentence.

`apiVersion: {group}/{version}`, `kind: {kind}`, short names {short_names}. `kubectl scale` and autoscalers write
`{scale}`.
"""

_OF_A_POD = tuple(f".podTemplate.{name}" for name in ("tolerations[]", "affinity", "topologySpreadConstraints[]"))
"""What has the fields of a pod, which Kubernetes' own reference describes; `kubectl explain` has the bounds."""

_COLUMNS = ("field", "type", "default", "meaning")


def render(crd: Mapping[str, Any]) -> str:
    """The page as Markdown.

    Args:
        crd: The CustomResourceDefinition as an object.
    """
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    head = _HEAD.format(
        group=crd["spec"]["group"],
        version=version["name"],
        kind=names["kind"],
        short_names=", ".join(f"`{name}`" for name in names["shortNames"]),
        scale=version["subresources"]["scale"]["specReplicasPath"].removeprefix("."),
    )
    schema = version["schema"]["openAPIV3Schema"]
    parts = [
        head,
        *_rules(schema, "The whole object"),
        *_objects("spec", schema["properties"]["spec"]),
        *_objects("status", schema["properties"]["status"]),
        "## Columns of kubectl get\n",
        _table(("column", "shows", "only with -o wide"), list(map(_column, version["additionalPrinterColumns"]))),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _objects(path: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A section for each object that has fields, outer ones first."""
    yield f"## {path}\n"
    if "description" in schema:
        yield _sentence(schema) + "\n"
    yield _table(_COLUMNS, [_row(name, field, schema) for name, field in schema["properties"].items()])
    yield from _rules(schema, f"`{path}`")
    for name, field in schema["properties"].items():
        inner, inner_path = field, f"{path}.{name}"
        if field["type"] == "array":
            inner, inner_path = field["items"], f"{path}.{name}[]"
        if inner.get("properties") and not inner_path.endswith(_OF_A_POD):
            yield from _objects(inner_path, inner)


def _row(name: str, field: Mapping[str, Any], parent: Mapping[str, Any]) -> tuple[str, ...]:
    default = ""
    if name in parent.get("required", []):
        default = "required"
    elif "default" in field and not field.get("properties"):
        default = f"`{json.dumps(field['default'])}`"
    rules = [rule["message"] for rule in field.get("x-kubernetes-validations", []) if not field.get("properties")]
    rules += _key_rules(field)
    meaning = " ".join([_sentence(field), *_bounds(field), *(f"Rule: {rule}." for rule in rules)])
    return f"`{name}`", _type(field), default, meaning


def _key_rules(field: Mapping[str, Any]) -> list[str]:
    """What of a field tells how lists are merged."""
    keys = field.get("x-kubernetes-list-map-keys")
    return [f"one entry for each {', '.join(f'`{key}`' for key in keys)}"] if keys else []


def _type(field: Mapping[str, Any]) -> str:
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return "quantity"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return (
            "set of " + _type(field["items"])
            if field.get("x-kubernetes-list-type") == "set"
            else ("list of " + _type(field["items"]))
        )
    if "additionalProperties" in field:
        return "map to " + _type(field["additionalProperties"])
    return str(field["type"])


def _bounds(field: Mapping[str, Any]) -> Iterator[str]:
    """The limits of a field in words, and of its entries."""
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None or high is not None:
        yield f"From {_number(low)} to {_number(high)}." if high is not None else f"At least {_number(low)}."
    if "maxItems" in field:
        yield f"At most {field['maxItems']} entries."
    if "maxProperties" in field:
        yield f"At most {field['maxProperties']} entries."
    if "maxLength" in field:
        yield f"At most {field['maxLength']} characters."
    for entries in (field.get("items"), field.get("additionalProperties")):
        if entries and "maxLength" in entries:
            yield f"Each at most {entries['maxLength']} characters."
    for patterned in (field, field.get("items"), field.get("additionalProperties")):
        if patterned and "pattern" in patterned and not patterned.get("x-kubernetes-preserve-unknown-fields"):
            yield f"Pattern `{patterned['pattern']}`."


def _number(value: float | None) -> str:
    return f"{value:,}" if value is not None else "any"


def _rules(schema: Mapping[str, Any], of: str) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", [])
    if rules:
        yield f"Rules of {of[0].lower() + of[1:]}:\n"
        yield "\n".join(f"- {rule['message']}" for rule in rules) + "\n"


def _column(column: Mapping[str, Any]) -> tuple[str, ...]:
    shows = column.get("description") or "Time since it was created."
    return column["name"].upper(), shows, "yes" if column.get("priority") else ""


def _sentence(field: Mapping[str, Any]) -> str:
    text = " ".join(field.get("description", "").split())
    return text if not text or text.endswith((".", "!")) else f"{text}."


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *(tuple(_cell(text) for text in row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(yaml.safe_load(SOURCE.read_text())))


if __name__ == "__main__":
    main()
