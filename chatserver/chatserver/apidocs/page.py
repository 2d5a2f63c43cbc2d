"""``/docs``: the API as a page to read, made from the OpenAPI and the AsyncAPI document; it needs no script."""

from __future__ import annotations

import base64
import hashlib
import inspect
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatserver import bounds
from chatserver.apidocs.markup import code, joined, link, page, prose, table, tag
from chatserver.apidocs.openapi import catalogue
from chatserver.http.routes.page import SECURITY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatserver.apidocs.markup import Content, Element

Schema = dict[str, Any]

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    **SECURITY_HEADERS,
    # Nothing is loaded, and nothing runs.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}


def make_docs(openapi: dict[str, Any], asyncapi: dict[str, Any]) -> bytes:
    """Return the page."""
    groups = [(name, list(calls)) for name, calls in groupby(_calls(openapi), key=lambda call: call[2]["tags"][0])]
    schemas = {**asyncapi["components"]["schemas"], **openapi["components"]["schemas"]}
    return page(
        "ChatCluster's API",
        _STYLE,
        tag("a", "Skip to the calls", href="#main", class_="skip"),
        _contents(groups, asyncapi, schemas),
        tag(
            "main",
            tag("h1", "ChatCluster's API"),
            tag("p", openapi["info"]["description"]),
            tag(
                "p",
                "For machines: ",
                link("/openapi.json", "OpenAPI 3.1"),
                ", ",
                link("/asyncapi.json", "AsyncAPI 3.0"),
                ".",
            ),
            *(_group(name, calls, openapi) for name, calls in groups),
            _websocket(asyncapi),
            _errors(),
            _schemas(schemas),
            id="main",
        ),
    )


def _calls(openapi: dict[str, Any]) -> list[tuple[str, str, Schema]]:
    """Return (method, path, operation), those of a tag together."""
    calls = [
        (method.upper(), path, operation)
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
    ]
    order = list(dict.fromkeys(operation["tags"][0] for _, _, operation in calls))
    return sorted(calls, key=lambda call: order.index(call[2]["tags"][0]))


def _contents(groups: list[tuple[str, list[Any]]], asyncapi: dict[str, Any], schemas: dict[str, Schema]) -> Element:
    parts: list[Content] = []
    for name, calls in groups:
        entries = [link(f"#{operation['operationId']}", f"{method} {path}") for method, path, operation in calls]
        parts += [tag("h2", name), _list(entries)]
    frames = [link(f"#frame-{name}", message["name"]) for name, message in asyncapi["components"]["messages"].items()]
    parts += [tag("h2", link("#websocket", "WebSocket")), _list(frames)]
    parts += [tag("h2", link("#errors", "Errors")), tag("h2", link("#schemas", "Schemas"))]
    return tag("nav", *parts, _list([link(f"#schema-{name}", name) for name in sorted(schemas)]), aria_label="Contents")


def _list(entries: list[Element]) -> Element:
    return tag("ul", *(tag("li", entry) for entry in entries))


def _article(anchor: str, title: Content, *content: Content) -> Element:
    return tag("article", tag("h3", link(f"#{anchor}", title)), *content, id=anchor)


def _group(name: str, calls: list[tuple[str, str, Schema]], openapi: dict[str, Any]) -> Element:
    return tag("section", tag("h2", name), *(_call(*call, openapi) for call in calls))


def _call(method: str, path: str, operation: Schema, openapi: dict[str, Any]) -> Element:
    keys = [code(name) for needed in operation["security"] for name in needed]
    content: list[Content] = [
        tag("p", *prose(operation["summary"])),
        tag("p", "Needs ", *joined([[key] for key in keys], " or "), ".") if keys else tag("p", "Needs no token."),
    ]
    if operation["parameters"]:
        rows = [
            [[code(found["name"])], [found["in"]], _type(found["schema"]), [found.get("description", "")]]
            for found in operation["parameters"]
        ]
        content += [
            tag("h4", "Parameters"),
            table(f"Parameters of {method} {path}", ("name", "in", "type", "meaning"), rows),
        ]
    if "requestBody" in operation:
        content += [tag("h4", "Body"), tag("p", *_type(_body(operation["requestBody"])[1]))]
    rows = [[[code(status)], *_answer(given, openapi)] for status, given in operation["responses"].items()]
    content += [
        tag("h4", "Answers"),
        table(f"Answers of {method} {path}", ("status", "body", "meaning", "headers"), rows),
    ]
    return _article(operation["operationId"], code(f"{method} {path}"), *content)


def _body(given: Schema) -> tuple[str, Schema]:
    ((media, content),) = given["content"].items()
    return media, content["schema"]


def _answer(given: Schema, openapi: dict[str, Any]) -> Iterator[list[Content]]:
    """Yield the cells of an answer: its body, what it means, its own headers."""
    if "$ref" in given:
        given = openapi["components"]["responses"][given["$ref"].rpartition("/")[2]]
    media, schema = _body(given) if "content" in given else ("", {})
    problem = "problem" in media
    yield [link("#schema-Problem", "Problem")] if problem else _type(schema) if schema else []
    codes = schema["properties"]["code"]["enum"] if problem else []
    yield joined([[link(f"#error-{name}", code(name))] for name in codes], ", ") if codes else [given["description"]]
    yield joined([[code(name)] for name, header in given["headers"].items() if "$ref" not in header], ", ")


