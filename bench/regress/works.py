"""The counted work: typical actions of clients, in lock-step, so that no batch depends on timing."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bench import schedule
from bench.orders import TEXT
from bench.regress.talk import Api, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bench.filling import Filling
    from bench.orders import Person

SENDS = 10
"""In one go, where one waits for the other."""

ROUNDS = 4
"""In one go, where many are done at once."""

TOGETHER = 32
"""Messages that one client sends at once: a batch of the writer at a few thousand a second."""

MEMBERS = 64
"""Of the group."""

PAGE_ROWS = 20
"""Messages that a poll finds."""

MISSED = 3
"""Messages in each chat that one who connects has not seen."""

PAUSE_SECONDS = 0.05
"""Before each batch: longer than the server collects hints, so that each finds none being published and sends its own
in its commit. Whether the next one of a slow server came in time for that would be chance."""

HISTORY = 200
"""Messages stored in each chat at first."""


@dataclass(slots=True)
class Stage:
    """Two servers with signed-in users.

    Attributes:
        url: of the server that is counted.
        other_url: of another one on the same database.
        pair: with a direct chat.
        head: has a direct chat with each of `others`.
        comer: has as many chats, and comes and goes.
        group: of whom the first one writes.
        lines: that have been opened, to whichever server.
    """

    url: str
    other_url: str
    pair: list[Person]
    head: Person
    others: list[Person]
    comer: Person
    group: list[Person]
    lines: list[Line] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _listening: list[Line] = field(default_factory=list)

    @classmethod
    def made(cls, filling: Filling, url: str, other_url: str) -> Stage:
        """Create the users; nobody connects yet."""
        [pair] = filling.pairs(1, HISTORY)
        head, others = filling.star(TOGETHER, HISTORY)
        comer, _ = filling.star(TOGETHER, HISTORY)
        return cls(url, other_url, pair, head, others, comer, filling.group(MEMBERS, 1))

    def close(self) -> None:
        """Close all lines."""
        for line in self.lines:
            line.close()

    def line(self, person: Person, url: str = "") -> Line:
        """Connect a person's device, to the server that is counted if no other is named."""
        line = Line("ws" + (url or self.url).removeprefix("http"), person.token)
        self.lines.append(line)
        return line

    def listening(self) -> list[Line]:
        """Return the lines of `others`, who stay connected from the first work that needs them on.

        On a busy machine the works between take longer than the server waits for an answer to its ping.
        """
        still = [line for line in self._listening if line.is_open()]
        if not still or len(still) < len(self._listening):
            for line in self._listening:
                line.close()
            self._listening = [self.line(person) for person in self.others]
        return self._listening

    def api(self, person: Person) -> Api:
        """Return the API of the server that is counted, as this person."""
        return Api(self.url, person.token)

    def client_id(self) -> str:
        """Return an id that no message has."""
        return schedule.key(next(self._numbers), 0, 0).decode()

    def message(self, chat_id: str) -> bytes:
        """Return a frame that sends a message."""
        message = {"type": "send", "id": self.client_id(), "chat_id": int(chat_id), "text": TEXT}
        return msgspec.json.encode(message)

    def received(self) -> dict[str, int]:
        """Return what has come over all lines."""
        return {"frames": sum(line.frames for line in self.lines), "bytes": sum(line.bytes for line in self.lines)}


@dataclass(frozen=True, slots=True)
class Work:
    """A unit of work to count.

    Attributes:
        name: what the counts are of.
        units: of them in one go.
        ready: makes connections and gives what does one go.
        stores: whether it stores rows; what WAL there is beside one that does not is the clock's.
    """

    name: str
    units: int
    ready: Callable[[Stage], AbstractContextManager[Callable[[], None]]]
    stores: bool = True


@contextlib.contextmanager
def _one_by_one(stage: Stage, users: Sequence[Person], sends: int) -> Iterator[Callable[[], None]]:
    """The first user sends to their chat, and waits until all the others have the message."""
    with contextlib.ExitStack() as stack:
        sending, *receiving = [stack.enter_context(stage.line(person)) for person in users]

        def go() -> None:
            for _ in range(sends):
                time.sleep(PAUSE_SECONDS)
                sending.send([stage.message(users[0].target)])
                sending.read("ack")
                for line in receiving:
                    line.read("message")

        yield go


