"""The property of all changes: a client that replays rows has what a client that fetches afresh gets."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chatserver.errors import ChatNotFound, Forbidden, MessageNotFound
from chatserver.services import changes, chats, feed, groups
from chatserver.services.rendering import view_row
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration

Row = dict[str, Any]


class Replica:
    """A client that applies rows as docs/protocol.md says."""

    def __init__(self) -> None:
        self.messages: dict[tuple[int, int], Row] = {}

    def apply(self, row: Row) -> None:
        detail, key = row["detail"] or {}, (row["chat_id"], row["target_seq"])
        target = self.messages.get(key)
        if row["kind"] == "message":
            self.messages[row["chat_id"], row["seq"]] = row
        elif row["kind"] == "hide":
            self.messages.pop((detail["target_chat_id"], row["target_seq"]), None)
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


def as_client_sees(row: MessageRow) -> Row:
    row_as_json: Row = json.loads(msgspec.json.encode(view_row(row)))
    return row_as_json


class Following:
    """Devices that follow their users' feeds, each with what it has."""

    def __init__(self, server: Server, users: list[int]) -> None:
        self.server = server
        self.replicas = {user: Replica() for user in users}
        self.cursors: dict[int, str | None] = dict.fromkeys(users)

    async def poll(self, user: int) -> None:
        page = await feed.read_feed(self.server.database, user, since=self.cursors[user], events=True, limit=1000)
        self.cursors[user] = page.next_since
        for row in page.rows:
            self.replicas[user].apply(as_client_sees(row))


async def change_something(server: Server, chance: random.Random, user: int, chat_id: int, seq: int) -> int | None:
    """Carry out one change; returns the seq of a message that was sent."""
    emoji, text = chance.choice("👍😀🎉"), f"text {chance.random()}"
    act = chance.choice(("send", "send", "edit", "react", "react", "unreact", "delete", "hide"))
    database = server.database
    if act == "send":
        return (await server.send(user, text, chat_id=chat_id)).seq
    if act == "edit":
        await changes.edit_message(database, user, chat_id, seq, text)
    elif act == "react":
        await changes.put_reaction(database, user, chat_id, seq, emoji)
    elif act == "unreact":
        await changes.remove_reaction(database, user, chat_id, seq, emoji)
    elif act == "delete":
        await changes.delete_message(database, user, chat_id, seq)
    else:
        await changes.hide_message(database, user, chat_id, seq)
    return None


@pytest.mark.parametrize("seed", range(4))
async def test_replaying_equals_fetching_afresh(server: Server, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - which changes are made is no secret
    users = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob", "Cy", "Dee")]
    team = (await groups.create_group(server.database, users[0], "team", ["Bob", "Cy"])).chat_id
    direct = (await server.send(users[0], "hi", to="Bob")).chat_id
    said = {team: [1], direct: [1]}
    following = Following(server, users)
    done = 0
    for step in range(150):
        if step == 50:
            await groups.add_member(server.database, users[0], team, users[3])
        chat_id = chance.choice((team, direct))
        try:
            sent = await change_something(server, chance, chance.choice(users), chat_id, chance.choice(said[chat_id]))
            done += 1
            said[chat_id] += [] if sent is None else [sent]
        except (Forbidden, MessageNotFound, ChatNotFound):
            pass
        # Now and then: a device meets rows before and after they were changed.
        if chance.random() < 0.5:
            await following.poll(chance.choice(users))
    assert done > 30
    for user in users:
        await following.poll(user)
        rows = [
            row
            for chat_id in ((team, direct) if user in users[:2] else (team,))
            for row in (await chats.read_history(server.database, user, chat_id, limit=1000)).rows
        ]
        fresh = {(row.chat_id, row.seq): as_client_sees(row) for row in rows if row.kind == "message"}
        assert following.replicas[user].messages == fresh
        # A new device that replays everything from the beginning ends at the same.
        new = Following(server, [user])
        await new.poll(user)
        assert new.replicas[user].messages == fresh
    for chat_id in said:
        numbers = await server.database.fetch("SELECT max(seq), count(*) FROM messages WHERE chat_id = $1", chat_id)
        assert numbers[0][0] == numbers[0][1]
