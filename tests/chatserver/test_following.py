"""Positions of chats: whatever order users, connections, syncs and pushes come in, nothing is skipped or repeated."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.following import ChatPosition, Following

if TYPE_CHECKING:
    from collections.abc import Iterable

CHATS = st.integers(1, 3)
USERS = st.integers(1, 3)
DEVICES = st.integers(1, 2)


def connection(user_id: int, device_id: int = 1) -> ClientConnection:
    return ClientConnection(f"c{user_id}-{device_id}", user_id, device_id)


def test_an_unknown_user_follows_nothing() -> None:
    following = Following()
    following.follow(1, 7, 3)
    following.join(1, 7, 3, ())
    assert (following.follows(1, 7), following.needed_after(7), following.pushed_seq(7)) == (False, None, 0)


def test_a_chat_is_forgotten_with_its_last_follower_alone() -> None:
    following = Following()
    for user_id in (1, 2):
        following.add_user(user_id)
        following.follow(user_id, 7, 3)
    assert not following.unfollow(1, 7, ())
    assert following.followers([7, 8]) == [2]
    assert following.unfollow(2, 7, ())
    assert following.position(7) is None


def test_a_position_is_one_number_again_when_all_have_caught_up() -> None:
    behind, ahead = connection(1), connection(2)
    position = ChatPosition(5, others={behind: 2, ahead: 7})
    assert (position.needed_after(), position.of(behind), position.of(ahead)) == (2, 2, 7)
    position.advance(6)
    assert (position.pushed_seq, position.others, position.needed_after()) == (6, {ahead: 7}, 6)
    position.advance(8)
    assert (position.others, position.of(ahead)) == ({}, 8)


class Positions(RuleBasedStateMachine):
    """A model beside `Following`: for each connection and chat, the rows that it got, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.following = Following()
        self.last: dict[int, int] = defaultdict(int)
        self.connections: dict[tuple[int, int], ClientConnection] = {}
        # The seq from which on a connection is to get each chat, and up to which it has it.
        self.has: dict[tuple[ClientConnection, int], int] = {}

    def of(self, user_id: int) -> Iterable[ClientConnection]:
        return [found for (owner, _), found in self.connections.items() if owner == user_id]

    @rule(chat_id=CHATS, count=st.integers(1, 3))
    def commit(self, chat_id: int, count: int) -> None:
        self.last[chat_id] += count

    @rule(user_id=USERS, device_id=DEVICES)
    def connect(self, user_id: int, device_id: int) -> None:
        """Connect as servers do: with what is pushed from here on; a sync brings what was before."""
        if (user_id, device_id) in self.connections:
            return
        self.following.add_user(user_id)
        made = self.connections[user_id, device_id] = connection(user_id, device_id)
        for chat_id in self.following.chats_of(user_id):
            self.has[made, chat_id] = self.following.pushed_seq(chat_id)

    @rule(user_id=USERS, device_id=DEVICES)
    def disconnect(self, user_id: int, device_id: int) -> None:
        gone = self.connections.pop((user_id, device_id), None)
        if gone is not None:
            self.following.remove_connection(gone)
            self.has = {key: seq for key, seq in self.has.items() if key[0] is not gone}

    @rule(user_id=USERS, chat_id=CHATS, back=st.integers(0, 3))
    def join(self, user_id: int, chat_id: int, back: int) -> None:
        if user_id not in self.following.users() or self.following.follows(user_id, chat_id):
            return
        after_seq = max(0, self.last[chat_id] - back)
        synced = {found: found.ahead.get(chat_id, 0) for found in self.of(user_id)}
        self.following.join(user_id, chat_id, after_seq, self.of(user_id))
        for found, seq in synced.items():
            self.has[found, chat_id] = max(after_seq, seq)

    @rule(user_id=USERS, chat_id=CHATS)
    def leave(self, user_id: int, chat_id: int) -> None:
        self.following.unfollow(user_id, chat_id, self.of(user_id))
        for found in self.of(user_id):
            self.has.pop((found, chat_id), None)

    @precondition(lambda self: self.connections)
    @rule(data=st.data(), chat_id=CHATS)
    def sync(self, data: st.DataObject, chat_id: int) -> None:
        synced = data.draw(st.sampled_from(list(self.connections.values())))
        reached = self.last[chat_id]
        self.following.synced(synced, {chat_id: reached})
        if self.following.follows(synced.user_id, chat_id):
            self.has[synced, chat_id] = max(reached, self.has[synced, chat_id])

    @rule(chat_id=CHATS)
    def push(self, chat_id: int) -> None:
        """Push like the hub: the rows after what is needed, each to those who do not have it."""
        position = self.following.position(chat_id)
        if position is None or (after := position.needed_after()) >= self.last[chat_id]:
            return
        for seq in range(after + 1, self.last[chat_id] + 1):
            for found in self.connections.values():
                if found.user_id in position.users and seq > position.of(found):
                    assert seq == self.has[found, chat_id] + 1
                    self.has[found, chat_id] = seq
        position.advance(self.last[chat_id])

    @invariant()
    def each_connection_is_where_its_rows_are(self) -> None:
        for (found, chat_id), seq in self.has.items():
            position = self.following.position(chat_id)
            assert position is not None
            assert position.of(found) == seq
            assert position.needed_after() <= seq


Positions.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
test_nothing_is_skipped_or_repeated = Positions.TestCase
