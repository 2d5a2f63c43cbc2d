"""What this server delivers to: connections and long polls, the chats that their users follow, and rows to all of them.

The hub does no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.fanout.following import Following
from chatserver.fanout.members import Members
from chatserver.fanout.registry import Registry
from chatserver.fanout.waiting import LongPolls
from chatserver.fanout.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from chatserver.fanout.connection import ClientConnection, PushedRow
    from chatserver.fanout.waiting import LongPoll

LINGER_SECONDS = 60.0
"""Time for which users stay known after their last connection or poll, so that a client that polls in a loop costs one
query of its chats and not one a poll."""


class Hub:
    """Pushes rows and signals to the connections of this server, and wakes its long polls.

    Args:
        on_queued: called with the frame of each row, when it was committed, and how many connections get it in the next
            turn of the event loop.

    Attributes:
        registry: the connections.
        connections: all of them by id.
        following: the chats that users follow, and up to which seq they were pushed.
        polls: the long polls that wait.
        watching: whose presence connections get.
        members: of the chats that are followed.
    """

    def __init__(self, on_queued: Callable[[bytes, float, int], None] = lambda *_: None) -> None:
        self._on_queued = on_queued
        self.registry = Registry()
        self.connections = self.registry.by_id
        self.following = Following()
        self.polls = LongPolls()
        self.watching = Watching()
        self.members = Members()

    # --- connections, polls and their users

    def expect(self, user_id: int, now: float) -> None:
        """Register a user who is about to connect or poll, so that changes of their chats are recorded."""
        self.following.add_user(user_id)
        self.following.touch(user_id, now)

    def add(self, connection: ClientConnection) -> None:
        """Register a connection; it gets rows from now on."""
        self.registry.add(connection)
        self.following.add_user(connection.user_id)

    def remove(self, connection: ClientConnection, now: float) -> None:
        """Forget a connection; its user stays known for LINGER_SECONDS."""
        self.watching.watch(connection, frozenset())
        self.registry.remove(connection)
        self.following.touch(connection.user_id, now)
        self.following.remove_connection(connection)

    def add_poll(self, user_id: int, device_id: int) -> LongPoll:
        """Register a long poll."""
        self.following.add_user(user_id)
        return self.polls.add(user_id, device_id)

    def remove_poll(self, poll: LongPoll, now: float) -> None:
        """Forget a long poll; its user stays known for LINGER_SECONDS."""
        self.polls.remove(poll)
        self.following.touch(poll.user_id, now)

    def forget_idle(self, now: float) -> None:
        """Forget users without connections and polls for LINGER_SECONDS, and chats that nobody here follows."""
        for user_id in self.following.idle_users(now - LINGER_SECONDS):
            if not self.registry.is_here(user_id) and user_id not in self.polls.by_user:
                for chat_id in list(self.following.chats_of(user_id)):
                    self.unfollow(user_id, chat_id)
                self.following.remove_user(user_id)

    def devices(self) -> set[int]:
        """Return the devices that have a connection or a poll here."""
        return {*self.registry.devices(), *self.polls.devices()}

    def sign_out(self, device_ids: Collection[int]) -> None:
        """Close the connections of devices that were signed out, and wake their polls."""
        self.polls.wake_devices(device_ids)
        self.registry.sign_out(device_ids)

    # --- chats

    def join(self, user_id: int, chat_id: int, after_seq: int) -> None:
        """Follow a chat that a user has just joined, from the row after ``after_seq``."""
        self.following.join(user_id, chat_id, after_seq, self.registry.by_user.get(user_id, ()))

    def unfollow(self, user_id: int, chat_id: int) -> None:
        """Stop pushing a chat to a user."""
        if self.following.unfollow(user_id, chat_id, self.registry.by_user.get(user_id, ())):
            self.members.forget(chat_id)

    def present_chats(self) -> list[int]:
        """Return the chats of users who have a connection here."""
        return list({chat_id for user_id in self.registry.by_user for chat_id in self.following.chats_of(user_id)})

    def push(self, chat_id: int, rows: Iterable[PushedRow], up_to_seq: int) -> int:
        """Queue rows of one chat to the connections that may see them and do not have them, and wake polls.

        Args:
            chat_id: the chat.
            rows: the visible ones among its rows after ``needed_after``, ascending by seq.
            up_to_seq: the seq that ``rows`` reach; the chat counts as pushed up to it.

        Returns:
            How many frames were queued and are written in the next turn of the event loop.
        """
        position = self.following.position(chat_id)
        if position is None:
            return 0
        queued = 0
        connections, polls = self.registry.by_user, self.polls.by_user
        for row in rows:
            queued_before = queued
            for user_id in row.user_ids:
                # No look-up where nobody polls: this runs for each member of a large group.
                for poll in polls.get(user_id, ()) if polls else ():
                    poll.woken.set()
                for connection in connections.get(user_id, ()):
                    queued += connection.offer(row, position.others.get(connection, position.pushed_seq))
            self._on_queued(row.frame, row.committed_at, queued - queued_before)
        position.advance(up_to_seq)
        return queued

    @staticmethod
    def begin_sync(connection: ClientConnection) -> None:
        """Hold rows back from a connection until ``end_sync``, so that it gets each chat in order."""
        connection.hold()

    def end_sync(self, connection: ClientConnection, reached: Mapping[int, int]) -> None:
        """Queue what was held back, except for the rows that the sync brought.

        Args:
            connection: the connection.
            reached: the seq to which the sync brought each chat.
        """
        for row in connection.release(reached):
            self._on_queued(row.frame, row.committed_at, 1)
        self.following.synced(connection, reached)

    # --- members

    def unknown_members(self, chat_ids: Iterable[int]) -> list[int]:
        """Return those of the followed chats whose current members have to be read."""
        return [
            chat_id
            for chat_id in chat_ids
            if self.following.position(chat_id) is not None and not self.members.knows(chat_id)
        ]

    def forget_members_between(self, user_id: int, other_id: int) -> None:
        """Have the members read again of chats that two users share: which signals go between them changed."""
        chats = self.following.chats_of(user_id) or self.following.chats_of(other_id)
        self.members.forget_shared(chats, user_id, other_id)

    def forget_members_of(self, user_id: int) -> None:
        """Have the members read again of a user's chats: what the user shows changed."""
        for chat_id in self.following.chats_of(user_id):
            self.members.forget(chat_id)

    def send_to_members(self, chat_id: int, frame: bytes, *, from_id: int, but: Collection[int] = ()) -> None:
        """Queue a signal of a member to the connections of those who get it."""
        position = self.following.position(chat_id)
        if position is not None:
            readers = self.members.readers(chat_id, position.users, from_id=from_id)
            self.registry.send_to([user_id for user_id in readers if user_id not in but], frame)
