"""The connections of this server: who is here, which chats they follow, and how far each chat was pushed.

The hub does no I/O. For each chat that a local user is in it keeps one number, how far the chat has been pushed;
whoever pushes fetches the rows after that number, so a lost hint leaves no hole. A connection that stands elsewhere
(it has synced further, or its user joined earlier rows) has its own number until the chat has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.fanout.connection import Held
from chatserver.fanout.members import Members
from chatserver.fanout.waiting import LongPolls
from chatserver.fanout.watching import Watching
from chatserver.protocol import CLOSE_PACE, CLOSE_REPLACED, CLOSE_UNAUTHENTICATED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from chatserver.fanout.connection import Connection, PushedRow
    from chatserver.fanout.waiting import LongPoll

# Users stay known this long after their last connection or poll, so that a client that polls in a loop costs one
# look at its memberships and not one a poll.
LINGER_SECONDS = 60.0
# Why a connection is closed with 4009.
REPLACED = "this device has connected again"
# Why one is closed with 4001.
SIGNED_OUT = "this device was signed out"


@dataclass(slots=True)
class _LocalUser:
    connections: set[Connection] = field(default_factory=set)
    chats: set[int] = field(default_factory=set)
    learned: bool = False
    idle_since: float = 0.0


@dataclass(slots=True)
class _Feed:
    """How far a chat has been pushed here.

    Attributes:
        users: local users who may see rows of it; former members among them.
        positions: connections that stand elsewhere than ``pushed_seq``.
    """

    pushed_seq: int
    users: set[int] = field(default_factory=set)
    positions: dict[Connection, int] = field(default_factory=dict)


class Hub:
    """Index of local connections and long polls by id, user, device and chat.

    Attributes:
        polls: those that wait here.
        watching: whose presence they are told.
        members: of the chats that they follow.
    """

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self._devices: dict[int, Connection] = {}
        self._users: dict[int, _LocalUser] = {}
        self._feeds: dict[int, _Feed] = {}
        self.polls = LongPolls()
        self.watching = Watching()
        self.members = Members()

    # --- who is here

    def claim(self, connection: Connection) -> None:
        """Make a connection the one of its device, before it is told to others and added."""
        older = self._devices.get(connection.device_id)
        if older is not None and older is not connection:
            older.outbox.close(CLOSE_REPLACED, REPLACED)
        self._devices[connection.device_id] = connection

    def heard_claim(self, device_id: int, conn_id: str) -> None:
        """Take from the bus that a device connected; an older connection of it here closes with 4009.

        The order of the bus decides, which is the same for all servers: a connection here whose own claim was heard
        before is older, one whose claim is still under way is newer.
        """
        here = self._devices.get(device_id)
        if here is not None and here.conn_id == conn_id:
            here.announced = True
        elif here is not None and here.announced:
            here.outbox.close(CLOSE_REPLACED, REPLACED)

    def claims_were_missed(self) -> None:
        """Count claims as heard that were sent while the bus was lost: what comes now is newer."""
        for connection in self.connections.values():
            connection.announced = connection.announced or connection.published

    def add(self, connection: Connection) -> None:
        """Register a connection; pushes reach it from here on."""
        self.connections[connection.conn_id] = connection
        self._users.setdefault(connection.user_id, _LocalUser()).connections.add(connection)

    def remove(self, connection: Connection, now: float) -> None:
        """Forget a connection; its user stays known for LINGER_SECONDS."""
        self.watching.watch(connection, frozenset())
        self.connections.pop(connection.conn_id, None)
        if self._devices.get(connection.device_id) is connection:
            del self._devices[connection.device_id]
        user = self._users.get(connection.user_id)
        if user is None:
            return
        user.connections.discard(connection)
        user.idle_since = now
        for chat_id in user.chats:
            self._feeds[chat_id].positions.pop(connection, None)

    def expect(self, user_id: int, now: float) -> None:
        """Register a user who is about to connect or poll, so that news of their chats are kept from here on."""
        self._users.setdefault(user_id, _LocalUser()).idle_since = now

    def add_poll(self, user_id: int, device_id: int) -> LongPoll:
        """Register a long poll."""
        self._users.setdefault(user_id, _LocalUser())
        return self.polls.add(user_id, device_id)

    def remove_poll(self, poll: LongPoll, now: float) -> None:
        """Forget a long poll; its user stays known for LINGER_SECONDS."""
        self.polls.remove(poll)
        user = self._users.get(poll.user_id)
        if user is not None:
            user.idle_since = now

    def forget_idle(self, now: float) -> None:
        """Forget users without connections and polls for LINGER_SECONDS, and chats nobody here follows."""
        for user_id, user in list(self._users.items()):
            is_here = user.connections or user_id in self.polls.by_user
            if not is_here and now - user.idle_since > LINGER_SECONDS:
                for chat_id in list(user.chats):
                    self.unfollow(user_id, chat_id)
                del self._users[user_id]

    def is_here(self, user_id: int) -> bool:
        """Whether the user has a connection on this server."""
        user = self._users.get(user_id)
        return user is not None and bool(user.connections)

    def connections_of(self, user_id: int) -> list[Connection]:
        """Return a user's connections on this server."""
        user = self._users.get(user_id)
        return [] if user is None else list(user.connections)

    def devices(self) -> set[int]:
        """Return the devices that have a connection or a poll here."""
        return {*self._devices, *self.polls.devices()}

    def revoke(self, device_ids: Collection[int]) -> None:
        """Close the sockets of devices whose tokens died, without what waits for them, and wake their polls."""
        self.polls.wake_devices(device_ids)
        for device_id in device_ids:
            connection = self._devices.get(device_id)
            if connection is not None:
                connection.outbox.close(CLOSE_UNAUTHENTICATED, SIGNED_OUT, flush=False)

    # --- which chats they follow

    def knows(self, user_id: int) -> bool:
        """Whether the user's chats are known, so that pushes for them arrive."""
        user = self._users.get(user_id)
        return user is not None and user.learned

    def learned(self, user_id: int) -> None:
        """Record that all chats of a user have been given to ``follow``."""
        user = self._users.get(user_id)
        if user is not None:
            user.learned = True

    def known_users(self, user_ids: Iterable[int]) -> list[int]:
        """Return those of the users who are connected, polling or lingering here."""
        return [user_id for user_id in user_ids if user_id in self._users]

    def local_users(self) -> list[int]:
        """Return all users who are connected, polling or lingering here."""
        return list(self._users)

    def follow(self, user_id: int, chat_id: int, last_seq: int) -> None:
        """Push a chat to a user from now on; ``last_seq`` is where the chat stands if nobody here follows it yet."""
        user = self._users.get(user_id)
        if user is None:
            return
        user.chats.add(chat_id)
        feed = self._feeds.get(chat_id)
        if feed is None:
            feed = self._feeds[chat_id] = _Feed(pushed_seq=last_seq)
        feed.users.add(user_id)

    def follows(self, user_id: int, chat_id: int) -> bool:
        """Whether a chat is pushed to a user here."""
        user = self._users.get(user_id)
        return user is not None and chat_id in user.chats

    def count_chats(self, user_id: int) -> int:
        """Return how many chats are pushed to a user here."""
        user = self._users.get(user_id)
        return 0 if user is None else len(user.chats)

    def join(self, user_id: int, chat_id: int, after_seq: int) -> None:
        """Follow a chat that the user has just come into, rows after ``after_seq`` included."""
        user = self._users.get(user_id)
        if user is None or chat_id in user.chats:
            return
        self.follow(user_id, chat_id, after_seq)
        feed = self._feeds[chat_id]
        for connection in user.connections:
            # A sync may have been faster than the news.
            seq = max(after_seq, connection.ahead.pop(chat_id, 0))
            if seq != feed.pushed_seq:
                feed.positions[connection] = seq

    def unfollow(self, user_id: int, chat_id: int) -> None:
        """Stop pushing a chat to a user."""
        user, feed = self._users.get(user_id), self._feeds.get(chat_id)
        if user is None or feed is None:
            return
        user.chats.discard(chat_id)
        feed.users.discard(user_id)
        for connection in user.connections:
            feed.positions.pop(connection, None)
        if not feed.users:
            del self._feeds[chat_id]
            self.members.forget(chat_id)

    def present_chats(self) -> list[int]:
        """Return the chats of users who have a connection here."""
        return list({chat_id for user in self._users.values() if user.connections for chat_id in user.chats})

    def needed_after(self, chat_id: int) -> int | None:
        """Return the seq after which rows of a chat are needed here; None when nobody here follows it."""
        feed = self._feeds.get(chat_id)
        return None if feed is None else self._needed_after(feed)

    def followers(self, chat_ids: Iterable[int]) -> list[int]:
        """Return the local users who follow one of the chats."""
        return list({user_id for chat_id in chat_ids if (f := self._feeds.get(chat_id)) for user_id in f.users})

    def followers_among(self, chat_id: int, user_ids: Iterable[int]) -> tuple[int, ...]:
        """Return those of the users to whom the chat is pushed here."""
        feed = self._feeds.get(chat_id)
        return () if feed is None else tuple(feed.users.intersection(user_ids))

    def pushed_seq(self, chat_id: int) -> int:
        """Return how far a chat was pushed to the one furthest ahead; 0 when nobody here follows it."""
        feed = self._feeds.get(chat_id)
        return 0 if feed is None else feed.pushed_seq

    @staticmethod
    def _needed_after(feed: _Feed) -> int:
        return min((feed.pushed_seq, *feed.positions.values()))

    # --- pushing

    def push(self, chat_id: int, rows: Iterable[PushedRow], up_to_seq: int) -> int:
        """Hand rows of one chat to the outboxes of those who may see and have not had them.

        Args:
            chat_id: the chat.
            rows: the visible ones among its rows after ``needed_after``, ascending by seq.
            up_to_seq: the seq that ``rows`` reach; the chat counts as pushed up to it.

        Returns:
            How many frames were queued.
        """
        feed = self._feeds.get(chat_id)
        if feed is None:
            return 0
        queued = 0
        polls = self.polls.by_user
        for row in rows:
            for user_id in row.user_ids:
                user = self._users.get(user_id)
                if user is None:
                    continue
                # Nobody is asked where nobody polls: a row of a large group comes by here for each of its members.
                for poll in polls.get(user_id, ()) if polls else ():
                    poll.woken.set()
                for connection in user.connections:
                    queued += self._offer(feed, connection, row)
        feed.pushed_seq = max(feed.pushed_seq, up_to_seq)
        feed.positions = {
            connection: max(seq, up_to_seq)
            for connection, seq in feed.positions.items()
            if max(seq, up_to_seq) != feed.pushed_seq
        }
        return queued

    @staticmethod
    def _offer(feed: _Feed, connection: Connection, row: PushedRow) -> bool:
        is_own = row.from_id == connection.user_id and row.client_id in connection.own_ids
        if is_own:
            connection.own_ids.discard(row.client_id)
        if row.seq <= feed.positions.get(connection, feed.pushed_seq) or is_own:
            return False
        if connection.held is not None:
            if not connection.held.add(row):
                connection.outbox.close(CLOSE_PACE, "too slow", flush=False)
            return False
        return connection.outbox.put(row.frame)

    def tell(self, user_ids: Collection[int], frame: bytes) -> None:
        """Queue a frame (a receipt, typing) to every connection of some users."""
        for user_id in user_ids:
            user = self._users.get(user_id)
            for connection in user.connections if user is not None else ():
                connection.outbox.put(frame)

    def unknown_members(self, chat_ids: Iterable[int]) -> list[int]:
        """Return those of the followed chats whose current members have to be looked up."""
        return [chat_id for chat_id in chat_ids if chat_id in self._feeds and not self.members.knows(chat_id)]

    def forget_members_between(self, user_id: int, other_id: int) -> None:
        """Look up anew the members of chats that two users share: what may go between them has changed."""
        here = self._users.get(user_id) or self._users.get(other_id)
        if here is not None:
            self.members.forget_shared(here.chats, user_id, other_id)

    def tell_members(self, chat_id: int, frame: bytes, *, from_id: int, but_user_id: int | None = None) -> None:
        """Queue a frame to the connections of those who get a member's signals."""
        feed = self._feeds.get(chat_id)
        if feed is not None:
            readers = self.members.readers(chat_id, feed.users, from_id=from_id)
            self.tell([user_id for user_id in readers if user_id != but_user_id], frame)

    # --- a sync of one connection

    @staticmethod
    def begin_sync(connection: Connection) -> None:
        """Hold back the connection's pushes until ``end_sync``, so that it sees each chat ascending.

        Begun again, it goes on: what is held stays so.
        """
        if connection.held is None:
            connection.held = Held()

    def end_sync(self, connection: Connection, reached: Mapping[int, int]) -> None:
        """Release what was held back, but the rows that the sync has brought.

        Args:
            connection: the connection.
            reached: the seq that the sync brought each chat to.
        """
        held, connection.held = connection.held or Held(), None
        for row in held.rows:
            if row.seq > reached.get(row.chat_id, 0):
                connection.outbox.put(row.frame)
        for chat_id, seq in reached.items():
            if not self.follows(connection.user_id, chat_id):
                connection.ahead[chat_id] = seq
                continue
            feed = self._feeds[chat_id]
            if seq > feed.positions.get(connection, feed.pushed_seq):
                feed.positions[connection] = seq
