"""The structs of the spec have the fields, defaults and bounds of the CRD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import inspect

from chatoperator.api.fields import Fields
from chatoperator.api.spec import Spec
from tests.operator.test_crd import OPEN, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSED_ON = {
    ".podTemplate.tolerations[]": "as in a pod",
    ".podTemplate.affinity": "as in a pod",
    ".podTemplate.topologySpreadConstraints[]": "as in a pod",
    "spec.ingress.front.parentRefs[]": "as in an HTTPRoute",
    "spec.networkPolicies.metricsFrom[]": "as in a NetworkPolicy",
}
"""Objects that go into manifests as they are, with why the structs do not have their fields."""

BY_RULE = {
    "spec.auth.otp.sender": "required, by a rule of the whole spec, since auth and otp may be absent",
    "spec.database.parameters{}": "its pattern, by a rule that names the parameter",
}
"""What a rule checks in place of the type."""


def _text(schema: dict[str, Any]) -> tuple[Any, ...]:
    return (schema.get("minLength") or None, schema.get("maxLength"), schema.get("pattern"))


def _same(schema: dict[str, Any], kind: inspect.Type) -> bool:
    """Whether a type without fields of its own has the bounds of a schema."""
    match kind:
        case inspect.IntType(ge=least, le=most):
            return (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", least, most)
        case inspect.BoolType():
            return bool(schema["type"] == "boolean")
        case inspect.LiteralType(values=values):
            return tuple(sorted(schema["enum"])) == values
        case inspect.StrType(min_length=least, max_length=most, pattern=pattern):
            # Python's $ also matches before a line break at the end.
            bounds = (least or None, most, pattern and pattern.replace(r"\Z", "$"))
            return schema["type"] == "string" and bounds == _text(schema)
    return bool(schema.get(OPEN)) and isinstance(kind, inspect.UnionType)


def bare(kind: inspect.Type) -> inspect.Type:
    """A type without None and without what describes it."""
    if isinstance(kind, inspect.UnionType):
        others = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        kind = others[0] if len(others) == 1 else kind
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def differences(schema: dict[str, Any], kind: inspect.Type, path: str) -> Iterator[str]:
    """Where a type says something else than a schema."""
    kind = bare(kind)
    if path in BY_RULE:
        return
    if path.endswith(tuple(PASSED_ON)):
        yield from () if isinstance(kind, inspect.DictType) else (path,)
    elif isinstance(kind, inspect.StructType):
        yield from _fields(schema, kind, path)
    elif isinstance(kind, inspect.VarTupleType):
        if (schema["type"], schema.get("minItems"), schema["maxItems"]) != ("array", kind.min_length, kind.max_length):
            yield path
        yield from differences(schema["items"], kind.item_type, f"{path}[]")
    elif isinstance(kind, inspect.DictType):
        if schema["maxProperties"] != kind.max_length:
            yield path
        yield from differences(schema["additionalProperties"], kind.value_type, path + "{}")
    elif not _same(schema, kind):
        yield path


def _fields(schema: dict[str, Any], kind: inspect.StructType, path: str) -> Iterator[str]:
    found = {field.encode_name: field for field in kind.fields}
    yield from (f"{path}.{name}" for name in schema["properties"].keys() ^ found.keys())
    for name in schema["properties"].keys() & found.keys():
        field, child = found[name], schema["properties"][name]
        default = None if field.required else _default(field)
        if field.required != (name in schema.get("required", ())) or default != _made(child):
            yield f"{path}.{name} (default)"
        yield from differences(child, field.type, f"{path}.{name}")


def _default(field: inspect.Field) -> Any:
    made = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if isinstance(made, tuple):
        return list(made)
    # With nothing but defaults, as the API server makes of an empty object.
    return {} if isinstance(made, Fields) and made == type(made)() else made


def _made(schema: dict[str, Any]) -> Any:
    """The schema's default; without one an empty list, so that nobody asks whether a list is None."""
    return schema.get("default", [] if schema.get("type") == "array" else _no_quantities(schema))


def _no_quantities(schema: dict[str, Any]) -> dict[str, Any] | None:
    return {} if "additionalProperties" in schema else None


def test_each_struct_has_the_fields_defaults_and_bounds_of_the_crd() -> None:
    found = list(differences(SCHEMA["properties"]["spec"], inspect.type_info(Spec), "spec"))
    assert found == []


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("chatserver.drainSeconds", {"minimum": 1}),
        ("chatserver.drainSeconds", {"default": 60}),
        ("auth.limits.codesPerAddressPerHour", {"default": 1_000}),
        ("ingress.hostnames", {"maxItems": 33}),
        ("database.storage.size", {"pattern": "^.*$"}),
        ("chatserver.scaling.mode", {"enum": ["Internal"]}),
        ("auth.otp", {"properties": {}}),
    ],
)
def test_the_comparison_sees_a_change(path: str, changed: dict[str, Any]) -> None:
    def over(schema: dict[str, Any], names: list[str]) -> dict[str, Any]:
        if not names:
            return {**schema, **changed}
        first, *rest = names
        return {
            **schema,
            "properties": {**schema["properties"], first: over(schema["properties"][first], rest)},
        }

    schema = over(SCHEMA["properties"]["spec"], path.split("."))
    found = list(differences(schema, inspect.type_info(Spec), "spec"))
    assert found
    assert all(one.startswith(f"spec.{path}") for one in found)
