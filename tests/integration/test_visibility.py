"""Who sees what of a user: every datum for every viewer, over every call and frame that shows it, on two servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.apidocs.asyncapi import SERVER_FRAMES, make_asyncapi, tag_of
from chatserver.apidocs.openapi import make_openapi
from chatserver.apidocs.schemas import UNION
from chatserver.routes import CALLS
from tests.support.devices import Device, Socket, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

# All look at one user, who is in a group. Columns:
# self     the user, on another device
# shares   is in the group, too
# former   was in it, until an admin removed them
# blocked  is in the group, and has a chat of two with the user, who has blocked them since
# blocker  the same, but they have blocked the user
# stranger has never shared a chat
# number   as a stranger, but names the user by their number
# name     the same, by their username
# Cells: yes, the value; null, hidden; no, nothing comes that could show it. "|" tells of whom a row is: the user has a
# username but where it says "no name".
MATRIX = """
what                                                   self shares former blocked blocker stranger number name
GET /api/users/{user_id} username                      yes  yes    yes    yes     yes     null     null   null
GET /api/users/{user_id} profile_picture_url           yes  yes    null   null    yes     null     null   null
GET /api/users/{user_id} about                         yes  yes    null   null    yes     null     null   null
GET /api/users/{user_id} created_at                    yes  yes    yes    yes     yes     null     null   null
GET /api/users/{user_id} last_seen                     yes  yes    null   null    null    null     null   null
GET /api/users/{user_id} phone_number                  yes  null   null   null    null    null     null   null
GET /api/users/{user_id} phone_number | no name        yes  yes    null   yes     yes     null     null   null
GET /api/users username                                yes  yes    yes    yes     yes     yes      yes    yes
GET /api/users profile_picture_url                     yes  yes    yes    null    yes     yes      yes    yes
GET /api/users about                                   yes  yes    yes    null    yes     yes      yes    yes
GET /api/users created_at                              yes  yes    yes    yes     yes     yes      yes    yes
GET /api/users last_seen                               yes  yes    null   null    null    null     null   null
GET /api/users phone_number                            yes  null   null   null    null    null     yes    null
POST /api/users/lookup username                        yes  yes    yes    yes     yes     yes      yes    yes
POST /api/users/lookup profile_picture_url             yes  yes    yes    null    yes     yes      yes    yes
POST /api/users/lookup about                           yes  yes    yes    null    yes     yes      yes    yes
POST /api/users/lookup created_at                      yes  yes    yes    yes     yes     yes      yes    yes
POST /api/users/lookup last_seen                       yes  yes    null   null    null    null     null   null
POST /api/users/lookup phone_number                    yes  null   null   null    null    null     yes    null
GET /api/chats members                                 yes  yes    no     yes     yes     no       no     no
GET /api/chats/{chat_id} members                       yes  yes    no     yes     yes     no       no     no
GET /api/chats read_seq                                yes  yes    no     null    null    no       no     no
GET /api/chats/{chat_id} read_seq                      yes  yes    no     null    null    no       no     no
GET /api/chats from                                    yes  yes    yes    yes     yes     no       no     no
GET /api/chats/{chat_id} from                          yes  yes    yes    yes     yes     no       no     no
GET /api/chats/{chat_id}/messages from                 yes  yes    yes    yes     yes     no       no     no
GET /api/messages from                                 yes  yes    yes    yes     yes     no       no     no
GET /api/chats/{chat_id}/messages/{seq}/info members   no   yes    no     yes     yes     no       no     no
GET /api/chats/{chat_id}/messages/{seq}/info read_at   no   yes    no     null    null    no       no     no
GET /api/stars from                                    yes  yes    yes    yes     yes     no       no     no
message from                                           yes  yes    no     yes     yes     no       no     no
event by                                               yes  yes    no     yes     yes     no       no     no
synced members                                         yes  yes    no     yes     yes     no       no     no
synced read_seq                                        yes  yes    no     null    null    no       no     no
presence last_seen                                     yes  yes    null   null    null    null     null   null
presence online                                        yes  yes    no     no      no      no       no     no
typing user_id                                         no   yes    no     no      no      no       no     no
receipt read_seq                                       yes  yes    no     no      no      no       no     no
profile username                                       no   yes    no     no      no      no       no     no
profile profile_picture_url                            no   yes    no     no      no      no       no     no
profile about                                          no   yes    no     no      no      no       no     no
profile phone_number                                   no   null   no     no      no      no       no     no
"""
LINES = [re.split(" {2,}", line, maxsplit=1) for line in MATRIX.strip().splitlines()]
VIEWERS = LINES[0][1].split()
TABLE = {row: dict(zip(VIEWERS, cells.split(), strict=True)) for row, cells in LINES[1:]}
# What says something of another user, and what does not, by the name of its field: a new field is put into one of them.
# `delivered_seq` goes with `read_seq`, and `delivered_at` with `read_at`.
TELLING = {
    "about", "by", "from", "last_seen", "members", "online", "phone_number", "profile_picture_url", "read_at",
    "read_seq", "username",
}  # fmt: skip
SILENT = {
    "action", "after_ms", "archived", "at", "chat_id", "chats", "client_id", "code", "conn_id", "created_at",
    "created_by", "deleted_at", "delivered_at", "delivered_seq", "description", "detail", "disappear_after",
    "duplicate", "edited_at", "emoji", "epoch", "errors", "expires_at", "from_id", "group_id", "group_name", "id",
    "invite_id", "invites", "kind", "last_at", "last_message", "last_seq", "left", "limits", "marked_unread",
    "max_uses", "media_url", "member_count", "message", "message_id", "more", "muted_until", "next_changed_since",
    "next_cursor", "path", "phone_numbers", "picture_url", "ping_seconds", "pinned_at", "reactions", "reply_to",
    "retry_after_seconds", "role", "seq", "server", "server_time", "starred_at", "stars", "status", "target_seq",
    "text", "timestamp", "to", "type", "unread", "user_id", "user_ids", "usernames", "users", "uses", "who_may_add",
    "who_may_edit", "who_may_send",
}  # fmt: skip
# About the caller alone; to current members alone, who see in it what they see in GET /api/chats/{chat_id}.
OWN = re.compile(
    "(POST|DELETE) /api/auth|(GET|PATCH|PUT|DELETE) /api/users/me|.* /api/devices|POST /api/ws-ticket"
    "|GET /(livez|readyz)"
)
MEMBERS_ONLY = re.compile(".* /api/groups")


@pytest.fixture(scope="module")
def two(postgres: PostgresCluster, migrated_template: str) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one") as one, ServerProcess(dsn, "two") as other:
        one.wait_ready()
        other.wait_ready()
        yield one, other


class Cast:
    """The user whom all look at, their viewers, and somebody without a username who stands to them in the same way.

    Attributes:
        user: has a username and a picture.
        unnamed: has no username.
        viewers: by the names of the columns.
        group: all but stranger, number and name are or were in it.
        chats: of two, of the user with shares, blocked and blocker.
        written: {viewer: seq of their message in the group}, which the user has read.
    """

    def __init__(self, server: ServerProcess, user: Device, unnamed: Device, viewers: dict[str, Device]) -> None:
        self.server = server
        self.user = user
        self.unnamed = unnamed
        self.viewers = viewers
        self.group = 0
        self.chats: dict[str, int] = {}
        self.written: dict[str, int] = {}

    async def call(self, device: Device, route: str, json: object = None, **query: str) -> Any:
        """Make a call and return the answer's JSON, None when it has none or is refused."""
        method, _, path = route.partition(" ")
        async with httpx.AsyncClient(base_url=self.server.url, timeout=60, verify=NO_TLS, trust_env=False) as http:
            answer = await http.request(method, path, json=json, params=query or None, headers=device.headers)
        return answer.json() if answer.is_success and answer.content else None


