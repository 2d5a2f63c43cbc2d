"""What a generator process is told to do, and what it tells back."""

from __future__ import annotations

from typing import Literal

import msgspec

Wire = Literal["chat", "rest", "xmpp", "matrix"]
"""How a generator talks: our WebSocket; our REST API for what is sent, the WebSocket for what comes; XMPP; Matrix."""

TEXT = "Are you coming to the market with us this afternoon?"


class Person(msgspec.Struct, frozen=True):
    """A signed-in device.

    Attributes:
        token: what it signs in with; for XMPP the name of the account.
        target: where it sends, in the words of its wire (chat, address, room); empty: it only listens.
        have: up to which seq of which chat it has everything; only in the mode ``sync``.
    """

    token: str
    target: str = ""
    have: dict[str, int] = {}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        wire: the protocol.
        urls: of the servers, which the parties take in turn.
        parties: people who are in one chat: what one of them sends reaches all others of its party.
        mode: ``open``: ``rate`` messages a second for ``seconds``; ``closed``: each sender keeps ``window`` messages on
            the way for ``seconds``; ``hold``: connect and do nothing; ``sync``: connect all at once when it is time to
            go, and say when each has what it missed.
        seconds: length of the load, at most `MAX_SECONDS` of `bench.fleet`.
        rate: of all generator processes together.
        window: of each sender.
        process: this one's place among the generator processes.
        processes: how many there are.
        spread: the people of a party are on different servers, too.
        authority: file with the certificate authority to trust, for wss and https.
        receipts: who gets messages says so: one mark for all that come in one turn of its loop, as our page does. Only
            our WebSocket.
        text: of each message.
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
    """Everybody is connected; the generator waits for the word to go.

    Attributes:
        retries: connections that were refused at first.
    """

    connections: int
    retries: int
    seconds: float


class Result(msgspec.Struct, frozen=True):
    """What became of an order; histograms of microseconds as `bench.latencies` writes them.

    Attributes:
        acked: messages that were acknowledged; in the mode ``sync`` clients that have all they missed.
        delivered: messages at recipients; one to a group of n counts n - 1 times.
        refused: sends that were answered by an error, or connections that had to be tried again.
        seconds: from the word to go to the last acknowledgement.
        cpu_seconds: of the generator process meanwhile.
        acked_us: from when a message was due to its acknowledgement; of ``sync``: from the word to go.
        delivered_us: from when a message was due to its being at a recipient.
        late_us: how late the generator itself was in sending, to tell its own limits from the server's.
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
