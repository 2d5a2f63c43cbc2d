"""What became of each message of the probe: acknowledged, received, lost, doubled, out of order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

KEPT = 1_000
"""Messages that are remembered, the newest: about 300 KB. A duplicate of an older one is not recognised."""


@dataclass(slots=True)
class Sent:
    """One message that was sent.

    Attributes:
        sent_at: When it was given to the client, in monotonic seconds.
        acknowledged_at: When the server said that it is stored; None if it has not said so.
        seq: Its place in the chat, by the acknowledgement.
        received_at: When the other account received it first; None if it has not.
        lost: It has been reported as lost.
    """

    sent_at: float
    acknowledged_at: float | None = None
    seq: int | None = None
    received_at: float | None = None
    lost: bool = False


@dataclass(frozen=True)
class Received:
    """What the arrival of a message means.

    Attributes:
        round_trip_seconds: From sending to receiving; None for a duplicate and for a message that is not remembered.
        duplicated: The message has been received before, as another row.
        reordered: A message that was sent after this one was acknowledged has been received before it.
        found: The message was reported as lost.
    """

    round_trip_seconds: float | None = None
    duplicated: bool = False
    reordered: bool = False
    found: bool = False


class Ledger:
    """The messages of one run, by their number: 1, 2, 3 in the order of sending.

    The receiver's time counts only while it is connected: what a receiver without a connection has not got is not lost.

    Args:
        lost_seconds: After so long without arrival an acknowledged message counts as lost.
    """

    def __init__(self, lost_seconds: float) -> None:
        self._lost_seconds = lost_seconds
        self._messages: dict[int, Sent] = {}
        self._last_number = 0
        self._newest_received = 0
        self._highest_acknowledged = 0

    def __len__(self) -> int:
        return len(self._messages)

    def send(self, now: float) -> int:
        """Record that a message is about to be sent, and return its number."""
        self._last_number += 1
        self._messages[self._last_number] = Sent(sent_at=now)
        if len(self._messages) > KEPT:
            # Dictionaries are in the order of insertion, which is that of the numbers.
            del self._messages[next(iter(self._messages))]
        return self._last_number

    def acknowledge(self, number: int, seq: int, now: float) -> bool:
        """Record an acknowledgement; returns whether the message is out of order.

        It is if a message that was acknowledged before this one was sent has a higher place in the chat.

        Args:
            number: Of the message.
            seq: Its place in the chat.
            now: Monotonic seconds.
        """
        message = self._messages.get(number)
        if message is None:
            return False
        message.acknowledged_at, message.seq = now, seq
        earlier = self._messages.get(self._highest_acknowledged)
        if earlier is None or earlier.seq is None or earlier.seq < seq:
            self._highest_acknowledged = number
            return False
        # One that was sent again after its try had been given up may have been stored behind its successor.
        return (
            earlier.acknowledged_at is not None
            and self._highest_acknowledged < number
            and earlier.acknowledged_at <= message.sent_at
        )

    def receive(self, number: int, now: float) -> Received:
        """Record that the other account received a message, in the order in which it does.

        Args:
            number: Of the message.
            now: Monotonic seconds.
        """
        message = self._messages.get(number)
        if message is None:
            return Received()
        if message.received_at is not None:
            return Received(duplicated=True)
        message.received_at = now
        newest = self._messages.get(self._newest_received)
        reordered = (
            newest is not None
            and self._newest_received > number
            and message.acknowledged_at is not None
            and message.acknowledged_at <= newest.sent_at
        )
        self._newest_received = max(self._newest_received, number)
        return Received(round_trip_seconds=now - message.sent_at, reordered=reordered, found=message.lost)

    def begin_new_history(self) -> None:
        """Forget the order so far: the database was restored, and places in the chat begin again further down."""
        self._newest_received = self._highest_acknowledged = 0

    def is_received(self, number: int) -> bool:
        """Return whether the other account has received a message."""
        message = self._messages.get(number)
        return message is not None and message.received_at is not None

    def lose(self, now: float, connected_at: float | None) -> list[int]:
        """Return the acknowledged messages that have become lost since the last call; each is returned once.

        Args:
            now: Monotonic seconds.
            connected_at: Since when the receiver is connected without interruption; None while it is not.
        """
        if connected_at is None:
            return []
        lost = [
            number
            for number, message in self._messages.items()
            if message.acknowledged_at is not None
            and message.received_at is None
            and not message.lost
            and now - max(message.acknowledged_at, connected_at) >= self._lost_seconds
        ]
        for number in lost:
            self._messages[number].lost = True
        return lost