async def gather_cast(server: ServerProcess) -> Cast:
    user, unnamed = await sign_in(server, "sue"), await sign_in(server)
    viewers = {name: await sign_in(server, name) for name in VIEWERS[1:]}
    viewers["self"] = await sign_in(server, phone_number=user.phone_number)
    cast = Cast(server, user, unnamed, viewers)
    for subject in (user, unnamed):
        await cast.call(
            subject, "PATCH /api/users/me", {"profile_picture_url": "https://example.com/1.png", "about": "At sea"}
        )
        members = [viewers[name].name for name in ("shares", "former", "blocked", "blocker")]
        group = (await cast.call(subject, "POST /api/groups", {"group_name": "All", "members": members}))["group_id"]
        for name in ("self", "shares", "former", "blocked", "blocker") if subject is user else ():
            said = await cast.call(viewers[name], "POST /api/messages", {"chat_id": group, "text": "mine"})
            cast.written[name] = said["seq"]
        sent = await cast.call(subject, "POST /api/messages", {"chat_id": group, "text": "to all"})
        await cast.call(subject, "POST /api/receipts", {"chats": {str(group): {"read_seq": sent["seq"]}}})
        await cast.call(subject, f"DELETE /api/groups/{group}/members/{viewers['former'].user_id}")
        chats = {
            name: (await cast.call(subject, "POST /api/messages", {"to": name, "text": "to you"}))["chat_id"]
            for name in ("shares", "blocked", "blocker")
        }
        assert await cast.call(subject, f"PUT /api/blocks/{viewers['blocked'].user_id}")
        assert await cast.call(viewers["blocker"], f"PUT /api/blocks/{subject.user_id}")
        if subject is user:
            cast.group, cast.chats = group, chats
    return cast


