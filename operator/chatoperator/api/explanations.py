"""Explains which field of a spec is invalid, and what it must be. Pure."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from msgspec import inspect

from chatoperator.api.fields import RuleBroken
from chatoperator.api.spec import Spec
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from msgspec import ValidationError

_AT = re.compile(r".* - at `(?:key in )?\$\.?(?P<path>[^`]*)`", re.DOTALL)
"""The end of msgspec's message. The beginning may repeat a value, so the last path counts."""

_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")

_STEP = re.compile(r"(?P<field>[^.\[\]]+)|\[(?P<entry>\d+|\.{3})\]")

_OF_MAP = "[...]"
"""The end of the path of a map's value: msgspec does not say which one."""

SHOWN_MAX = 40
"""Characters of a value that are repeated."""


def explain(error: ValidationError, raw: Any) -> SpecError:
    """Return the error that names the field and the remedy.

    Args:
        error: Of the decoding of `raw` into a Spec, or of one of the rules of its structs.
        raw: The spec as it was given.
    """
    text, cause = str(error), error.__cause__
    found = _AT.fullmatch(text)
    path = found["path"] if found else ""
    if isinstance(cause, RuleBroken):
        return SpecError(_joined(path, cause.field), cause.remedy)
    missing = _MISSING.match(text)
    if missing:
        path = _joined(path, missing["field"])
        return SpecError(path, f"it is missing; set it to {_expected(_type_of(path))}")
    expected = _expected(_type_of(path))
    if path.endswith(_OF_MAP):
        return SpecError(path.removesuffix(_OF_MAP), f"each value in it must be {expected}")
    return SpecError(path, f"it must be {expected}{_shown(raw, path)}")


def _joined(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


@functools.cache
def _root() -> inspect.Type:
    return inspect.type_info(Spec)


def _type_of(path: str) -> inspect.Type:
    """The type of the field at a path such as `chatserver.env[0].name`."""
    kind = _root()
    for step in _STEP.finditer(path):
        match _plain(kind):
            case inspect.StructType(fields=fields):
                kind = next(one.type for one in fields if one.encode_name == step["field"])
            case inspect.VarTupleType(item_type=item):
                kind = item
            case inspect.DictType(value_type=value):
                kind = value
    return _without_none(kind)


def _without_none(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.UnionType):
        return next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    return kind


def _plain(kind: inspect.Type) -> inspect.Type:
    """The same without what describes it."""
    kind = _without_none(kind)
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _expected(kind: inspect.Type) -> str:
    """What a value of the type is, as the end of "it must be"."""
    match kind:
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            expected = description
        case inspect.IntType(ge=least, le=most):
            expected = f"a whole number from {least} to {most}"
        case inspect.LiteralType(values=values):
            expected = f"one of {', '.join(map(str, values))}"
        case inspect.BoolType():
            expected = "true or false"
        case inspect.StrType(max_length=most):
            expected = f"text of at most {most} characters"
        case inspect.VarTupleType(min_length=least, max_length=most):
            expected = f"a list of {least} to {most} entries" if least else f"a list of at most {most} entries"
        case inspect.DictType(max_length=int(most)):
            expected = f"an object with at most {most} fields"
        case _:
            expected = "an object"
    return expected


def _shown(raw: Any, path: str) -> str:
    """The value, where it is short and should be a number or a word. Other texts may be secrets."""
    if not isinstance(_plain(_type_of(path)), inspect.IntType | inspect.LiteralType | inspect.BoolType):
        return ""
    value = raw
    for step in _STEP.finditer(path):
        value = value[int(step["entry"])] if step["entry"] else value[step["field"]]
    shown = repr(value)
    return f", not {shown}" if len(shown) <= SHOWN_MAX else ""
