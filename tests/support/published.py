"""The limits that a server publishes of what it takes, read out of its OpenAPI and AsyncAPI documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from chatserver.apidocs.asyncapi import make_asyncapi
from chatserver.apidocs.openapi import make_openapi
from chatserver.routes import CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = ("maxLength", "maximum", "maxItems", "maxProperties")
LEAST = ("minLength", "minimum")


@dataclass(frozen=True)
class Limit:
    """One bound of one field.

    Attributes:
        call: `POST /api/messages`, or `frame send`.
        place: `body`, `query`, `path` or `frame`.
        field: names down to it; `[]` is an element of a list, `*` a value of a map.
        keyword: JSON Schema's.
        value: the bound; what is equal to it is taken.
    """

    call: str
    place: str
    field: tuple[str, ...]
    keyword: str
    value: int

    def __str__(self) -> str:
        return f"{self.call} {self.place} {'.'.join(self.field)} {self.keyword}"

    @property
    def is_most(self) -> bool:
        """Whether more is refused, and not less."""
        return self.keyword in MOST


def published() -> list[Limit]:
    """Return all limits, of calls and of frames that clients send."""
    return [*_of_calls(), *_of_frames()]


def _of_calls() -> Iterator[Limit]:
    document = _plain(make_openapi(CALLS))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            call = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                yield from _of_schema(document, parameter["schema"], call, parameter["in"], (parameter["name"],))
            content = operation.get("requestBody", {}).get("content", {})
            if content:
                yield from _of_schema(document, content["application/json"]["schema"], call, "body", ())


def _of_frames() -> Iterator[Limit]:
    document = _plain(make_asyncapi())
    for name in sorted({"Send", "Delivered", "Read", "Typing", "Sync", "Subscribe", "Ping"}):
        schema = document["components"]["schemas"][name]
        yield from _of_schema(document, schema, f"frame {name.lower()}", "frame", ())


def _of_schema(
    document: dict[str, Any], schema: dict[str, Any], call: str, place: str, field: tuple[str, ...]
) -> Iterator[Limit]:
    if "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        yield from _of_schema(document, found, call, place, field)
        return
    for keyword in (*MOST, *LEAST):
        if keyword in schema:
            yield Limit(call, place, field, keyword, schema[keyword])
    for option in schema.get("anyOf", ()):
        if "type" in option or "$ref" in option:
            yield from _of_schema(document, option, call, place, field)
    for name, inner in schema.get("properties", {}).items():
        yield from _of_schema(document, inner, call, place, (*field, name))
    if isinstance(schema.get("items"), dict):
        yield from _of_schema(document, schema["items"], call, place, (*field, "[]"))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _of_schema(document, schema["additionalProperties"], call, place, (*field, "*"))


def _plain(document: object) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return found
