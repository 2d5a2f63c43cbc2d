"""One WebSocket of a client as delivery sees it: its outbox, and which rows it does not need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.closing import TOO_SLOW
from chatserver.fanout.outbox import MAX_OUTBOX_BYTES, MAX_OUTBOX_FRAMES, Outbox
from chatserver.fanout.push_times import NO_COMMIT
from chatserver.protocol import CLOSE_PACE

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PushedRow:
    """A row to deliver, encoded once for all connections.

    Attributes:
        user_ids: users of this server who may see it.
        committed_at: of ``time.monotonic``, as far as it is known.
    """

    chat_id: int
    seq: int
    from_id: int
    client_id: str
    frame: bytes
    user_ids: tuple[int, ...]
    committed_at: float = NO_COMMIT


class Held:
    """Rows of all chats that wait for the end of a connection's sync: no more than an outbox may hold.

    Attributes:
        rows: in the order of their arrival.
    """

    __slots__ = ("_bytes", "rows")

    def __init__(self) -> None:
        self.rows: list[PushedRow] = []
        self._bytes = 0

    def add(self, row: PushedRow) -> bool:
        """Hold a row; False when there is no room for it."""
        self._bytes += len(row.frame)
        self.rows.append(row)
        return len(self.rows) <= MAX_OUTBOX_FRAMES and self._bytes <= MAX_OUTBOX_BYTES


@dataclass(eq=False, slots=True)
class ClientConnection:
    """One WebSocket.

    Attributes:
        conn_id: name of the connection in ``welcome`` and the logs.
        own_ids: client ids of sends of this connection whose rows have not passed yet: it gets acks instead of rows.
        held: rows that arrived during a sync; None when no sync runs.
        ahead: how far a sync has brought chats that the hub does not follow for its user yet.
        watched: users whose presence it subscribed to.
        published: its claim has been published to the other servers.
        announced: this server has received that claim, too: later claims of the same device are newer.
        moving: its client got a request to reconnect elsewhere.
        proxy: address of the peer that opened it, usually a proxy's.
    """

    conn_id: str
    user_id: int
    device_id: int
    outbox: Outbox = field(default_factory=Outbox)
    own_ids: set[str] = field(default_factory=set)
    held: Held | None = None
    ahead: dict[int, int] = field(default_factory=dict)
    watched: frozenset[int] = frozenset()
    published: bool = False
    announced: bool = False
    moving: bool = False
    proxy: str = ""

    def offer(self, row: PushedRow, after_seq: int) -> bool:
        """Queue a row unless the connection has it; hold it back during a sync.

        Args:
            row: a row that the user may see.
            after_seq: the seq up to which the connection has the chat.

        Returns:
            Whether it was queued and is written in the next turn of the event loop.
        """
        is_own = row.from_id == self.user_id and row.client_id in self.own_ids
        if is_own:
            self.own_ids.discard(row.client_id)
        if row.seq <= after_seq or is_own:
            return False
        if self.held is not None:
            if not self.held.add(row):
                self.outbox.close(CLOSE_PACE, TOO_SLOW, flush=False)
            return False
        outbox = self.outbox
        if outbox.late is None:
            return outbox.put(row.frame)
        outbox.put(row.frame, row.committed_at)
        return False

    def hold(self) -> None:
        """Hold rows back until ``release``, so that the client gets each chat in order; those held already stay so."""
        if self.held is None:
            self.held = Held()

    def release(self, reached: Mapping[int, int]) -> list[PushedRow]:
        """Queue the held rows that the sync did not bring; returns those that are written in the next turn of the loop.

        Args:
            reached: the seq to which the sync brought each chat.
        """
        held, self.held = self.held, None
        queued = []
        for row in held.rows if held is not None else ():
            if row.seq > reached.get(row.chat_id, 0):
                is_late = self.outbox.late is not None
                if self.outbox.put(row.frame, row.committed_at) and not is_late:
                    queued.append(row)
        return queued
