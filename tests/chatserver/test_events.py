"""Each event has one type, in the code, in both published documents and in what is stored."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator

from chatserver.apidocs.asyncapi import make_asyncapi
from chatserver.apidocs.openapi import make_openapi
from chatserver.apidocs.schemas import UNION
from chatserver.events import EVENTS, AnyDetail, EventDetail, kind_of, shown_detail, stored_detail
from chatserver.messaging.row_views import frame_of_row, view_row
from chatserver.model import EventKind, MessageRow
from chatserver.routes import CALLS

MEMBERS: dict[str, Any] = {
    "about": "nobody",
    "archived": True,
    "description": "Ours",
    "device_id": 3,
    "emoji": "👍",
    "fields": ["username"],
    "group_name": "Team",
    "from_seq": 2,
    "groups": "contacts",
    "last_seen": "everyone",
    "marked_unread": False,
    "muted_until": None,
    "picture": "everyone",
    "picture_url": None,
    "pinned_at": "2026-11-22T19:59:38.051402Z",
    "read_receipts": True,
    "role": "admin",
    "seconds": 3600,
    "target_chat_id": 12,
    "up_to_seq": 9,
    "user_ids": [7],
    "who_may_add": "admins",
    "who_may_edit": "everyone",
    "who_may_send": "admins",
}
"""A value of each member of details; members of one name have one type in all of them."""

DOCUMENTS = [msgspec.json.decode(msgspec.json.encode(document)) for document in (make_openapi(CALLS), make_asyncapi())]


def example(event: str) -> EventDetail:
    kind = EVENTS[event]
    return kind(**{field: MEMBERS[field] for field in kind.__struct_fields__ if field != "action"})


def row_of(detail: EventDetail) -> MessageRow:
    return MessageRow(
        chat_id=12,
        seq=4,
        kind=msgspec.convert(kind_of(detail), EventKind),
        target_seq=3,
        message_id=9,
        from_id=1,
        from_name="ana",
        to=None,
        text=None,
        type="text",
        media_url=None,
        reply_to=None,
        # As it comes from the database.
        detail=json.loads(msgspec.json.encode(stored_detail(detail))),
        created_at_us=0,
        status="sent",
        client_id="id",
    )


def test_every_type_is_in_the_union_and_every_kind_of_row_has_one() -> None:
    assert set(EventDetail.__subclasses__()) == set(get_args(AnyDetail))
    assert {kind_of(example(event)) for event in EVENTS} == set(get_args(EventKind)) - {"message"}


@pytest.mark.parametrize("event", EVENTS)
def test_a_stored_event_is_shown_as_its_type(event: str) -> None:
    detail = example(event)
    shown = json.loads(msgspec.json.encode(view_row(row_of(detail))))["detail"]
    assert shown["event"] == event
    assert msgspec.convert(shown, AnyDetail) == detail
    for document in DOCUMENTS:
        schemas = document["components"]["schemas"]
        closed = {name: {**schema, "additionalProperties": False} for name, schema in schemas.items() if name != UNION}
        components = {"schemas": {**closed, UNION: schemas[UNION]}}
        schema = {"$ref": f"#/components/schemas/{UNION}", "components": components}
        Draft202012Validator(schema).validate(shown)
        for name in shown:
            missing = {key: value for key, value in shown.items() if key != name}
            assert not Draft202012Validator(schema).is_valid(missing)


@pytest.mark.parametrize("event", EVENTS)
def test_a_frame_has_the_detail_of_rest_and_its_members_beside_it_as_in_earlier_versions(event: str) -> None:
    row = row_of(example(event))
    frame, shown = json.loads(frame_of_row(row)), json.loads(msgspec.json.encode(view_row(row)))["detail"]
    assert frame["detail"] == shown
    assert frame["type"] == "event"
    assert shown == {"event": event, **{name: frame[name] for name in shown if name != "event"}}


def test_an_event_of_a_later_version_is_passed_on_as_it_is_stored() -> None:
    assert shown_detail("poll", {"action": "ended", "votes": 2}) == {
        "event": "poll.ended",
        "action": "ended",
        "votes": 2,
    }
    assert shown_detail("pin", None) == {"event": "pin"}


def test_no_schema_leaves_open_what_an_object_or_a_text_is() -> None:
    """What generators turn into `Record<string, never>` and `unknown`."""

    def check(node: Any) -> None:
        if isinstance(node, list):
            for child in node:
                check(child)
        elif isinstance(node, dict):
            if node.get("type") == "object":
                assert "properties" in node or "additionalProperties" in node, node
            if "enum" in node:
                assert "type" in node, node
            for child in node.values():
                check(child)

    for document in DOCUMENTS:
        check(document["components"]["schemas"])
        check(document.get("paths"))


def test_a_field_of_a_request_may_be_missing_and_one_of_an_answer_may_not() -> None:
    openapi, _ = DOCUMENTS
    schemas = openapi["components"]["schemas"]
    assert "required" not in schemas["MessageBody"] or schemas["MessageBody"]["required"] == []
    assert set(schemas["RowView"]["required"]) == set(schemas["RowView"]["properties"])
    assert set(schemas["Privacy"]["required"]) == set(schemas["Privacy"]["properties"])
    assert "errors" not in schemas["Problem"]["required"]
