"""The OpenAPI 3.1 document of the REST API, made from the calls as they are declared, their types and the errors."""

from __future__ import annotations

import inspect
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from chatserver import bounds, errors
from chatserver.apidocs.schemas import SCHEMAS, schema_components
from chatserver.errors import (
    BadRequest,
    ChatError,
    Forbidden,
    InternalError,
    RateLimited,
    RequestTimedOut,
    ServiceUnavailable,
    TooLarge,
    Unauthenticated,
    UpgradeRequired,
    ValidationFailed,
)
from chatserver.http.problems import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.http.call import Call, Schema

API_VERSION = "1"
DESCRIPTION = (
    "Ids and seq are whole numbers up to 2^53-1; a greater one in a request, up to 2^63-1, is answered as an id that "
    "does not exist. Times are RFC 3339 in UTC, or Unix seconds. Later versions may add fields, kinds and "
    "codes: ignore unknown ones. docs/protocol.md explains how the calls work together."
)
COOKIE = "__Host-chat"
COOKIE_DESCRIPTION = (
    "The cookie of POST /api/auth/session with `cookie`, whose name ends with the id of the chat. It counts only in "
    "requests from pages of this server or of an allowed origin, and the Authorization header goes first."
)
# Of any request: not valid HTTP, bytes that stop arriving, a body over the limit, a defect.
_OF_EVERY_CALL = (BadRequest, RequestTimedOut, TooLarge, InternalError)
_HEADERS: dict[str, Schema] = {
    "X-Request-Id": {
        "description": "Id of this request in the logs: yours, if it has at most 64 letters, digits and ._:/+=-."
    },
    "X-Chat-Server": {"description": "The chatserver that answered."},
}
_RETRY_AFTER = ("Retry-After", "Seconds to wait before trying again.")
_PROBLEM_HEADERS: dict[type[ChatError], tuple[str, str]] = {
    Unauthenticated: ("WWW-Authenticate", "Bearer: a token is missing or invalid."),
    UpgradeRequired: ("Upgrade", "websocket"),
    RateLimited: _RETRY_AFTER,
    ServiceUnavailable: _RETRY_AFTER,
}


def make_openapi(calls: Iterable[Call]) -> dict[str, Any]:
    """Return the document."""
    calls = tuple(calls)
    bodies = {id(call.body): call.body for call in calls if call.body is not None}
    answers = {id(call.answer): call.answer for call in calls if is_type(call.answer)}
    received, sent, schemas = schema_components([*bodies.values()], [Problem, *answers.values()])
    refs = {**dict(zip(bodies, received, strict=True)), **dict(zip(answers, sent[1:], strict=True))}
    for call in calls:
        if call.body is not None:
            schemas[call.body.__name__] |= call.body.rules
    schemas["Problem"]["properties"]["code"] = {
        "type": "string",
        "enum": [kind.code for kind in catalogue()],
        "description": "\n".join(_describe(kind) for kind in catalogue()),
    }
    paths: dict[str, dict[str, Any]] = {}
    responses: dict[str, Schema] = {}
    for call in calls:
        operation: dict[str, Any] = {
            "operationId": call.operation,
            "summary": call.summary,
            "tags": [_tag(call)],
            "security": _security(call),
            "parameters": [*_path_parameters(call), *_query_parameters(call)],
            "responses": {
                str(status): _answer(call, refs, status) for status in (call.status, call.repeated) if status
            },
        }
        if any(name == "ETag" for name, _ in call.headers):
            operation["responses"]["304"] = {"description": "Unchanged.", "headers": _headers(call.headers)}
        if call.body is not None:
            operation["requestBody"] = {"required": True, "content": _json(refs[id(call.body)])}
        for status, kinds in _by_status(problems_of(call)).items():
            name = "Or".join(kind.__name__ for kind in kinds)
            responses.setdefault(name, _problem(status, kinds))
            operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
        paths.setdefault(call.path, {})[call.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ChatCluster",
            "version": API_VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": dict(sorted(responses.items())),
            "headers": {name: {**header, "schema": {"type": "string"}} for name, header in _HEADERS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of POST /api/auth/session; it belongs to one device of one user.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": COOKIE_DESCRIPTION,
                },
                "ticket": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "The ticket of POST /api/ws-ticket, valid for one WebSocket.",
                },
            },
        },
    }


def is_type(kind: Any) -> bool:
    """Return whether an answer or body of a call is a type, and not a schema or nothing."""
    return kind is not None and not isinstance(kind, dict)


def problems_of(call: Call) -> tuple[type[ChatError], ...]:
    """Return every error that a call can answer: those that it declares, and those that its shape implies."""
    shared: list[type[ChatError]] = list(_OF_EVERY_CALL)
    if call.signed_in:
        shared += (Unauthenticated, Forbidden)
    if call.path.startswith("/api/"):
        shared.append(RateLimited)
    if call.path.startswith("/api/") or call.query:
        shared.append(ValidationFailed)
    if call.database:
        shared.append(ServiceUnavailable)
    return (*shared, *(kind for kind in call.errors if kind not in shared))


def catalogue() -> list[type[ChatError]]:
    """Return the errors of errors.py, one a code, ordered by it."""
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ChatError))
    return sorted((kind for kind in kinds if kind is not ChatError), key=lambda kind: kind.code)


def _describe(kind: type[ChatError]) -> str:
    meaning = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
    return f"- `{kind.code}` ({kind.status}{', retryable' if kind.retryable else ''}): {meaning}."


def _by_status(kinds: Iterable[type[ChatError]]) -> dict[int, list[type[ChatError]]]:
    found: dict[int, list[type[ChatError]]] = {}
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.__name__)):
        found.setdefault(kind.status, []).append(kind)
    return found


def _problem(status: int, kinds: list[type[ChatError]]) -> Schema:
    schema = {
        "$ref": SCHEMAS.format(name="Problem"),
        "properties": {
            "status": {"const": status},
            "code": {"type": "string", "enum": [kind.code for kind in kinds]},
        },
    }
    return {
        "description": "\n".join(_describe(kind) for kind in kinds),
        "headers": _headers(_PROBLEM_HEADERS[kind] for kind in kinds if kind in _PROBLEM_HEADERS),
        "content": {PROBLEM_JSON: {"schema": schema}},
    }


def _answer(call: Call, refs: dict[int, Schema], status: int) -> Schema:
    answer: Schema = {"description": HTTPStatus(status).phrase, "headers": _headers(call.headers)}
    if call.answer is not None:
        schema = refs[id(call.answer)] if is_type(call.answer) else call.answer
        answer["content"] = {call.media: {"schema": schema}}
    return answer


def _headers(more: Iterable[tuple[str, str]]) -> dict[str, Schema]:
    shared = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    return {**shared, **{name: {"description": said, "schema": {"type": "string"}} for name, said in more}}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _security(call: Call) -> list[dict[str, list[str]]]:
    if any(parameter.name == "ticket" for parameter in call.query):
        return [{"token": []}, {"cookie": []}, {"ticket": []}]
    return [{"token": []}, {"cookie": []}] if call.signed_in else []


def _path_parameters(call: Call) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": msgspec.json.schema(call.texts.get(name, bounds.Id)),
        }
        for name in re.findall(r"\{(\w+)\}", call.path)
    ]


def _query_parameters(call: Call) -> list[Schema]:
    return [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            # Empty is the same as missing.
            "allowEmptyValue": True,
            "schema": parameter.schema,
        }
        for parameter in call.query
    ]


def _tag(call: Call) -> str:
    parts = call.path.strip("/").split("/")
    return parts[1] if parts[0] == "api" else "server"
