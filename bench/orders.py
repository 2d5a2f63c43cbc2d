"""The order that a generator process executes, and its result."""

from __future__ import annotations

from typing import Literal

import msgspec

Wire = Literal["chat", "rest", "xmpp", "matrix"]
"""The protocol of a generator: our WebSocket; our REST API to send and the WebSocket to receive; XMPP; Matrix."""

TEXT = "Are you coming to the market with us this afternoon?"


class Person(msgspec.Struct, frozen=True):
    """A signed-in device.

    Attributes:
        token: its token; for XMPP the name of the account.
        target: where it sends, as its wire names it (chat, address, room); empty: it only receives.
        have: {chat: the seq up to which it has all rows}; only in the mode ``sync``.
    """

    token: str
    target: str = ""
    have: dict[str, int] = {}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The load that a generator process creates.

    Attributes:
        wire: the protocol.
        urls: URLs of the servers, assigned to the parties in turn.
        parties: users who are in one chat: a message of one of them reaches all others of its party.
        mode: ``open``: ``rate`` messages a second for ``seconds``; ``closed``: each sender keeps ``window`` messages
            unacknowledged for ``seconds``; ``hold``: connect and do nothing; ``sync``: connect all at once at the start
            time, and report when each has the rows that it missed.
        seconds: length of the load, at most `MAX_SECONDS` of `bench.fleet`.
        rate: messages per second of all generator processes together.
        window: unacknowledged messages of each sender.
        process: index of this generator process.
        processes: number of generator processes.
        spread: whether the users of a party are on different servers.
        authority: file with the certificate authority to trust, for wss and https.
        receipts: whether recipients send receipts: one for all messages of one turn of their loop, as our page does.
            Only for our WebSocket.
        text: text of each message.
    """

    wire: Wire
    urls: list[str]
    parties: list[list[Person]]
    mode: Literal["open", "closed", "hold", "sync"]
    seconds: float = 0.0
    rate: float = 0.0
    window: int = 0
    process: int = 0
    processes: int = 1
    spread: bool = False
    authority: str = ""
    receipts: bool = False
    text: str = TEXT


class Connected(msgspec.Struct, frozen=True):
    """All clients are connected; the generator waits for the start signal.

    Attributes:
        retries: connections that were rejected at first.
    """

    connections: int
    retries: int
    seconds: float


class Result(msgspec.Struct, frozen=True):
    """The result of an order; histograms of microseconds in the form of `bench.latencies`.

    Attributes:
        acked: messages that were acknowledged; in the mode ``sync`` clients that have all rows.
        delivered: messages at recipients; one to a group of n counts n - 1 times.
        refused: sends that were answered by an error, or connections that were retried.
        seconds: from the start to the last acknowledgement.
        cpu_seconds: CPU time of the generator process.
        acked_us: from when a message was due to its acknowledgement; for ``sync`` from the start.
        delivered_us: from when a message was due to its arrival at a recipient.
        late_us: how late the generator itself sent, to distinguish its own limits from the server's.
    """

    sent: int
    acked: int
    delivered: int
    refused: int
    seconds: float
    cpu_seconds: float
    acked_us: str
    delivered_us: str
    late_us: str