@pytest.fixture(scope="module")
def cast(two: tuple[ServerProcess, ServerProcess]) -> Cast:
    return asyncio.run(gather_cast(two[0]))


def cell(found: Any) -> str:
    return "null" if found is None else "yes"


def chat_fields(cast: Cast, chat: Any) -> dict[str, str]:
    """Return what a chat shows of the user: as a member of it, and as the sender of its last message."""
    members = {member["user_id"]: member for member in (chat or {}).get("members") or ()}
    member = members.get(cast.user.user_id)
    assert member is None or (member["read_seq"] is None) == (member["delivered_seq"] is None)
    last = (chat or {}).get("last_message") or {}
    return {
        "members": "no" if member is None else "yes",
        "read_seq": "no" if member is None else cell(member["read_seq"]),
        "from": cell(last["from"]) if last.get("from_id") == cast.user.user_id else "no",
    }


def row_fields(cast: Cast, rows: Any) -> dict[str, str]:
    """Return what rows of the group show of the user."""
    theirs = [row for row in rows or () if row["from_id"] == cast.user.user_id and row["chat_id"] == cast.group]
    return {"from": cell(theirs[0]["from"]) if theirs else "no"}


async def info_fields(cast: Cast, viewer: str) -> dict[str, str]:
    """Return what the info of the viewer's message shows of the user."""
    seq = cast.written.get(viewer, 1)
    info = await cast.call(cast.viewers[viewer], f"GET /api/chats/{cast.group}/messages/{seq}/info")
    times = {member["user_id"]: member for member in (info or {}).get("members") or ()}.get(cast.user.user_id)
    assert times is None or (times["read_at"] is None) == (times["delivered_at"] is None)
    return (
        {"members": "no", "read_at": "no"} if times is None else {"members": "yes", "read_at": cell(times["read_at"])}
    )


async def star_fields(cast: Cast, viewer: str) -> dict[str, str]:
    """Return what the viewer's stars show of the user, after starring a message of theirs."""
    device = cast.viewers[viewer]
    rows = await cast.call(device, f"GET /api/chats/{cast.group}/messages") or ()
    for row in [row for row in rows if row["from_id"] == cast.user.user_id and row["kind"] == "message"]:
        await cast.call(device, f"PUT /api/chats/{cast.group}/messages/{row['seq']}/star")
    return row_fields(cast, [star["message"] for star in (await cast.call(device, "GET /api/stars"))["stars"]])


async def looked_up(cast: Cast, device: Device, by: dict[str, str]) -> dict[str, Any]:
    """Return the user as a look-up of many shows them."""
    many = {f"{kind}s": ["+1", text] for kind, text in by.items()}
    found = await cast.call(device, "POST /api/users/lookup", {**many, "user_ids": [cast.user.user_id, 2**40]})
    (user,) = found["users"]
    assert user["user_id"] == cast.user.user_id
    return {field: value for field, value in user.items() if field != "user_id"}