def _pair(stage: Stage) -> AbstractContextManager[Callable[[], None]]:
    return _one_by_one(stage, stage.pair, SENDS)


def _group(stage: Stage) -> AbstractContextManager[Callable[[], None]]:
    return _one_by_one(stage, stage.group, ROUNDS)


@contextlib.contextmanager
def _together(stage: Stage, senders_url: str = "") -> Iterator[Callable[[], None]]:
    receiving = stage.listening()
    with stage.line(stage.head, senders_url) as sending:

        def go() -> None:
            for _ in range(ROUNDS):
                time.sleep(PAUSE_SECONDS)
                sending.send(map(stage.message, stage.head.have))
                sending.read("ack", TOGETHER)
                for line in receiving:
                    line.read("message")

        yield go


def _from_elsewhere(stage: Stage) -> AbstractContextManager[Callable[[], None]]:
    return _together(stage, stage.other_url)


@contextlib.contextmanager
def _receipts(stage: Stage) -> Iterator[Callable[[], None]]:
    others = stage.listening()
    seqs = iter(range(1, HISTORY + 1))
    with stage.line(stage.head) as reading:

        def go() -> None:
            for _ in range(ROUNDS):
                time.sleep(PAUSE_SECONDS)
                mark = {"type": "read", "seq": next(seqs)}
                reading.send(msgspec.json.encode(mark | {"chat_id": int(chat_id)}) for chat_id in stage.head.have)
                reading.read("receipt", TOGETHER)
                for line in others:
                    line.read("receipt")

        yield go


@contextlib.contextmanager
def _rest(stage: Stage) -> Iterator[Callable[[], None]]:
    sender, recipient = stage.pair
    with stage.api(sender) as sending, stage.line(recipient) as receiving:

        def go() -> None:
            for _ in range(SENDS):
                time.sleep(PAUSE_SECONDS)
                message = {"chat_id": int(sender.target), "client_id": stage.client_id(), "text": TEXT}
                sending.call("POST", "/api/messages", msgspec.json.encode(message))
                receiving.read("message")

        yield go


@contextlib.contextmanager
def _poll(stage: Stage) -> Iterator[Callable[[], None]]:
    sender, recipient = stage.pair
    with stage.line(sender) as sending, stage.api(recipient) as polling:
        rows, headers = polling.call("GET", "/api/messages")
        while rows:
            cursor = headers["X-Next-Since"]
            rows, headers = polling.call("GET", f"/api/messages?since={cursor}")
        sending.send([stage.message(sender.target) for _ in range(PAGE_ROWS)])
        sending.read("ack", PAGE_ROWS)

        def go() -> None:
            for _ in range(SENDS):
                rows, _ = polling.call("GET", f"/api/messages?since={cursor}")
                if len(rows) != PAGE_ROWS:
                    raise RuntimeError(f"{len(rows)} messages came, not {PAGE_ROWS}")

        yield go


@contextlib.contextmanager
def _sync(stage: Stage) -> Iterator[Callable[[], None]]:
    have = {chat_id: seq - MISSED for chat_id, seq in stage.comer.have.items()}

    def go() -> None:
        for _ in range(ROUNDS):
            with stage.line(stage.comer) as line:
                line.send([msgspec.json.encode({"type": "sync", "chats": have})])
                line.read("synced")
                line.read("message", MISSED * TOGETHER)

    yield go


WORKS = (
    # These two while few are connected: whoever is gets recorded as seen every half minute, and a message of a slow
    # machine takes its share of that WAL along.
    Work("message", SENDS, _pair),
    Work("message by REST", SENDS, _rest),
    Work(f"message, {TOGETHER} at once", ROUNDS * TOGETHER, _together),
    Work(f"message, {TOGETHER} from another server", ROUNDS * TOGETHER, _from_elsewhere),
    Work(f"receipt, {TOGETHER} at once", ROUNDS * TOGETHER, _receipts),
    Work(f"recipient in a group of {MEMBERS}", ROUNDS * (MEMBERS - 1), _group),
    Work(f"poll of {PAGE_ROWS} messages", SENDS, _poll, stores=False),
    Work(f"connect and sync of {TOGETHER * MISSED} messages", ROUNDS, _sync, stores=False),
)
