"""What the documents say about a field is what the server checks: nothing it takes is refused by a generated client."""

from __future__ import annotations

import unicodedata
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chatserver import bounds, checks
from chatserver.apidocs.openapi import make_openapi
from chatserver.errors import ChatError, ValidationFailed
from chatserver.http.parsing import Body
from chatserver.http.routes.messages import MessageBody
from chatserver.messaging.groups import _check_member
from chatserver.messaging.validation import check_message
from chatserver.model import SendMessage
from chatserver.protocol import Send
from chatserver.routes import CALLS
from chatserver.users.names import check_name, check_username
from chatserver.users.phone_numbers import check_phone_number

if TYPE_CHECKING:
    from collections.abc import Callable

OPENAPI = msgspec.json.decode(msgspec.json.encode(make_openapi(CALLS)))


def says(kind: Any, value: object) -> bool:
    """Return whether a type's schema takes a value."""
    return bool(Draft202012Validator(msgspec.json.schema(kind)).is_valid(value))


def takes(check: Callable[[str, str], object], value: str) -> bool:
    """Return whether a service takes a text."""
    try:
        check(value, "field")
    except ValidationFailed:
        return False
    return True


TEXTS = (
    st.text(max_size=60)
    | st.text("+0123456789 ().-", max_size=35)
    | st.text("aZ09_.-é中/@\x00\n", max_size=52)
    | st.from_regex(bounds.PHONE_NUMBER)
    | st.from_regex(r"^\w(?:[\w.\-]*\w)?$")
    | st.sampled_from(["https://example.com/", "HTTP://[::1]/a?b#c", "http://ü.example/ü", "👍", "👍🏽", "x" * 51])
)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (bounds.PhoneNumber, check_phone_number),
        (bounds.Username, check_username),
        (bounds.Member, _check_member),
        (bounds.Name, check_name),
        (bounds.Text, checks.check_text),
        (bounds.Url, checks.check_url),
        (bounds.Emoji, checks.check_emoji),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@given(text=TEXTS)
def test_what_the_server_takes_the_schema_takes(kind: Any, check: Callable[[str, str], object], text: str) -> None:
    # What the server composes or trims is documented as it is afterwards.
    text = unicodedata.normalize("NFC", text.strip())
    assert says(kind, text) or not takes(check, text)


@pytest.mark.parametrize(
    ("kind", "check", "wrong"),
    [
        (bounds.PhoneNumber, check_phone_number, ["", "0170 1234567", "+1-800-FLOWERS", "+" + "1" * 64]),
        (bounds.Username, check_username, ["", "a b", ".a", "a-", "@a", "+491", "a/b", "x" * 51]),
        (bounds.Member, _check_member, ["", "+", "+12", "a b", "x" * 51]),
        (bounds.Name, check_name, ["", " ", "\t\n", "a\x00b", "x" * 101]),
        (bounds.Text, checks.check_text, ["\x00", "x" * 65_537]),
        (bounds.Url, checks.check_url, ["", "ftp://a/b", "//a/b", "https://", "http://a b", "http://a/" + "b" * 2040]),
        (bounds.Emoji, checks.check_emoji, ["", "a", "1", ":)", "👍" * 17]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_schema_refuses_what_the_server_refuses(
    kind: Any, check: Callable[[str, str], object], wrong: list[str]
) -> None:
    assert [text for text in wrong if says(kind, text)] == []
    assert [text for text in wrong if takes(check, text)] == []


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "to": st.none() | st.sampled_from(["ben", "+4915112345678", "", "x" * 51]),
    "chat_id": st.none() | st.sampled_from([0, 1, 2**63 - 1, 2**63, 1.5, "1"]),
    "text": st.none() | st.sampled_from(["", "hello", "\x00", 1]),
    "type": st.sampled_from(["text", "image", "sticker"]),
    "media_url": st.none() | st.sampled_from(["https://example.com/a", "cat.jpg"]),
    "client_id": st.none() | st.uuids().map(str) | st.sampled_from(["1", "g" * 36]),
    "reply_to": st.none() | st.sampled_from([0, 1, -1]),
    "timestamp": st.none() | st.sampled_from([0, -1, 1.5, bounds.LAST_SECOND, bounds.LAST_SECOND + 1, True]),
    "unknown": st.just(1),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_message_is_taken_exactly_when_its_schema_takes_it(body: dict[str, Any]) -> None:
    try:
        message = msgspec.json.decode(msgspec.json.encode(body), type=MessageBody)
        check_message(message, 1, new_client_id=lambda: uuid.UUID(int=7))
        taken = True
    except (msgspec.ValidationError, ChatError):
        taken = False
    schema = {"$ref": "#/components/schemas/MessageBody", "components": OPENAPI["components"]}
    assert Draft202012Validator(schema).is_valid(body) == taken


def test_every_text_and_number_of_a_body_has_bounds() -> None:
    def unbounded(schema: dict[str, Any], path: str) -> list[str]:
        found = []
        # A time has one size, however it is written.
        is_time = schema.get("format") == "date-time"
        if schema.get("type") == "string" and not is_time and not schema.keys() & {"enum", "maxLength"}:
            found.append(path)
        if schema.get("type") in {"integer", "number"} and not {"minimum", "maximum"} <= schema.keys():
            found.append(path)
        if schema.get("type") == "array" and "maxItems" not in schema:
            found.append(path)
        if schema.get("additionalProperties", False) and "maxProperties" not in schema:
            found.append(path)
        for name, inner in schema.get("properties", {}).items():
            found += unbounded(inner, f"{path}.{name}")
        for inner in [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]:
            found += unbounded(inner, path) if isinstance(inner, dict) and "required" not in inner else []
        return found

    bodies = [kind.__name__ for kind in Body.__subclasses__()]
    assert len(bodies) > 8
    assert [path for name in bodies for path in unbounded(OPENAPI["components"]["schemas"][name], name)] == []
    assert unbounded({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}}, "x") == ["x.a"]


def test_a_messages_body_is_what_the_service_takes() -> None:
    assert set(MessageBody.__struct_fields__) == set(SendMessage.__struct_fields__)
    assert set(Send.__struct_fields__) == set(SendMessage.__struct_fields__)
