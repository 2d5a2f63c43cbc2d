"""docs/protocol.md says what the code does: codes, frames, close codes, routes, limits and every example."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from sanic import Sanic

from chatserver import bounds, emojis, errors, model, protocol
from chatserver.accounts import code_limits
from chatserver.accounts.device_limit import DEVICES_OF_A_USER
from chatserver.events import EVENTS
from chatserver.fanout.polling import POLLS_OF_A_USER
from chatserver.group_fields import GroupFields
from chatserver.http.context import App
from chatserver.http.parsing import Body
from chatserver.http.routes import (
    auth,
    changes,
    chats,
    devices,
    groups,
    invites,
    messages,
    own_chats,
    privacy,
    receipts,
    users,
)
from chatserver.limits import rates
from chatserver.messaging import changes as change_services
from chatserver.messaging import chats as chat_services
from chatserver.messaging import feed, group_views, rendering, row_views, sync
from chatserver.messaging import invites as invites_service
from chatserver.metrics import Metrics
from chatserver.routes import MAX_BODY_BYTES, make_app
from chatserver.settings import read_settings
from chatserver.socket.session import Close, Reply, SocketSession
from chatserver.storage.message_info import MemberTimes
from chatserver.users import blocks as block_services
from chatserver.users.phone_numbers import check_phone_number
from chatserver.users.viewers import view_members
from chatserver.wiring import make_context

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")

BODIES: dict[str, type[Body]] = {
    "POST /api/auth/code": auth.CodeBody,
    "POST /api/auth/session": auth.SessionBody,
    "POST /api/messages": messages.MessageBody,
    "POST /api/receipts": receipts.ReceiptsBody,
    "POST /api/groups": groups.GroupBody,
    "PATCH /api/groups/{group_id}": groups.RenameBody,
    "PUT /api/groups/{group_id}/members/{user_id}/role": groups.RoleBody,
    "POST /api/groups/{group_id}/invites": invites.InviteBody,
    "POST /api/invites/preview": invites.InviteCodeBody,
    "POST /api/invites/join": invites.InviteCodeBody,
    "PATCH /api/users/me": users.ProfileBody,
    "POST /api/users/lookup": users.LookupBody,
    "PUT /api/users/me/phone_number": users.NumberBody,
    "PUT /api/users/me/pin": users.PinBody,
    "PATCH /api/users/me/privacy": privacy.PrivacyBody,
    "PATCH /api/chats/{chat_id}/messages/{seq}": changes.EditBody,
    "PATCH /api/chats/{chat_id}": own_chats.SettingsBody,
    "POST /api/chats/{chat_id}/clear": own_chats.ClearBody,
    "PUT /api/chats/{chat_id}/timer": chats.TimerBody,
}
MEMBER = model.Member(1, "ana", "admin", 0, 0)
SENT = model.SentMessage(message_id=1, chat_id=1, seq=1, client_id="", created_at_us=0, duplicate=False)
CHAT = model.Chat(1, "direct", None, 1, 0, None, 0, left=False, member_count=1, members=(MEMBER,))
GROUP = model.GroupInfo(1, 1, GroupFields(""), 1, 0, (MEMBER,), 1)
SETTINGS = read_settings({"CHAT_DATABASE_DSN": "postgresql://nowhere", "CHAT_SECRET_KEY": "a key that only tests use"})


def section(title: str) -> str:
    """Return the text under a heading, up to the next heading."""
    (found,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the table with a header."""
    lines = text.splitlines()
    start = lines.index(header) + 2
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")])
    return found


