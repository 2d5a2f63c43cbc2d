"""A client's copy of chats, made by applying rows as docs/protocol.md says, to be compared with fetching afresh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from chatserver.group_fields import GroupFields
from chatserver.messaging.row_views import view_row

if TYPE_CHECKING:
    from chatserver.model import MessageRow

Row = dict[str, Any]
"""A row as in `GET /api/messages`."""


class Replica:
    """The messages that a client shows.

    Attributes:
        messages: by (chat_id, seq).
        groups: {chat_id: what rows said of its fields, since the user came or came back}.
        stale: chats to be fetched afresh: the user is back in them, and was not told what changed meanwhile.
    """

    def __init__(self, user_id: int = 0) -> None:
        self.messages: dict[tuple[int, int], Row] = {}
        self.groups: dict[int, dict[str, Any]] = {}
        self.stale: set[int] = set()
        self._user_id = user_id
        self._hidden: set[tuple[int, int]] = set()
        self._cleared: dict[int, int] = {}

    def apply(self, row: Row) -> None:
        """Take a row; those of a chat in the order of their seq."""
        detail, key = row["detail"] or {}, (row["chat_id"], row["target_seq"])
        target = self.messages.get(key)
        if self._is_dropping(row, detail):
            return
        if row["kind"] == "message":
            if self._is_shown(row["chat_id"], row["seq"]):
                self.messages[row["chat_id"], row["seq"]] = row
        elif row["kind"] in {"member", "group"}:
            self._apply_to_group(row["chat_id"], detail)
        elif target is None:
            return
        elif row["kind"] == "edit":
            target |= {"text": row["text"], "edited_at": row["created_at"]}
        elif row["kind"] == "delete":
            target |= {"text": None, "media_url": None, "reactions": [], "deleted_at": row["created_at"]}
        elif row["kind"] == "reaction":
            users = {user: entry["emoji"] for entry in target["reactions"] for user in entry["user_ids"]}
            users.pop(row["from_id"], None)
            if detail["action"] == "added":
                users[row["from_id"]] = detail["emoji"]
            target["reactions"] = [
                {"emoji": emoji, "user_ids": sorted(user for user in users if users[user] == emoji)}
                for emoji in sorted(set(users.values()))
            ]

    def _apply_to_group(self, chat_id: int, detail: dict[str, Any]) -> None:
        fields = {name: detail[name] for name in GroupFields.__struct_fields__ if name in detail}
        if fields:
            self.groups.setdefault(chat_id, {}).update(fields)
        if detail["action"] == "added" and self._user_id in detail["user_ids"]:
            self.stale.add(chat_id)
            self.groups.pop(chat_id, None)

    def _is_dropping(self, row: Row, detail: dict[str, Any]) -> bool:
        """Drop what a row says is gone, for the user alone or for all; returns whether it is such a row."""
        if row["kind"] == "hide":
            # It is in another chat than its target, which may still be waiting behind a hole.
            self._hidden.add((detail["target_chat_id"], row["target_seq"]))
            self.messages.pop((detail["target_chat_id"], row["target_seq"]), None)
        elif row["kind"] == "clear":
            chat_id, seq = detail["target_chat_id"], row["target_seq"]
            self._cleared[chat_id] = max(seq, self._cleared.get(chat_id, 0))
            self.messages = {place: row for place, row in self.messages.items() if self._is_shown(*place)}
        elif row["kind"] == "expire":
            for seq in range(detail["from_seq"], detail["up_to_seq"] + 1):
                self.messages.pop((row["chat_id"], seq), None)
        else:
            return False
        return True

    def refetch(self, chat_id: int, rows: list[Row], up_to_seq: int) -> None:
        """Replace what there is of a chat up to a row by its history as it is now."""
        for place in [place for place in self.messages if place[0] == chat_id and place[1] <= up_to_seq]:
            del self.messages[place]
        self.refresh([row for row in rows if row["seq"] <= up_to_seq])

    def refresh(self, rows: list[Row]) -> None:
        """Take messages of a history as they are now."""
        for row in rows:
            place = (row["chat_id"], row["seq"])
            if row["kind"] == "message" and self._is_shown(*place):
                self.messages[place] = row

    def _is_shown(self, chat_id: int, seq: int) -> bool:
        return (chat_id, seq) not in self._hidden and seq > self._cleared.get(chat_id, 0)


def as_client_sees(row: MessageRow) -> Row:
    """Return a row of the services as the JSON that a client gets."""
    row_as_json: Row = json.loads(msgspec.json.encode(view_row(row)))
    return row_as_json


def row_of_event(frame: Row) -> Row:
    """Return an `event` frame as the row it records."""
    return {
        "target_seq": None,
        "text": None,
        **frame,
        "from_id": frame["by"],
        "created_at": frame["at"],
    }
