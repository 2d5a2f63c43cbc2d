"""The types of the API as JSON Schemas from which generators of clients make exact types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chatserver.events import AnyDetail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.http.call import Schema

SCHEMAS = "#/components/schemas/{name}"
UNION = "EventDetail"
"""Name of the schema of all details of events, which is a union without a name in Python."""


def schema_components(
    received: Sequence[Any], sent: Sequence[Any]
) -> tuple[list[Schema], list[Schema], dict[str, Schema]]:
    """Return the schemas of types by name, and a reference to each type that clients send or get.

    A field of a request may be missing where it has a default. In an answer it never is, unless the type omits
    defaults. Generators treat fields with a `default` as present in both, so that no field has one.
    """
    references, schemas = msgspec.json.schema_components(received, ref_template=SCHEMAS)
    (*answers, union), given = msgspec.json.schema_components([*sent, AnyDetail], ref_template=SCHEMAS)
    omitting = {kind.__name__ for kind in sent if _omits_defaults(kind)}
    for name, schema in given.items():
        properties = schema.get("properties", {})
        if name not in omitting:
            schema["required"] = [
                field for field in properties if "default" in properties[field] or field in schema["required"]
            ]
    found = {**given, **schemas}
    for schema in found.values():
        for shape in schema.get("properties", {}).values():
            shape.pop("default", None)
    named = {name: _exact(schema, union) for name, schema in found.items()}
    named[UNION] = {"title": UNION, "description": "What an event says, by `event`.", **union}
    return [_exact(shape, union) for shape in references], [_exact(shape, union) for shape in answers], named


def _omits_defaults(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.omit_defaults


def _exact(node: Any, union: Schema) -> Any:
    """Return a schema whose enumerations of texts have a type, and in which the union has its name."""
    if node == union:
        return {"$ref": SCHEMAS.format(name=UNION)}
    if isinstance(node, list):
        return [_exact(child, union) for child in node]
    if not isinstance(node, dict):
        return node
    made = {key: _exact(child, union) for key, child in node.items()}
    if "type" not in made and "enum" in made and all(isinstance(value, str) for value in made["enum"]):
        made["type"] = "string"
    return made
