"""The published OpenAPI and AsyncAPI documents say what the code does: routes, types, errors and frames."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from sanic import Sanic

from chatserver import errors, protocol
from chatserver.apidocs import asyncapi
from chatserver.apidocs.openapi import make_openapi, problems_of
from chatserver.apidocs.schemas import schema_components
from chatserver.http.parsing import Body
from chatserver.messaging.rendering import SyncedChatView
from chatserver.messaging.row_views import EventFrame, RowView
from chatserver.metrics import Metrics
from chatserver.routes import CALLS, make_app
from chatserver.settings import read_settings
from chatserver.wiring import make_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatserver.http.context import App

SETTINGS = read_settings({"CHAT_DATABASE_DSN": "postgresql://nowhere", "CHAT_SECRET_KEY": "a key that only tests use"})
OPENAPI = msgspec.json.decode(msgspec.json.encode(make_openapi(CALLS)))
ASYNCAPI = msgspec.json.decode(msgspec.json.encode(asyncapi.make_asyncapi()))
OPERATIONS = [
    (method.upper(), path, operation) for path, item in OPENAPI["paths"].items() for method, operation in item.items()
]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    """The app with all routes, neither started nor connected."""
    made = make_app(make_context(SETTINGS, Metrics()))
    yield made
    Sanic.unregister_app(made)


def test_every_route_is_in_the_document_and_every_call_of_the_document_is_routed(app: App) -> None:
    routed = {
        (method, "/" + re.sub(r"<(\w+):str>", r"{\1}", route.path))
        for route in app.router.routes
        for method in route.methods
        if method != "HEAD"  # the same as GET without the body
    }
    assert {(method, path) for method, path, _ in OPERATIONS} == routed


def test_the_document_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(OPENAPI).iter_errors()] == []


def test_the_validator_finds_a_wrong_document() -> None:
    broken = copy.deepcopy(OPENAPI)
    del broken["paths"]["/livez"]["get"]["responses"]["200"]["description"]
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere_and_every_schema_is_one(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference), reference
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_body_that_a_route_reads_is_documented() -> None:
    nested = {"MarkBody"}
    documented = {call.body for call in CALLS if call.body is not None}
    assert {kind.__name__ for kind in Body.__subclasses__()} - nested == {kind.__name__ for kind in documented}
    for call in CALLS:
        operation = OPENAPI["paths"][call.path][call.method.lower()]
        assert ("requestBody" in operation) == (call.body is not None)


def test_a_bodys_schema_is_what_the_decoder_takes() -> None:
    schema = OPENAPI["components"]["schemas"]["MessageBody"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {
        "to",
        "chat_id",
        "text",
        "type",
        "media_url",
        "client_id",
        "reply_to",
        "timestamp",
    }
    assert OPENAPI["components"]["schemas"]["SessionBody"]["required"] == ["phone_number", "code"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS])
def test_a_call_tells_its_problems_headers_and_security(method: str, path: str, operation: dict[str, Any]) -> None:
    (call,) = [call for call in CALLS if (call.method, call.path) == (method, path)]
    assert operation["security"] or not call.signed_in
    documented: set[str] = set()
    for status, given in operation["responses"].items():
        response = resolve(OPENAPI, given["$ref"]) if "$ref" in given else given
        assert {"X-Request-Id", "X-Chat-Server"} <= set(response["headers"])
        assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})
        if int(status) >= 400:
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema["properties"]["status"] == {"const": int(status)}
            documented |= set(schema["properties"]["code"]["enum"])
    assert documented == {kind.code for kind in problems_of(call)}
    assert ("unavailable" in documented) == (path not in {"/livez", "/openapi.json", "/asyncapi.json", "/docs"})
    assert ("unauthenticated" in documented) == call.signed_in


def test_every_code_of_the_catalogue_is_in_the_problems_schema_and_some_call_answers_it() -> None:
    def subclasses(kind: type[errors.ChatError]) -> Iterator[type[errors.ChatError]]:
        for child in kind.__subclasses__():
            yield child
            yield from subclasses(child)

    codes = {kind.code for kind in subclasses(errors.ChatError)}
    said = OPENAPI["components"]["schemas"]["Problem"]["properties"]["code"]
    assert set(said["enum"]) == codes
    assert sorted(re.findall(r"^- `(\w+)`", said["description"], re.MULTILINE)) == sorted(codes)
    answered = {kind.code for call in CALLS for kind in problems_of(call)}
    # No call of the table: an address or a method that does not exist.
    assert codes - answered == {"not_found", "method_not_allowed"}


# Generated clients have functions of these names: they may become more.
OPERATION_IDS = """
requestCode createSession deleteSession listDevices revokeDevice issueTicket getMe patchMe putNumber putPin lookUpUsers
getPrivacy patchPrivacy exportMe deleteMe findUser getUser
sendMessage pollMessages listChats getChat getHistory getMessageInfo editMessage deleteMessage putReaction
removeReaction setChat putTimer clearHistory putStar removeStar listStars
listBlocks putBlock removeBlock postReceipts createGroup renameGroup addMember removeMember putRole
createInvite listInvites revokeInvite previewInvite joinGroup
livez readyz openWebSocket getOpenapi getAsyncapi getDocs
"""


def test_published_operations_keep_their_names() -> None:
    assert {operation["operationId"] for _, _, operation in OPERATIONS} == set(OPERATION_IDS.split())


def test_operations_have_names_of_their_own() -> None:
    assert len({call.operation for call in CALLS}) == len(CALLS)
    assert len({(call.method, call.path) for call in CALLS}) == len(CALLS)


def test_a_call_without_an_entry_is_missed(app: App) -> None:
    """The comparison above can fail: without an entry the route is no longer found in the document."""
    fewer = make_openapi([call for call in CALLS if call.path != "/api/receipts"])
    assert "/api/receipts" not in fewer["paths"]
    assert any(route.path == "api/receipts" for route in app.router.routes)
    moved = make_openapi([dataclasses.replace(call, route="GET /elsewhere") for call in CALLS if call.path == "/livez"])
    assert list(moved["paths"]) == ["/elsewhere"]


def frame_types() -> set[type[Any]]:
    """Return every frame of protocol.py."""
    return {
        kind
        for kind in vars(protocol).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag
    } - {protocol.Frame}


def test_every_frame_is_a_message_of_the_channel() -> None:
    frames = {*asyncapi.CLIENT_FRAMES, *asyncapi.SERVER_FRAMES}
    assert frames == frame_types() | {EventFrame}
    messages = ASYNCAPI["components"]["messages"]
    assert set(messages) == {kind.__name__ for kind in frames}
    (channel,) = ASYNCAPI["channels"].values()
    assert set(channel["messages"]) == set(messages)
    for kind in frames:
        message = messages[kind.__name__]
        assert message["name"] == asyncapi.tag_of(kind)
        assert message["summary"]
        payload = resolve(ASYNCAPI, message["payload"]["$ref"])
        assert payload["properties"]["type"]["enum"] == [message["name"]]


@pytest.mark.parametrize(
    "kind", [*asyncapi.CLIENT_FRAMES, *asyncapi.SERVER_FRAMES], ids=lambda kind: str(kind.__name__)
)
def test_a_frames_payload_is_its_types_schema(kind: type[Any]) -> None:
    received = [kind] if kind in asyncapi.CLIENT_FRAMES else []
    _, _, schemas = schema_components(received, [] if received else [kind])
    expected = schemas[kind.__name__]
    inner: dict[type[Any], tuple[str, Any]] = {
        protocol.Message: ("message", RowView),
        protocol.Synced: ("chats", list[SyncedChatView]),
    }
    if kind in inner:
        field, shape = inner[kind]
        _, (expected["properties"][field],), _ = schema_components([], [shape])
    reference = ASYNCAPI["components"]["messages"][kind.__name__]["payload"]["$ref"]
    assert resolve(ASYNCAPI, reference) == expected


def test_operations_use_the_channels_messages_and_each_frame_has_its_direction() -> None:
    (channel_name,) = ASYNCAPI["channels"]
    sent: set[str] = set()
    received: set[str] = set()
    for operation in ASYNCAPI["operations"].values():
        assert operation["channel"] == {"$ref": f"#/channels/{channel_name}"}
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]:
            assert message["$ref"].startswith(f"#/channels/{channel_name}/messages/")
        names = {message["$ref"].rpartition("/")[2] for message in operation["messages"]}
        (received if operation["action"] == "receive" else sent).update(names)
    assert received == {kind.__name__ for kind in asyncapi.CLIENT_FRAMES}
    assert sent == {kind.__name__ for kind in asyncapi.SERVER_FRAMES}


def test_the_channel_tells_the_address_the_close_codes_and_the_limits() -> None:
    (channel,) = ASYNCAPI["channels"].values()
    assert channel["address"] == asyncapi.PATH
    assert asyncapi.PATH in OPENAPI["paths"]
    assert channel["x-close-codes"] == {
        "1009": "too_large",
        "1012": "restart",
        "4001": "unauthenticated",
        "4003": "forbidden",
        "4008": "pace",
        "4009": "replaced",
    }
    assert (
        channel["x-limits"]["max_sync_chats"]
        == ASYNCAPI["components"]["schemas"]["Sync"]["properties"]["chats"]["maxProperties"]
    )
