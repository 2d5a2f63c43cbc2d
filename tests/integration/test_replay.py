"""The property of all changes: a client that replays rows has what a client that fetches afresh gets."""

from __future__ import annotations

import random

import pytest

from chatserver.errors import ChatNotFound, Forbidden, MessageNotFound
from chatserver.messaging import changes, chats, feed, groups, own_chats
from tests.support.people import Server, sign_in
from tests.support.replica import Replica, as_client_sees

pytestmark = pytest.mark.integration


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
    act = chance.choice(("send", "send", "edit", "react", "react", "unreact", "delete", "hide", "hide", "clear"))
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
    elif act == "hide":
        await changes.hide_message(database, user, chat_id, seq)
    else:
        # Not all of it: the newest rows are what the others act on.
        await own_chats.clear_history(database, user, chat_id, max(1, seq // 2))
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