async def shown_by_calls(cast: Cast, viewer: str) -> dict[str, str]:
    """Return the cells of all calls for one viewer."""
    device = cast.viewers[viewer]
    profile = await cast.call(device, f"GET /api/users/{cast.user.user_id}")
    by = {"phone_number": cast.user.phone_number} if viewer == "number" else {"username": "SUE"}
    unnamed = cast.unnamed if viewer == "self" else device
    places = {
        "GET /api/users/{user_id}": {field: cell(value) for field, value in profile.items()},
        "GET /api/users": {
            field: cell(found) for field, found in (await cast.call(device, "GET /api/users", **by)).items()
        },
        "POST /api/users/lookup": {field: cell(found) for field, found in (await looked_up(cast, device, by)).items()},
        "GET /api/chats": chat_fields(
            cast,
            next((c for c in (await cast.call(device, "GET /api/chats"))["chats"] if c["chat_id"] == cast.group), None),
        ),
        "GET /api/chats/{chat_id}": chat_fields(cast, await cast.call(device, f"GET /api/chats/{cast.group}")),
        "GET /api/chats/{chat_id}/messages": row_fields(
            cast, await cast.call(device, f"GET /api/chats/{cast.group}/messages")
        ),
        "GET /api/messages": row_fields(cast, await cast.call(device, "GET /api/messages")),
        "GET /api/chats/{chat_id}/messages/{seq}/info": await info_fields(cast, viewer),
        "GET /api/stars": await star_fields(cast, viewer),
    }
    found = {f"{place} {field}": value for place, fields in places.items() for field, value in fields.items()}
    stranger = await cast.call(unnamed, f"GET /api/users/{cast.unnamed.user_id}")
    return {**found, "GET /api/users/{user_id} phone_number | no name": cell(stranger["phone_number"])}


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_calls_show_what_the_table_says(cast: Cast, viewer: str) -> None:
    found = await shown_by_calls(cast, viewer)
    rows = {row: cells[viewer] for row, cells in TABLE.items() if row.split()[0].isupper()}
    assert {row: found[row] for row in rows} == rows


Sockets = dict[str, Socket]


async def settle(sockets: Sockets) -> None:
    """Return when the sockets have read what their server has put into their outboxes by now."""
    for socket in sockets.values():
        before = sum(frame["type"] == "pong" for frame in socket.frames)
        await socket.send(type="ping")
        await socket.until(lambda _, s=socket, n=before: sum(f["type"] == "pong" for f in s.frames) > n)  # type: ignore[misc]


