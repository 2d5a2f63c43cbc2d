"""The table of all REST calls, for the published OpenAPI document: what the handlers' code does not say of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver import bounds
from chatserver.errors import (
    Blocked,
    ChatNotFound,
    CursorExpired,
    DeviceNotFound,
    EditTooLate,
    Forbidden,
    IdempotencyConflict,
    InvalidCode,
    MessageNotFound,
    NotAMember,
    NotAnAdmin,
    UpgradeRequired,
    UsernameTaken,
    UserNotFound,
)
from chatserver.http.call import Call, Parameter
from chatserver.http.routes import auth, blocks, changes, chats, devices, groups, health, messages, receipts, users
from chatserver.messaging.chats import HISTORY_MAX, LIST_MAX
from chatserver.messaging.feed import PAGE_ROWS_MAX
from chatserver.messaging.rendering import ChangeView, ChatView, DeviceView, GroupView, RowView, SentView
from chatserver.users.viewers import UserView

if TYPE_CHECKING:
    from chatserver.http.call import Schema


def _whole(least: int, most: int, default: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": least, "maximum": most}
    return schema if default is None else {**schema, "default": default}


_MEMBERSHIP = (ChatNotFound, NotAMember)
_ADMIN = (ChatNotFound, NotAMember, NotAnAdmin)
_CHANGE = (*_MEMBERSHIP, MessageNotFound)
_EMOJI = {"emoji": bounds.Emoji}
_SEQ = msgspec.json.schema(bounds.Seq)
_DOCUMENT: Schema = {"type": "object"}
_ETAG = (("ETag", "Send it as If-None-Match to be answered 304 while the document is the same."),)

CALLS: tuple[Call, ...] = (
    Call(
        "POST /api/auth/code",
        "requestCode",
        "Ask for a sign-in code.",
        body=auth.CodeBody,
        status=202,
        answer=auth.CodeAnswer,
        signed_in=False,
    ),
    Call(
        "POST /api/auth/session",
        "createSession",
        "Trade a code for a token; the first sign-in makes the account.",
        body=auth.SessionBody,
        status=201,
        answer=auth.SessionAnswer,
        errors=(InvalidCode, UsernameTaken),
        signed_in=False,
    ),
    Call("DELETE /api/auth/session", "deleteSession", "Sign this device out.", status=204, errors=(DeviceNotFound,)),
    Call("GET /api/devices", "listDevices", "List the caller's signed-in devices.", answer=list[DeviceView]),
    Call(
        "DELETE /api/devices/{device_id}",
        "revokeDevice",
        "Sign a device of the caller out, on every server.",
        status=204,
        errors=(DeviceNotFound,),
    ),
    Call(
        "POST /api/ws-ticket",
        "issueTicket",
        "Make a ticket for one WebSocket, for pages, which cannot set its headers.",
        status=201,
        answer=devices.TicketAnswer,
    ),
    Call("GET /api/users/me", "getMe", "Return the caller's profile.", answer=UserView, errors=(UserNotFound,)),
    Call(
        "PATCH /api/users/me",
        "patchMe",
        "Change the caller's profile; a missing field stays as it is, null clears the picture.",
        body=users.ProfileBody,
        answer=UserView,
        errors=(UsernameTaken, UserNotFound),
    ),
    Call("DELETE /api/users/me", "deleteMe", "Delete the caller's account, for good.", status=204),
    Call(
        "GET /api/users",
        "findUser",
        "Return the profile with a phone number or a username: exactly one of the two.",
        query=(
            Parameter("phone_number", msgspec.json.schema(bounds.PhoneNumber), "In E.164 form, the + written as %2B."),
            Parameter("username", msgspec.json.schema(bounds.UserName), "Case does not count."),
        ),
        answer=UserView,
        errors=(UserNotFound,),
    ),
    Call("GET /api/users/{user_id}", "getUser", "Return a profile.", answer=UserView, errors=(UserNotFound,)),
    Call(
        "POST /api/messages",
        "sendMessage",
        "Send a message; answered when it is committed. Retry with the same client_id.",
        body=messages.MessageBody,
        answer=SentView,
        errors=(UserNotFound, *_MEMBERSHIP, Blocked, IdempotencyConflict),
    ),
    Call(
        "GET /api/messages",
        "pollMessages",
        "Return what is new in all chats of the caller, oldest first.",
        query=(
            Parameter(
                "since",
                msgspec.json.schema(bounds.Cursor),
                "The last answer's X-Next-Since (exact), or 1 to 12 digits of Unix seconds (may repeat).",
            ),
            Parameter("limit", _whole(1, PAGE_ROWS_MAX, messages.DEFAULT_LIMIT), "Rows at most."),
            Parameter(
                "wait",
                _whole(0, messages.MAX_WAIT_SECONDS, 0),
                "Seconds to wait for something new; it may be answered earlier.",
            ),
            Parameter(
                "events",
                {"type": "boolean", "default": False},
                "Whether to return rows of other kinds than message too.",
            ),
        ),
        answer=list[RowView],
        errors=(CursorExpired,),
        headers=(
            ("X-Next-Since", "The exact cursor: the value of the next call's since."),
            ("X-More", "Whether more rows are there at once: true or false."),
        ),
    ),
    Call(
        "GET /api/chats",
        "listChats",
        "List the caller's chats, the most recently active first.",
        query=(
            Parameter("limit", _whole(1, LIST_MAX, chats.DEFAULT_LIMIT), "Chats at most."),
            Parameter("cursor", msgspec.json.schema(bounds.Cursor), "The last answer's next_cursor."),
        ),
        answer=chats.ChatsAnswer,
    ),
    Call("GET /api/chats/{chat_id}", "getChat", "Return one chat.", answer=ChatView, errors=(ChatNotFound,)),
    Call(
        "GET /api/chats/{chat_id}/messages",
        "getHistory",
        "Return rows of all kinds of one chat, oldest first.",
        query=(
            Parameter("before", _SEQ, "The newest rows below this seq."),
            Parameter("after", _SEQ, "The oldest rows above this seq."),
            Parameter("limit", _whole(1, HISTORY_MAX, chats.DEFAULT_LIMIT), "Rows at most."),
        ),
        answer=list[RowView],
        errors=(ChatNotFound,),
        headers=(("X-More", "Whether rows remain in the asked direction: true or false."),),
    ),
    Call(
        "PATCH /api/chats/{chat_id}/messages/{seq}",
        "editMessage",
        "Give a message of the caller another text.",
        body=changes.EditBody,
        answer=ChangeView,
        errors=(*_CHANGE, Forbidden, EditTooLate, Blocked),
    ),
    Call(
        "DELETE /api/chats/{chat_id}/messages/{seq}",
        "deleteMessage",
        "Delete a message for everyone, or for the caller alone.",
        query=(Parameter("for", {"enum": ["everyone", "me"], "default": "everyone"}, "For whom it is deleted."),),
        answer=ChangeView,
        errors=(*_CHANGE, Forbidden),
    ),
    Call(
        "PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}",
        "putReaction",
        "React to a message; another reaction of the caller is replaced.",
        texts=_EMOJI,
        answer=ChangeView,
        errors=(*_CHANGE, Blocked),
    ),
    Call(
        "DELETE /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}",
        "removeReaction",
        "Take a reaction away.",
        texts=_EMOJI,
        answer=ChangeView,
        errors=_CHANGE,
    ),
    Call("GET /api/blocks", "listBlocks", "List whom the caller has blocked.", answer=blocks.BlocksAnswer),
    Call("PUT /api/blocks/{user_id}", "putBlock", "Block a user.", answer=ChangeView, errors=(UserNotFound,)),
    Call("DELETE /api/blocks/{user_id}", "removeBlock", "End a block.", answer=ChangeView, errors=(UserNotFound,)),
    Call(
        "POST /api/receipts",
        "postReceipts",
        "Raise the caller's watermarks of chats: up to which seq was received and read.",
        body=receipts.ReceiptsBody,
        status=204,
    ),
    Call(
        "POST /api/groups",
        "createGroup",
        "Make a group with the caller as its admin. Retry with the same client_id.",
        body=groups.GroupBody,
        status=201,
        repeated=200,
        answer=GroupView,
        errors=(UserNotFound, Blocked, IdempotencyConflict),
    ),
    Call(
        "PATCH /api/groups/{group_id}",
        "renameGroup",
        "Rename a group.",
        body=groups.RenameBody,
        answer=GroupView,
        errors=_ADMIN,
    ),
    Call(
        "POST /api/groups/{group_id}/members/{user_id}",
        "addMember",
        "Add a user to a group.",
        answer=GroupView,
        errors=(UserNotFound, *_ADMIN, Blocked),
    ),
    Call(
        "DELETE /api/groups/{group_id}/members/{user_id}",
        "removeMember",
        "Remove a member from a group, or leave it.",
        answer=GroupView,
        errors=(UserNotFound, *_ADMIN),
    ),
    Call(
        "PUT /api/groups/{group_id}/members/{user_id}/role",
        "putRole",
        "Make a member an admin, or an admin a member.",
        body=groups.RoleBody,
        answer=GroupView,
        errors=(UserNotFound, *_ADMIN, Blocked),
    ),
    Call(
        "GET /livez",
        "livez",
        "Answer while the process runs.",
        answer=health.HealthAnswer,
        signed_in=False,
        database=False,
    ),
    Call(
        "GET /readyz",
        "readyz",
        "Answer 200 when the server and its database can serve; `writes` says whether anything can be stored.",
        query=(
            Parameter(
                "exclude",
                {"enum": list(health.EXCLUDED)},
                "`database`: answer whatever the database does. `draining`: also while the proxies have not noticed "
                "yet that the server leaves.",
            ),
        ),
        answer=health.ReadyAnswer,
        signed_in=False,
    ),
    Call(
        "GET /api/ws",
        "openWebSocket",
        "Open the WebSocket, subprotocol chat.v1, that /asyncapi.json describes. Takes the token or a ticket.",
        query=(Parameter("ticket", {"type": "string"}, "From POST /api/ws-ticket, instead of the token."),),
        status=101,
        errors=(UpgradeRequired,),
        signed_in=False,
    ),
    Call(
        "GET /openapi.json",
        "getOpenapi",
        "Return this document.",
        answer=_DOCUMENT,
        headers=_ETAG,
        signed_in=False,
        database=False,
    ),
    Call(
        "GET /asyncapi.json",
        "getAsyncapi",
        "Return the AsyncAPI document of the WebSocket.",
        answer=_DOCUMENT,
        headers=_ETAG,
        signed_in=False,
        database=False,
    ),
    Call(
        "GET /docs",
        "getDocs",
        "Return this document and the WebSocket's as a page for people.",
        answer={"type": "string"},
        media="text/html; charset=utf-8",
        headers=_ETAG,
        signed_in=False,
        database=False,
    ),
)
