"""Strict reading of bodies and path parameters: 400 for what is not JSON, 422 with the field's path for the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from chatserver import surrogates
from chatserver.bounds import MAX_NUMBER
from chatserver.errors import BadRequest, ValidationFailed
from chatserver.http.sanic_server import ApiResponse

if TYPE_CHECKING:
    from chatserver.http.context import Request

T = TypeVar("T")

_AT = re.compile(r"(?P<message>.*) - at (?:`key` in )?`\$(?P<path>.*)`", re.DOTALL)
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of request bodies.

    Attributes:
        rules: what the schema says beyond each field's own: how fields depend on each other.
    """

    rules: ClassVar[dict[str, Any]] = {}


def _field_error(text: str) -> ValidationFailed:
    """Turn msgspec's sentence into the field's path and what is wrong with it."""
    located = _AT.fullmatch(text)
    message, path = (located["message"], located["path"].lstrip(".")) if located else (text, "")
    named = _NAMED.match(message)
    if named:
        path = f"{path}.{named['name']}" if path else named["name"]
    return ValidationFailed.of(path[:200] or "body", message[:300])


def _not_json(request: Request) -> str:
    coding: str = request.headers.get("content-encoding", "identity")
    if coding.lower() in {"", "identity"}:
        return "The body is not JSON."
    return "The body is not JSON. It has a Content-Encoding, and this server decodes none: send the body as it is."


def read_body(request: Request, kind: type[T]) -> T:
    """Read the JSON body.

    Raises:
        BadRequest: it is empty or no JSON.
        ValidationFailed: a field is unknown, missing or of the wrong type, or has an unpaired surrogate.
    """
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as e:
        raise _field_error(str(e)) from e
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        unpaired = surrogates.find_unpaired(request.body)
        if unpaired is not None:
            raise ValidationFailed.of(unpaired.path, surrogates.MESSAGE) from e
        raise BadRequest(_not_json(request)) from e


def path_id(raw: str, name: str) -> int:
    """Return the number in a path.

    Raises:
        ValidationFailed: it is none.
    """
    value = int(raw) if re.fullmatch(r"[0-9]{1,19}", raw) else 0
    if not 1 <= value <= MAX_NUMBER:
        raise ValidationFailed.of(name, f"must be a whole number from 1 to {MAX_NUMBER}")
    return value


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> ApiResponse:
    """Return a JSON answer."""
    return ApiResponse(msgspec.json.encode(value), status, headers, "application/json")


def no_content() -> ApiResponse:
    """Return 204."""
    return ApiResponse(None, 204)
