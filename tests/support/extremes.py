"""The largest, deepest and strangest values that a schema accepts, each in an object that has little else."""

from __future__ import annotations

import functools
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

Case = tuple[str, Any]
"""Path of a field with what is extreme there, and the value of what the path begins at."""

STRANGE = (
    "\u202e\x1b[2J\x00\u2028\ufeff\U0001f469\u200d\U0001f469",
    "null",
    "~",
    "{{ .Values.x }}\n---\n$(HOME) ${HOME} %s `id`",
    "",
    "0",
    "-",
    "0x1F",
    "1e9999",
    "true",
    "::",
    "0.0.0.0/0",
    "::/999",
    "https://[::]",
    "https://\u202e",
    "a.b/c",
    "1Pi",
)
"""Tried wherever a string is; most patterns take some of them."""

REPEATED = (
    "\U0001f469",
    "a",
    "A",
    "9",
    "f",
    "a.",
    "a/",
    "1",
    "https://" + "a" * 400,
    "a/" * 9 + "a" * 400,
    "1" * 9 + "Pi",
)
"""Longest strings are made from these."""

STORED_BYTES_MAX = 1_300_000
"""Of an object: etcd takes no more than 1.5 MB."""

WORDS = (
    "/a",
    "0 1 * * 0",
    "2026-11-30T10:15:00Z",
    "Honor",
    "Exists",
    "NoSchedule",
    "In",
    "255.255.255.255/32",
    "A",
    "a",
    "1Gi",
)

QUANTITIES = (
    *(2_147_483_647, 0, -1, "0", "1e9999", "1e99", "9" * 40, "1n", "0.0000000000000000000001"),
    *("9223372036854775807Ei", ".5", "+1", "-5m", "1E", "\u0661"),
)


def extremes(schema: Schema, path: str = "") -> Iterator[Case]:
    """Each extreme value at and below a schema, inside the least that holds it."""
    for what, value in _own(schema):
        yield f"{path}: {what}", value
    for name, child in schema.get("properties", {}).items():
        for where, value in extremes(child, f"{path}.{name}" if path else name):
            yield where, {**least(schema), name: value}
    if "items" in schema:
        for where, value in extremes(schema["items"], f"{path}[]"):
            yield where, [value]
    if isinstance(schema.get("additionalProperties"), dict):
        for where, value in extremes(schema["additionalProperties"], f"{path}{{}}"):
            yield where, {"a": value}


def least(schema: Schema) -> Any:
    """The smallest value that a schema accepts; of an object what it requires."""
    if "properties" in schema:
        return {name: least(schema["properties"][name]) for name in schema.get("required", ())}
    if schema.get("type") == "array":
        return [least(schema["items"])] * schema.get("minItems", 0)
    if schema.get("type") == "integer":
        return schema.get("minimum", 0)
    if schema.get("type") == "string":
        return next(iter(schema.get("enum") or _matching(schema)))
    return {} if schema.get("type") == "object" else schema.get("type") == "boolean"


def fullest(schema: Schema, number: int = 0, entries: int = 1_000) -> Any:
    """Every field at its largest, and lists and maps with so many entries at the most.

    Args:
        schema: Of the value.
        number: Makes the entries of a list different.
        entries: Of each list and map.
    """
    if "properties" in schema:
        return {name: fullest(child, number, entries) for name, child in schema["properties"].items()}
    if schema.get("type") == "array":
        count = min(schema.get("maxItems", 1), entries)
        return [fullest(schema["items"], n, entries) for n in range(count)]
    if isinstance(schema.get("additionalProperties"), dict):
        count = min(schema.get("maxProperties", 1), entries)
        return {f"a{n}": fullest(schema["additionalProperties"], n, entries) for n in range(count)}
    if schema.get("type") == "integer":
        return schema.get("maximum", 0)
    if schema.get("type") == "string":
        found = schema.get("enum") or _longest(schema, number)
        return found[0]
    return True if schema.get("type") == "boolean" else "1"


def _own(schema: Schema) -> Iterator[Case]:
    kind = schema.get("type")
    if "enum" in schema:
        yield from ((value, value) for value in schema["enum"])
    elif kind == "integer":
        yield from (
            (str(value), value) for value in (schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1))
        )
    elif kind == "boolean":
        yield from ((str(value), value) for value in (True, False))
    elif kind == "string":
        yield from (("longest", value) for value in _longest(schema)[:1])
        yield from ((f"strange {value!r}", value) for value in _matching(schema)[:4])
    elif kind == "array":
        most = fullest(schema)
        if len(json.dumps(most)) < STORED_BYTES_MAX:
            yield "most entries", most
        yield "some entries", fullest(schema, entries=4)
    elif "additionalProperties" in schema:
        yield "most entries", fullest(schema)
    elif "properties" in schema:
        yield "everything, two of each", fullest(schema, entries=2)
    else:
        yield from ((f"quantity {value!r:.40}", value) for value in QUANTITIES)


def _bounds(schema: Schema) -> tuple[str, int, int]:
    return schema.get("pattern", ""), schema.get("minLength", 0), schema.get("maxLength", 64)


@functools.cache
def _fits(pattern: str, least_length: int, most: int, text: str) -> bool:
    if not least_length <= len(text) <= most:
        return False
    # Go's $ is the end of the text alone.
    return re.search(pattern.replace("$", r"\Z"), text) is not None


def _matching(schema: Schema) -> list[str]:
    bounds = _bounds(schema)
    made = [text for text in STRANGE if _fits(*bounds, text)]
    return made or [text for text in (*REPEATED, *WORDS) if _fits(*bounds, text)] or _longest(schema)


def _longest(schema: Schema, number: int = 0) -> list[str]:
    """The longest strings that match, the longest first; of each number another one."""
    return _longest_of(*_bounds(schema), number)


@functools.cache
def _longest_of(pattern: str, least_length: int, length: int, number: int) -> list[str]:
    ending = f"{number:04}" if number else ""
    made = {
        text
        for one, shorter in itertools.product(REPEATED, (0, 1, 2, length // 2))
        for room in (length - shorter - len(ending),)
        for text in ((one * length)[: max(0, room)] + ending,)
        if _fits(pattern, least_length, length, text)
    }
    found = sorted(made, key=len, reverse=True)
    return found or [text for text in WORDS if _fits(pattern, least_length, length, text)]


def merged(base: Any, over: Any) -> Any:
    """One object laid over another."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{name: merged(base[name], value) if name in base else value for name, value in over.items()}}


def without(schema: Schema, paths: Mapping[str, frozenset[str]], path: str = "") -> Schema:
    """The schema without what is below some fields but for these.

    Args:
        schema: The whole.
        paths: By a field's path, the names below it that stay.
        path: Of the schema.
    """
    if "properties" not in schema:
        return schema
    kept = paths.get(path)
    return {
        **schema,
        "properties": {
            name: without(child, paths, f"{path}.{name}" if path else name)
            for name, child in schema["properties"].items()
            if kept is None or name in kept
        },
    }


ALONE: Mapping[str, frozenset[str]] = {
    f"{part}.podTemplate": frozenset({"labels", "priorityClassName"})
    for part in ("ingress", "database", "chatserver.migration")
}
"""Of four pod templates that are alike, one is tried with all of its fields."""