def _websocket(asyncapi: dict[str, Any]) -> Element:
    (channel,) = asyncapi["channels"].values()
    from_client = {
        message["$ref"].rpartition("/")[2]
        for operation in asyncapi["operations"].values()
        if operation["action"] == "receive"
        for message in operation["messages"]
    }
    content: list[Content] = [
        tag("h2", "WebSocket"),
        tag("p", code(channel["address"]), ": ", channel["description"]),
        tag("h3", "Close codes"),
        table(
            "Close codes",
            ("code", "meaning"),
            [[[code(key)], [said]] for key, said in channel["x-close-codes"].items()],
        ),
        tag("h3", "Limits"),
        table(
            "Limits", ("what", "at most"), [[[code(key)], [f"{most:,}"]] for key, most in channel["x-limits"].items()]
        ),
    ]
    for name, message in asyncapi["components"]["messages"].items():
        schema = asyncapi["components"]["schemas"][message["payload"]["$ref"].rpartition("/")[2]]
        sender = "From the client" if name in from_client else "From the server"
        content.append(
            _article(
                f"frame-{name}",
                code(message["name"]),
                tag("p", *prose(f"{sender}. {message['summary']}")),
                _fields(name, schema),
            )
        )
    return tag("section", *content, id="websocket")


def _errors() -> Element:
    rows: list[list[list[Content]]] = [
        [
            [tag("code", kind.code, id=f"error-{kind.code}")],
            [str(kind.status)],
            ["yes" if kind.retryable else "no"],
            prose((inspect.getdoc(kind) or "").partition("\n")[0]),
        ]
        for kind in catalogue()
    ]
    return tag(
        "section",
        tag("h2", "Errors"),
        tag("p", "Retry: whether the very same request can succeed later."),
        table("Errors", ("code", "status", "retry", "meaning"), rows),
        id="errors",
    )


def _schemas(schemas: dict[str, Schema]) -> Element:
    shown = [
        _article(f"schema-{name}", code(name), tag("p", *prose(schema.get("description", ""))), _fields(name, schema))
        for name, schema in sorted(schemas.items())
    ]
    return tag("section", tag("h2", "Schemas"), *shown, id="schemas")


def _fields(name: str, schema: Schema) -> Content:
    """Return a schema's members as a table."""
    if not schema.get("properties"):
        return tag("p", *_type(schema))
    rows: list[list[list[Content]]] = [
        [
            [code(field)],
            ["yes" if field in schema.get("required", ()) else "no"],
            _type(inner),
            prose(_description(inner)),
        ]
        for field, inner in schema["properties"].items()
    ]
    return table(f"Fields of {name}", ("field", "required", "type", "meaning"), rows)


def _description(schema: Schema) -> str:
    said: str = schema.get("description", "")
    return said or next((one["description"] for one in schema.get("anyOf", ()) if "description" in one), "")


_BOUNDS = (
    ("minLength", "maxLength", "characters"),
    ("minimum", "maximum", ""),
    ("minItems", "maxItems", "entries"),
    ("minProperties", "maxProperties", "members"),
)


def _type(schema: Schema) -> list[Content]:
    """Return what a schema takes: its type, bounds, pattern and default, with links to other schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [link(f"#schema-{name}", name)]
    if "anyOf" in schema and "type" not in schema:
        parts = joined([_type(one) for one in schema["anyOf"]], " or ")
    elif "enum" in schema or "const" in schema:
        parts = joined([[code(str(value))] for value in schema.get("enum", [schema.get("const")])], " or ")
    elif schema.get("type") == "array":
        parts = ["list of ", *_type(schema.get("items", {}))]
    elif isinstance(schema.get("additionalProperties"), dict):
        parts = ["object, each member ", *_type(schema["additionalProperties"])]
    else:
        parts = [" or ".join([schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", ["any"]))]
    for least, most, unit in _BOUNDS:
        parts += _bounds(schema.get(least), schema.get(most), unit)
    if "pattern" in schema:
        parts += [", ", code(schema["pattern"])]
    if schema.get("default") is not None:
        parts += [", else ", code(str(schema["default"]).lower())]
    return parts


def _bounds(least: float | None, most: float | None, unit: str) -> list[Content]:
    """Example: from 1 and 50 characters comes ``, 1 to 50 characters``."""
    if most is None:
        return [] if not least else [f", {least:,} {unit} or more".replace("  ", " ")]
    if least == most:
        return [f", {most:,} {unit}".rstrip()]
    powers: dict[float, str] = {bounds.MAX_ID: "2^53-1", bounds.MAX_NUMBER: "2^63-1"}
    known = powers.get(most, f"{most:,}")
    said = f", at most {known}" if not least and unit else f", {least or 0:,} to {known}"
    return [f"{said} {unit}".rstrip()]
