"""Which chats the users of this server follow, and up to which seq each chat was pushed. No I/O.

Each chat has one number: up to which seq it was pushed here. Whoever delivers reads the rows after that number, so a
lost hint leaves no hole. A connection at another position (a sync brought it further, or its user joined at earlier
rows) has a number of its own until the chat has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.fanout.connection import ClientConnection  # noqa: TC001 - mypyc evaluates the annotations of a dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


@dataclass(slots=True)
class ChatPosition:
    """Up to which seq a chat was pushed here.

    Attributes:
        users: users of this server who may see rows of it; former members among them.
        others: connections at another position than ``pushed_seq``.
    """

    pushed_seq: int
    users: set[int] = field(default_factory=set)
    others: dict[ClientConnection, int] = field(default_factory=dict)

    def of(self, connection: ClientConnection) -> int:
        """Return the seq up to which a connection has the chat."""
        return self.others.get(connection, self.pushed_seq)

    def needed_after(self) -> int:
        """Return the seq after which a connection here needs rows."""
        return self.pushed_seq if not self.others else min((self.pushed_seq, *self.others.values()))

    def advance(self, up_to_seq: int) -> None:
        """Record that all connections have the rows up to a seq."""
        self.pushed_seq = max(self.pushed_seq, up_to_seq)
        if self.others:
            self.others = {
                connection: seq
                for connection, other in self.others.items()
                if (seq := max(other, up_to_seq)) != self.pushed_seq
            }


@dataclass(slots=True)
class _Follower:
    """A user who is connected, polls, or did so lately.

    Attributes:
        chats: the chats that the user follows.
        loaded: ``chats`` has all chats of the user.
        idle_since: when the last connection or poll ended, in monotonic seconds.
    """

    chats: set[int] = field(default_factory=set)
    loaded: bool = False
    idle_since: float = 0.0


class Following:
    """Index of chats and the users who follow them."""

    def __init__(self) -> None:
        self._users: dict[int, _Follower] = {}
        self._chats: dict[int, ChatPosition] = {}

    # --- users

    def add_user(self, user_id: int) -> None:
        """Register a user, so that changes of their chats are recorded."""
        self._users.setdefault(user_id, _Follower())

    def touch(self, user_id: int, now: float) -> None:
        """Record that a user connects or polls, or ceased to."""
        user = self._users.get(user_id)
        if user is not None:
            user.idle_since = now

    def idle_users(self, before: float) -> list[int]:
        """Return the users without a beginning or end of a connection or poll since a time."""
        return [user_id for user_id, user in self._users.items() if user.idle_since < before]

    def remove_user(self, user_id: int) -> None:
        """Forget a user who follows no chat."""
        del self._users[user_id]

    def is_loaded(self, user_id: int) -> bool:
        """Return whether all chats of a user are known, so that their rows are delivered."""
        user = self._users.get(user_id)
        return user is not None and user.loaded

    def set_loaded(self, user_id: int) -> None:
        """Record that all chats of a user were given to ``follow``."""
        user = self._users.get(user_id)
        if user is not None:
            user.loaded = True

    def users(self) -> list[int]:
        """Return all users."""
        return list(self._users)

    def known_users(self, user_ids: Iterable[int]) -> list[int]:
        """Return those of some users who are registered."""
        return [user_id for user_id in user_ids if user_id in self._users]

    def chats_of(self, user_id: int) -> Collection[int]:
        """Return the chats that a user follows."""
        user = self._users.get(user_id)
        return () if user is None else user.chats

    def follows(self, user_id: int, chat_id: int) -> bool:
        """Return whether a chat is pushed to a user."""
        return chat_id in self.chats_of(user_id)

    # --- following

    def follow(self, user_id: int, chat_id: int, last_seq: int) -> None:
        """Push a chat to a user from now on.

        Args:
            user_id: a registered user; another one is ignored.
            chat_id: the chat.
            last_seq: its last row, if nobody here follows it yet.
        """
        user = self._users.get(user_id)
        if user is None:
            return
        user.chats.add(chat_id)
        position = self._chats.get(chat_id)
        if position is None:
            position = self._chats[chat_id] = ChatPosition(pushed_seq=last_seq)
        position.users.add(user_id)

    def join(self, user_id: int, chat_id: int, after_seq: int, connections: Iterable[ClientConnection]) -> None:
        """Follow a chat that a user has just joined, from the row after ``after_seq``.

        Args:
            user_id: the user.
            chat_id: the chat.
            after_seq: the last row that the user does not need.
            connections: those of the user.
        """
        if user_id not in self._users or self.follows(user_id, chat_id):
            return
        self.follow(user_id, chat_id, after_seq)
        position = self._chats[chat_id]
        for connection in connections:
            # A sync may have been faster than the hint.
            seq = max(after_seq, connection.ahead.pop(chat_id, 0))
            if seq != position.pushed_seq:
                position.others[connection] = seq

    def unfollow(self, user_id: int, chat_id: int, connections: Iterable[ClientConnection]) -> bool:
        """Stop pushing a chat to a user; returns whether nobody here follows it any more.

        Args:
            user_id: the user.
            chat_id: the chat.
            connections: those of the user.
        """
        user, position = self._users.get(user_id), self._chats.get(chat_id)
        if user is None or position is None:
            return False
        user.chats.discard(chat_id)
        position.users.discard(user_id)
        for connection in connections:
            position.others.pop(connection, None)
        if position.users:
            return False
        del self._chats[chat_id]
        return True

    def remove_connection(self, connection: ClientConnection) -> None:
        """Forget the positions of a connection."""
        for chat_id in self.chats_of(connection.user_id):
            self._chats[chat_id].others.pop(connection, None)

    def synced(self, connection: ClientConnection, reached: Mapping[int, int]) -> None:
        """Record the seq to which a sync brought each chat on a connection."""
        for chat_id, seq in reached.items():
            if not self.follows(connection.user_id, chat_id):
                connection.ahead[chat_id] = seq
                continue
            position = self._chats[chat_id]
            if seq > position.of(connection):
                position.others[connection] = seq

    # --- positions

    def position(self, chat_id: int) -> ChatPosition | None:
        """Return the position of a chat; None when nobody here follows it."""
        return self._chats.get(chat_id)

    def needed_after(self, chat_id: int) -> int | None:
        """Return the seq after which rows of a chat are needed here; None when nobody here follows it."""
        position = self._chats.get(chat_id)
        return None if position is None else position.needed_after()

    def may_need(self, chat_id: int, last_seq: int) -> bool:
        """Return whether rows of a chat up to a seq may be needed: a user may be about to follow it from before."""
        after_seq = self.needed_after(chat_id)
        return after_seq is None or after_seq < last_seq

    def pushed_seq(self, chat_id: int) -> int:
        """Return how far a chat was pushed to the connection furthest ahead; 0 when nobody here follows it."""
        position = self._chats.get(chat_id)
        return 0 if position is None else position.pushed_seq

    def followers(self, chat_ids: Iterable[int]) -> list[int]:
        """Return the users who follow one of the chats."""
        positions = [position for chat_id in chat_ids if (position := self._chats.get(chat_id)) is not None]
        return list({user_id for position in positions for user_id in position.users})

    def followers_among(self, chat_id: int, user_ids: Iterable[int]) -> tuple[int, ...]:
        """Return those of some users who follow a chat."""
        position = self._chats.get(chat_id)
        return () if position is None else tuple(position.users.intersection(user_ids))