def fences() -> list[tuple[str, str]]:
    """Return (what it shows, content) of each fenced block of JSON."""
    return re.findall(r"^```json ?(.*?)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def fence(shows: str) -> str:
    (content,) = [content for title, content in fences() if title == shows]
    return content


def frames(shows: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in fence(shows).splitlines()]


def names(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def tagged(kinds: tuple[Any, ...]) -> dict[str, Any]:
    return {kind.__struct_config__.tag: kind for kind in kinds}


CLIENT_FRAMES = tagged(get_args(protocol.ClientFrame))
SERVER_FRAMES = tagged(
    tuple(
        kind
        for kind in vars(protocol).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__struct_config__.tag
        and kind not in get_args(protocol.ClientFrame)
        and kind is not protocol.Frame
    )
)


def error_classes(kind: type[errors.ChatError] = errors.ChatError) -> Iterator[type[errors.ChatError]]:
    for child in kind.__subclasses__():
        yield child
        yield from error_classes(child)


def test_the_error_table_is_the_catalogue() -> None:
    table = [
        (int(status), code.strip("`"), retry)
        for status, code, _, retry in rows(section("Errors"), "| status | code | meaning | retry |")
    ]
    assert len({code for _, code, _ in table}) == len(table)
    catalogue = {(kind.status, kind.code, "yes" if kind.retryable else "no") for kind in error_classes()}
    assert set(table) == catalogue


def test_every_code_is_in_the_catalogues_module() -> None:
    assert {kind.code for kind in error_classes()} == {
        kind.code for kind in error_classes() if kind.__module__ == errors.__name__
    }


def test_the_codes_of_frames_alone_are_those_that_a_session_gives() -> None:
    send = frames("client-frames")[0]
    session = SocketSession(max_in_flight=0)
    given = set()
    for data in ("{", "{}", b"{}", json.dumps(send), json.dumps({**send, "chat_id": 1}), json.dumps({"type": "no"})):
        (action,) = session.receive(data, 0.0)
        assert isinstance(action, Reply)
        assert isinstance(action.frame, protocol.Error)
        given.add((action.frame.code, "yes" if action.frame.retry_after_seconds else "no"))
    table = rows(section("Frames you get"), "| frame code | meaning | retry |")
    assert {(code.strip("`"), retry) for code, _, retry in table} == given


@pytest.mark.parametrize(
    ("title", "kinds", "more"),
    [("Frames you send", CLIENT_FRAMES, set()), ("Frames you get", SERVER_FRAMES, {"event"})],
)
def test_the_frame_tables_are_the_protocols_frames(title: str, kinds: dict[str, Any], more: set[str]) -> None:
    table = rows(section(title), "| frame | fields | |")
    assert [len(cells) for cells in table] == [3] * len(table)
    assert {frame.strip("`") for frame, _, _ in table} == set(kinds) | more
    for frame, listed, _ in table:
        kind = kinds.get(frame.strip("`"))
        if kind is not None:
            # In brackets are explanations.
            said = names(re.sub(r"\(.*?\)", "", listed))
            assert said == set(kind.__struct_encode_fields__), frame


def test_the_clients_example_frames_are_read_by_the_decoder_and_use_every_frame() -> None:
    examples = frames("client-frames")
    for example in examples:
        decoded = protocol.decode_client_frame(json.dumps(example))
        # The decoder ignores what it does not know; an example must not need that.
        assert set(example) - {"type"} <= set(type(decoded).__struct_encode_fields__)
        (action,) = SocketSession().receive(json.dumps(example), 0.0)
        assert not isinstance(action, Close)
        assert not (isinstance(action, Reply) and isinstance(action.frame, protocol.Error)), example
    assert {example["type"] for example in examples} == set(CLIENT_FRAMES)


def test_the_servers_example_frames_are_what_the_server_encodes() -> None:
    examples = frames("server-frames")
    for example in examples:
        if example["type"] == "event":
            assert example == json.loads(row_views.frame_of_row(member_event()))
        elif example["type"] == "message":
            assert_same_shape(example["message"], row_view(), row_views.RowView)
            assert set(example) == {"type", "message"}
        else:
            kind = SERVER_FRAMES[example["type"]]
            decoded = msgspec.json.decode(json.dumps(example), type=kind)
            assert json.loads(protocol.encode_frame(decoded)) == example
    assert {example["type"] for example in examples} == set(SERVER_FRAMES) | {"event"}
    (synced,) = [example for example in examples if example["type"] == "synced"]
    assert [set(chat) for chat in synced["chats"]] == [{"chat_id", "last_seq", "members"}]
    assert [set(member) for chat in synced["chats"] for member in chat["members"]] == [
        set(view_members([MEMBER], MEMBER.user_id)[0])
    ]


def member_event() -> model.MessageRow:
    return message_row(
        chat_id=15, seq=41, kind="member", text=None, detail={"action": "added", "user_ids": [7]}, at_us=AT_US
    )


AT_US = 1_795_377_660_000_000


def message_row(
    *, chat_id: int, seq: int, kind: model.EventKind, text: str | None, detail: dict[str, Any] | None, at_us: int
) -> model.MessageRow:
    return model.MessageRow(
        chat_id, seq, kind, None, 1, 1, "ana", None, text, "text", None, None, detail, at_us, "sent", "id"
    )


def row_view() -> dict[str, Any]:
    row = message_row(chat_id=1, seq=1, kind="message", text="x", detail=None, at_us=0)
    view: dict[str, Any] = json.loads(msgspec.json.encode(row_views.view_row(row)))
    return view


def assert_same_shape(example: dict[str, Any], real: dict[str, Any], kind: Any = None) -> None:
    assert list(example) == list(real)
    if kind is not None:
        msgspec.convert(example, kind)
    else:
        assert {key: type(value) for key, value in example.items() if real[key] is not None and value is not None} == {
            key: type(value) for key, value in real.items() if value is not None and example[key] is not None
        }


def test_the_table_of_details_is_the_table_of_events() -> None:
    table = rows(section("Details of events"), "| `detail.event` | members beside `event` |")
    listed = [(event, names(members)) for events, members in table for event in re.findall(r"`([a-z_.]+)`", events)]
    assert listed == [(event, set(kind.__struct_fields__)) for event, kind in EVENTS.items()]


def test_every_block_of_json_is_compared_with_the_code() -> None:
    compared = {
        "client-frames",
        "server-frames",
        "problem",
        "answer GET /api/messages",
        "answer POST /api/messages",
        "answer GET /api/chats/{chat_id}",
        "answer GET /api/chats/{chat_id}/messages/{seq}/info",
        "answer POST /api/groups",
        "request POST /api/invites/join",
        "answer POST /api/users/lookup",
        "request POST /api/messages",
        "request POST /api/receipts",
        "request POST /api/users/lookup",
    }
    shown = [title for title, _ in fences()]
    assert sorted(shown) == sorted(compared)


@pytest.mark.parametrize("title", [title for title, _ in fences() if title.startswith("request ")])
def test_example_requests_are_taken(title: str) -> None:
    msgspec.json.decode(fence(title), type=BODIES[title.removeprefix("request ")])


@pytest.mark.parametrize(
    ("title", "real"),
    [
        ("answer POST /api/messages", rendering.view_sent(SENT)),
        ("answer GET /api/chats/{chat_id}", rendering.view_chat(CHAT, MEMBER.user_id)),
        ("answer POST /api/groups", group_views.view_group(GROUP, MEMBER.user_id)),
    ],
)
def test_example_answers_have_the_shape_of_real_ones(title: str, real: dict[str, Any]) -> None:
    example = json.loads(fence(title))
    assert_same_shape(example, json.loads(msgspec.json.encode(real)))
    for member in example.get("members", []):
        assert list(member) == list(view_members([MEMBER], MEMBER.user_id)[0])


def test_the_example_of_a_messages_info_has_the_shape_of_a_real_one() -> None:
    ((name, (member,)),) = json.loads(fence("answer GET /api/chats/{chat_id}/messages/{seq}/info")).items()
    assert name in chats.InfoAnswer.__annotations__
    assert_same_shape(member, dict(rendering.view_times(MemberTimes(1))))


def test_the_example_of_a_look_up_answers_its_request() -> None:
    sent, found = (
        json.loads(fence("request POST /api/users/lookup")),
        json.loads(fence("answer POST /api/users/lookup")),
    )
    msgspec.convert(found, users.LookupView)
    assert [len(found[kind]) for kind in ("phone_numbers", "usernames")] == [
        len(sent[kind]) for kind in ("phone_numbers", "usernames")
    ]
    for error in found["errors"]:
        with pytest.raises(errors.ValidationFailed, match=re.escape(error["message"])):
            check_phone_number(sent["phone_numbers"][1], error["path"])


def test_the_example_of_a_poll_has_the_shape_of_a_row() -> None:
    (row,) = json.loads(fence("answer GET /api/messages"))
    assert_same_shape(row, row_view(), row_views.RowView)


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    """The app with all routes, neither started nor connected."""
    made = make_app(make_context(SETTINGS, Metrics()))
    yield made
    Sanic.unregister_app(made)


def documented_calls() -> set[tuple[str, str]]:
    return {
        (method, path.partition("?")[0])
        for method, path in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[^\s`]*)", TEXT)
        if path != "/api/chats/{chat_id}/messages?after=<have>"
    }


def routed_calls(app: App) -> set[tuple[str, str]]:
    return {
        (method, "/" + re.sub(r"<(\w+):str>", r"{\1}", route.path))
        for route in app.router.routes
        for method in route.methods
        if method != "HEAD"  # of /livez and /readyz: the same as GET
    }


def test_every_route_is_documented_and_every_documented_call_is_routed(app: App) -> None:
    assert documented_calls() == routed_calls(app)


def test_the_documented_bodies_have_the_fields_that_are_read() -> None:
    table = re.findall(r"`((?:POST|PUT|PATCH) /[^`]*)` `\{([^`]*)\}`", TEXT)
    assert len(table) >= 6
    for call, listed in table:
        body = BODIES[call]
        required = {field.name for field in msgspec.structs.fields(body) if field.required}
        said = [field.strip() for field in listed.split(",")]
        assert {field for field in said if not field.endswith("?")} == required, call
        assert {field.rstrip("?") for field in said} == set(body.__struct_encode_fields__), call
    told = {name for listed, _ in rows(section("Send"), "| field | |") for name in names(listed)}
    assert told == set(messages.MessageBody.__struct_encode_fields__)


def test_the_close_codes_are_the_constants() -> None:
    constants = {value for name, value in vars(protocol).items() if name.startswith("CLOSE_")}
    table = rows(TEXT, "| close code | why | then |")
    assert {int(code) for code, _, _ in table if code.isdigit()} == constants
    assert sum(not code.isdigit() for code, _, _ in table) == 1


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("| body of a request; frame to the server | {} bytes", MAX_BODY_BYTES),
        ("| body of a request; frame to the server | {} bytes", protocol.MAX_FRAME_BYTES),
        ("| text of a message | {} characters |", bounds.TEXT_MAX_CHARS),
        ("up to {} characters; needed when `type` is `text`", bounds.TEXT_MAX_CHARS),
        ("URL of up to {} characters", bounds.URL_MAX_CHARS),
        ("| username; name of a group or device | {};", bounds.USERNAME_MAX_CHARS),
        ("name of a group or device | 50; {} characters |", bounds.NAME_MAX_CHARS),
        ("| what users say about themselves | {} characters |", bounds.ABOUT_MAX_CHARS),
        ("`about`, up to {} characters", bounds.ABOUT_MAX_CHARS),
        ("| members of a group | {} |", bounds.GROUP_MEMBERS_MAX),
        ("| valid invites of a group | {} |", invites_service.INVITES_MAX),
        ("A group has at most {} valid invites.", invites_service.INVITES_MAX),
        ("tries in an hour; users at one address | {};", rates.INVITES_PER_USER),
        ("users at one address | 60; {} (429) |", rates.INVITES_PER_ADDRESS),
        ("`expires_in` is in seconds, from {} to", bounds.INVITE_SECONDS_LEAST),
        ("from 60 to {} (a year;", bounds.INVITE_SECONDS_MOST),
        ("(a year; default {}, a week)", invites_service.DEFAULT_SECONDS),
        ("`max_uses` (up to {})", bounds.INVITE_USES_MAX),
        ("| description of a group | {} characters |", bounds.DESCRIPTION_MAX_CHARS),
        ("| sends and syncs of one connection in flight | {} |", protocol.MAX_IN_FLIGHT),
        ("users in one `subscribe` | {};", protocol.MAX_SYNC_CHATS),
        ("users in one `subscribe` | {};", receipts.MAX_CHATS),
        ("users in one `subscribe` | 5,000; {} |", protocol.MAX_SUBSCRIBED_USERS),
        ("Up to {} chats a call", receipts.MAX_CHATS),
        ("from one address while nobody uses them; for one address | {};", SETTINGS.codes_per_number_per_hour),
        ("for one address | 5; {} (429) |", SETTINGS.codes_per_address_per_hour),
        ("calls with one token, in a minute | {};", SETTINGS.messages_per_user_per_minute),
        ("in a day: from one address; from all | {};", code_limits.WRONG_TRIES_PER_DAY),
        ("from all | 10; {} (429) |", code_limits.NUMBER_WRONG_TRIES_PER_DAY),
        ("in a minute | 600; {} (429) |", SETTINGS.requests_per_device_per_minute),
        ("by one user; from one address | {};", SETTINGS.numbers_per_user_per_day),
        ("from one address | 5,000; {} (429) |", SETTINGS.numbers_per_address_per_day),
        ("A user may look up {} numbers a day", SETTINGS.numbers_per_user_per_day),
        ("all users of one address {};", SETTINGS.numbers_per_address_per_day),
        ("| users of each kind in one `POST /api/users/lookup` | {} |", bounds.LOOKUP_MAX),
        ("and a user has {} a day (429)", rates.EXPORTS_PER_USER_PER_DAY),
        ("| exports of one user in a day | {} (429)", rates.EXPORTS_PER_USER_PER_DAY),
        ("many-users), up to {} of each kind", bounds.LOOKUP_MAX),
        ("and {} for each row | 20,971,520 (429)", rates.ROW_BYTES),
        ("for each row | {} (429) |", SETTINGS.stored_bytes_per_user_per_hour),
        ("or {} s after it, then 60 s", code_limits.RESEND_SECONDS),
        ("The server pings a client that was silent for {} s", protocol.PING_SECONDS),
        ("or {} frames in a row were refused", protocol.MAX_REFUSALS),
        ("you sent more than {} frames at once", protocol.MAX_FRAMES_AT_ONCE),
        ("frames at once, or more than {} a second", protocol.MAX_FRAMES_PER_SECOND),
        ("the code is valid for {} s", code_limits.CODE_SECONDS),
        ("The token is valid for {} days", SETTINGS.session_days),
        ("`{{ticket, expires_in}}`, one use, {} s)", devices.TICKET_SECONDS),
        ("`wait=30` (up to {})", messages.MAX_WAIT_SECONDS),
        ("`limit` 1 to {} rows (default 100)", feed.PAGE_ROWS_MAX),
        ("`limit` 1 to 1,000 rows (default {})", messages.DEFAULT_LIMIT),
        ("`limit` up to {} (default 50); pass `next_cursor`", chat_services.LIST_MAX),
        ("`limit` up to 200 (default {}); pass `next_cursor`", chats.DEFAULT_LIMIT),
        ("within {} minutes (then 403 `edit_too_late`)", change_services.EDIT_SECONDS // 60),
        ("sent more than {} minutes ago", change_services.EDIT_SECONDS // 60),
        ("percent-encoded UTF-8, up to {} code points", emojis.MAX_CHARS),
        ("`limit` up to {} (default 50). The header `X-More`", chat_services.HISTORY_MAX),
        ("the users you have blocked, at most {} users", block_services.BLOCKS_MAX),
        ("`synced.chats` are the {} most recently active", sync.SYNC_CHATS_MAX),
        ("Their `members` are at most {} in all", sync.SYNC_MEMBERS_MAX),
        ("| signed-in devices of one user; long polls of one user that wait on one server | {} (", DEVICES_OF_A_USER),
        ("(the one used longest ago is signed out); {} (429) |", POLLS_OF_A_USER),
    ],
)
def test_the_numbers_are_those_of_the_code(sentence: str, value: int) -> None:
    assert sentence.format(f"{value:,}") in " ".join(TEXT.split())


def test_the_types_of_a_message_are_the_same_on_both_roads() -> None:
    on_rest = get_args(model.MessageType)
    on_socket = msgspec.json.schema(protocol.Send)["$defs"]["Send"]["properties"]["message_type"]["enum"]
    assert sorted(on_socket) == sorted(on_rest)
    (said,) = [text for field, text in rows(section("Send"), "| field | |") if field == "`type`"]
    assert names(said) == set(on_rest)