@contextlib.asynccontextmanager
async def watching(cast: Cast, server: ServerProcess) -> AsyncIterator[Sockets]:
    """Let all viewers connect and watch the user, who is not here."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = {
            name: await stack.enter_async_context(device.socket(server))
            for name, device in cast.viewers.items()
            if name != "self"
        }
        for socket in sockets.values():
            await socket.send(type="subscribe", user_ids=[cast.user.user_id])
            await socket.of_type("presence", user_id=cast.user.user_id)
        yield sockets


def of_user(cast: Cast, socket: Socket, kind: str, **fields: object) -> list[dict[str, Any]]:
    return [
        frame
        for frame in socket.frames
        if frame["type"] == kind
        and frame.get("user_id", cast.user.user_id) == cast.user.user_id
        and all(frame.get(key) == value for key, value in fields.items())
    ]


async def type_until(cast: Cast, phone: Socket, wanted: Awaitable[object]) -> None:
    """Type in the group and in the chats of two until somebody has heard of it."""
    heard = asyncio.ensure_future(wanted)
    while not heard.done():
        for chat_id in (cast.chats["blocked"], cast.chats["blocker"], cast.chats["shares"], cast.group):
            await phone.send(type="typing", chat_id=chat_id)
            await settle({"phone": phone})
        await asyncio.wait([heard], timeout=0.2)
    await heard


async def test_frames_show_what_the_table_says(cast: Cast, two: tuple[ServerProcess, ServerProcess]) -> None:
    one, other = two
    group, user_id = cast.group, cast.user.user_id

    def is_edit(frame: dict[str, Any]) -> bool:
        return frame.get("kind") == "edit" and frame["by"] == user_id

    async with watching(cast, other) as sockets:
        seen = {name: of_user(cast, socket, "presence")[0]["last_seen"] for name, socket in sockets.items()}
        assert not any(of_user(cast, socket, "presence", online=True) for socket in sockets.values())
        async with cast.user.socket(one) as phone, cast.viewers["self"].socket(other) as laptop:
            shares = sockets["shares"]
            await shares.of_type("presence", user_id=user_id, online=True)
            sockets["self"] = laptop
            await laptop.send(type="subscribe", user_ids=[user_id])
            seen["self"] = (await laptop.of_type("presence", user_id=user_id))["last_seen"]
            await type_until(cast, phone, shares.of_type("typing", chat_id=group, user_id=user_id))
            await type_until(cast, phone, shares.of_type("typing", chat_id=cast.chats["shares"], user_id=user_id))
            for chat_id in (*cast.chats.values(), group):
                last = (await cast.call(cast.user, f"GET /api/chats/{chat_id}"))["last_seq"]
                await phone.send(type="read", chat_id=chat_id, seq=last)
            await shares.of_type("receipt", chat_id=group, user_id=user_id)
            await cast.call(cast.user, "PATCH /api/users/me", {"profile_picture_url": "https://example.com/2.png"})
            await shares.of_type("profile", profile_picture_url="https://example.com/2.png")
            sent = await phone.message("again", chat_id=group)
            await shares.text("again")
            await cast.call(cast.user, f"PATCH /api/chats/{group}/messages/{sent['seq']}", {"text": "edited"})
            await shares.until(is_edit)
            for name, socket in sockets.items():
                if TABLE["message from"][name] == "yes":
                    await socket.until(is_edit)
                await socket.send(type="sync", chats={})
                await socket.of_type("synced")
            await settle(sockets)
    for name, socket in sockets.items():
        synced = (await socket.of_type("synced"))["chats"]
        standing = chat_fields(cast, next((chat for chat in synced if chat["chat_id"] == group), None))
        profile = next(iter(of_user(cast, socket, "profile")), None)
        rows = [frame["message"] for frame in socket.frames if frame["type"] == "message"]
        again = [row["from"] for row in rows if row["text"] == "again"]
        found = {
            "message from": cell(again[0]) if again else "no",
            "event by": "yes" if any(map(is_edit, socket.frames)) else "no",
            "synced members": standing["members"],
            "synced read_seq": standing["read_seq"],
            "presence last_seen": cell(seen[name]),
            "presence online": "yes" if of_user(cast, socket, "presence", online=True) else "no",
            "typing user_id": "yes" if of_user(cast, socket, "typing") else "no",
            "receipt read_seq": "yes" if of_user(cast, socket, "receipt") else "no",
            "profile username": cell(profile["username"]) if profile else "no",
            "profile profile_picture_url": cell(profile["profile_picture_url"]) if profile else "no",
            "profile about": cell(profile["about"]) if profile else "no",
            "profile phone_number": cell(profile["phone_number"]) if profile else "no",
        }
        assert found == {row: cells[name] for row, cells in TABLE.items() if not row.split()[0].isupper()}, name


def properties(document: Mapping[str, Any], schema: Any) -> set[str]:
    """Return the names of all members of an answer, however deep, but in details of events.

    Who sees a row sees its details; what concerns one user alone is in the user's own chat.
    """
    names: set[str] = set()
    if isinstance(schema, list):
        return names.union(*(properties(document, part) for part in schema))
    if not isinstance(schema, dict):
        return names
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return names if name == UNION else properties(document, document["components"]["schemas"][name])
    for name, part in schema.get("properties", {}).items():
        names |= {name} | properties(document, part)
    parts = [schema.get(key) for key in ("items", "anyOf", "oneOf", "allOf", "prefixItems")]
    return names.union(*(properties(document, part) for part in parts))


def shown() -> dict[str, set[str]]:
    """Return {call or frame: the names of all members of what it shows}, as the published documents have it."""
    document = make_openapi(CALLS)
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            schemas = [
                answer["content"]["application/json"]["schema"]
                for answer in good
                if "application/json" in answer.get("content", {})
            ]
            found[f"{method.upper()} {path}"] = properties(document, schemas)
    document = make_asyncapi()
    for kind in SERVER_FRAMES:
        found[tag_of(kind)] = properties(document, document["components"]["schemas"][kind.__name__])
    return found


def test_every_call_and_frame_that_tells_something_of_a_user_is_in_the_table() -> None:
    places = {
        place: names
        for place, names in shown().items()
        if (not OWN.match(place) and "/api/" in place) or place.islower()
    }
    unknown = {place: left for place, names in places.items() if (left := names - TELLING - SILENT)}
    assert not unknown, "say of each new field whether it tells something of a user, and put it into the table if so"
    rows = {tuple(row.partition(" | ")[0].rsplit(" ", 1)) for row in TABLE}
    needed = {
        (place, name)
        for place, names in places.items()
        if not MEMBERS_ONLY.match(place)
        for name in names & TELLING
        # What is in members is shown with them.
        if not (name == "username" and "members" in names)
    }
    assert needed <= rows, needed - rows


# --- receipts at a block


async def test_receipts_stop_at_a_block_and_go_on_after_it(two: tuple[ServerProcess, ServerProcess]) -> None:
    one, other = two
    ana, ben = await sign_in(one, "sender"), await sign_in(one, "reader")
    cast = Cast(one, ben, ben, {"ana": ana})

    async def say(text: str) -> tuple[int, int]:
        sent = await cast.call(ana, "POST /api/messages", {"to": "reader", "text": text})
        return sent["chat_id"], sent["seq"]

    async def read(chat_id: int, seq: int) -> None:
        await cast.call(ben, "POST /api/receipts", {"chats": {str(chat_id): {"read_seq": seq}}})

    async def statuses(chat_id: int) -> list[str]:
        return [row["status"] for row in await cast.call(ana, f"GET /api/chats/{chat_id}/messages")]

    async def marks(device: Device, chat_id: int) -> Any:
        chat = await cast.call(device, f"GET /api/chats/{chat_id}")
        member = next(member for member in chat["members"] if member["user_id"] == ben.user_id)
        return member["delivered_seq"], member["read_seq"], chat["unread"]

    chat_id, first = await say("before")
    await read(chat_id, first)
    _, second = await say("unread yet")
    async with ana.socket(other) as a, ben.socket(other) as b:
        await cast.call(ben, f"PUT /api/blocks/{ana.user_id}")
        await read(chat_id, second)
        # The reader's other devices are told.
        await b.of_type("receipt", chat_id=chat_id, read_seq=second)
        await settle({"a": a})
        # That of the first message may come late.
        receipts = [frame for frame in a.frames if frame["type"] == "receipt"]
        assert not [one for one in receipts if max(one.get("read_seq") or 0, one.get("delivered_seq") or 0) > first]
        assert await statuses(chat_id) == ["read", "sent"]
        assert await marks(ana, chat_id) == (None, None, 0)
        assert await marks(ben, chat_id) == (second, second, 0)
        await cast.call(ben, f"DELETE /api/blocks/{ana.user_id}")
        # What was read meanwhile is not told afterwards, but with what is read from now on.
        assert await statuses(chat_id) == ["read", "sent"]
        assert await marks(ana, chat_id) == (first, first, 0)
        _, third = await say("after")
        await read(chat_id, third)
        await a.of_type("receipt", chat_id=chat_id, user_id=ben.user_id, read_seq=third)
        assert await statuses(chat_id) == ["read", "read", "read"]
        assert await marks(ben, chat_id) == (third, third, 0)


# --- changes while somebody watches


@contextlib.asynccontextmanager
async def pair(
    two: tuple[ServerProcess, ServerProcess],
) -> AsyncIterator[tuple[Cast, Socket, Callable[[], Awaitable[None]]]]:
    """Let ana, on one server, watch ben, on the other, with whom she is in a group that he has made."""
    one, other = two
    ana, ben = await sign_in(one), await sign_in(one)
    cast = Cast(one, ben, ben, {"ana": ana})
    made = await cast.call(ben, "POST /api/groups", {"group_name": "Two", "members": [ana.phone_number]})
    cast.group = made["group_id"]
    async with ana.socket(other) as a, ben.socket(one) as b:

        async def nothing() -> None:
            """Check that ana hears nothing of ben, who types and goes on another device and off it."""
            a.frames.clear()
            laptop = await sign_in(one, phone_number=ben.phone_number)
            async with laptop.socket(other):
                await b.send(type="typing", chat_id=cast.group)
                await settle({"b": b})
            await settle({"a": a})
            assert not of_user(cast, a, "presence")
            assert not of_user(cast, a, "typing")

        await a.send(type="subscribe", user_ids=[ben.user_id])
        await a.of_type("presence", user_id=ben.user_id, online=True)
        a.frames.clear()
        yield cast, a, nothing


@pytest.mark.parametrize("who", ["the watcher", "the watched"])
async def test_a_block_ends_a_subscription_until_it_is_taken_back(
    two: tuple[ServerProcess, ServerProcess], who: str
) -> None:
    async with pair(two) as (cast, a, nothing):
        blocker, blocked = (
            (cast.viewers["ana"], cast.user) if who == "the watcher" else (cast.user, cast.viewers["ana"])
        )
        await cast.call(blocker, f"PUT /api/blocks/{blocked.user_id}")
        gone = await a.of_type("presence", user_id=cast.user.user_id, online=False)
        assert gone["last_seen"] is None
        await nothing()
        # Asking anew does not help.
        await a.send(type="subscribe", user_ids=[cast.user.user_id])
        told = await a.of_type("presence", user_id=cast.user.user_id)
        assert (told["online"], told["last_seen"]) == (False, None)
        a.frames.clear()
        await cast.call(blocker, f"DELETE /api/blocks/{blocked.user_id}")
        await a.of_type("presence", user_id=cast.user.user_id, online=True)


@pytest.mark.parametrize("who", ["the watcher", "the watched"])
async def test_a_removal_ends_a_subscription_until_they_share_a_chat_again(
    two: tuple[ServerProcess, ServerProcess], who: str
) -> None:
    async with pair(two) as (cast, a, nothing):
        ana, ben = cast.viewers["ana"], cast.user
        if who == "the watcher":
            await cast.call(ben, f"DELETE /api/groups/{cast.group}/members/{ana.user_id}")
        else:
            await cast.call(ben, f"DELETE /api/groups/{cast.group}/members/{ben.user_id}")
        gone = await a.of_type("presence", user_id=ben.user_id, online=False)
        assert gone["last_seen"] is None
        await nothing()
        if who == "the watcher":
            await cast.call(ben, f"POST /api/groups/{cast.group}/members/{ana.user_id}")
        else:
            await cast.call(ana, f"POST /api/groups/{cast.group}/members/{ben.user_id}")
        await a.of_type("presence", user_id=ben.user_id, online=True)


async def test_whoever_subscribes_before_they_share_a_chat_is_told_when_they_do(
    two: tuple[ServerProcess, ServerProcess],
) -> None:
    one, other = two
    ana, ben = await sign_in(one, "early"), await sign_in(one, "late")
    async with ana.socket(other) as a, ben.socket(one) as b:
        await a.send(type="subscribe", user_ids=[ben.user_id])
        assert (await a.of_type("presence", user_id=ben.user_id))["online"] is False
        await b.message("hello", to="early")
        await a.of_type("presence", user_id=ben.user_id, online=True)


async def test_who_only_calls_the_api_is_not_online(two: tuple[ServerProcess, ServerProcess]) -> None:
    one, _ = two
    ana, ben = await sign_in(one, "onthewire"), await sign_in(one, "bycalls")
    cast = Cast(one, ben, ben, {"ana": ana})
    assert await cast.call(ben, "POST /api/messages", {"to": "onthewire", "text": "hello"})
    assert await cast.call(ben, "GET /api/messages")
    for server in two:
        async with ana.socket(server) as a:
            await a.send(type="subscribe", user_ids=[ben.user_id])
            assert (await a.of_type("presence", user_id=ben.user_id))["online"] is False
