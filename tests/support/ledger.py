"""Users who write to each other all the time, and the account of what became of every acknowledged message."""

import asyncio
import contextlib
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Self

from chatcluster_client import Ack, ChatClientError, HistoryReplaced, Item, LiveClient, Positions, Problem, RestClient
from tests.support.cluster import until

SETTLE_SECONDS = 90.0
"""Longest wait, after the last send, for what is acknowledged to reach its recipient."""

SIGN_IN_TRIES = 30


@dataclass(frozen=True, slots=True)
class Account:
    """What a ledger found; `clean`: what was acknowledged arrived once and in order, and the history has the same."""

    acknowledged: int
    lost: int
    duplicated: int
    reordered: int
    differing_from_history: int
    longest_gap_seconds: float
    refused: int
    began_again: int = 0

    @property
    def clean(self) -> bool:
        return self.acknowledged > 0 and not (
            self.lost or self.duplicated or self.reordered or self.differing_from_history
        )

    def __str__(self) -> str:
        return (
            f"ledger: acknowledged {self.acknowledged} / lost {self.lost} / duplicated {self.duplicated}"
            f" / reordered {self.reordered}, longest gap {self.longest_gap_seconds:.1f} s"
            + (f", {self.began_again} began again" if self.began_again else "")
        )


@dataclass(slots=True)
class _User:
    rest: RestClient
    live: LiveClient
    acked: list[tuple[int, int, str]] = field(default_factory=list)
    """(chat_id, seq, text) of own messages."""
    seen: list[tuple[int, int, str]] = field(default_factory=list)
    """(chat_id, seq, text) of the other's messages, in the order they came."""
    gap_seconds: float = 0.0
    """Longest wait for an acknowledgement."""
    gap_since_seconds: float = 0.0
    """The same, since `Ledger.gap` was asked last."""
    refused: int = 0
    began_again: int = 0
    """How often the database had another history, as after a failover, so that the connection ended."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Ledger:
    """Pairs of users on live connections, each sending numbered messages to the other.

    Args:
        base_url: The ingress.
        tls: How to check it.
        pairs: How many pairs; every user holds one connection.
        messages_per_second: By each user.
    """

    def __init__(
        self, base_url: str, *, tls: ssl.SSLContext | bool = True, pairs: int = 2, messages_per_second: float = 5
    ) -> None:
        self.base_url = base_url
        self.tls = tls
        self.pairs = pairs
        self.period_seconds = 1 / messages_per_second
        self._users: list[_User] = []
        self._readers: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    @property
    def clients(self) -> list[LiveClient]:
        """The live connections, two a pair."""
        return [user.live for user in self._users]

    @property
    def acknowledged(self) -> int:
        """Messages acknowledged so far."""
        return sum(len(user.acked) for user in self._users)

    async def __aenter__(self) -> Self:
        for _ in range(self.pairs):
            pair = [await sign_in(self.base_url, tls=self.tls) for _ in range(2)]
            users = [_User(rest, LiveClient(rest)) for rest in pair]
            for user, other in zip(users, reversed(pair), strict=True):
                await user.live.__aenter__()
                await asyncio.wait_for(user.live.connected.wait(), SETTLE_SECONDS)
                self._readers.append(asyncio.create_task(self._read(user)))
                self._writers.append(asyncio.create_task(self._write(user, other.username)))
            self._users += users
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        for task in (*self._writers, *self._readers):
            task.cancel()
        await asyncio.gather(*self._writers, *self._readers, return_exceptions=True)
        for user in self._users:
            await user.live.close()
            await user.rest.close()

    async def all_acknowledged(self, timeout_seconds: float) -> float:
        """Wait until each user has one more message acknowledged; returns the seconds it took."""
        before = [len(user.acked) for user in self._users]

        async def done() -> bool:
            return all(len(user.acked) > count for user, count in zip(self._users, before, strict=True))

        return await until(done, "each user's messages are acknowledged", timeout_seconds, poll_seconds=0.2)

    async def gap(self, timeout_seconds: float) -> float:
        """Wait until each user has one more message acknowledged; returns the longest wait since the last call."""
        await self.all_acknowledged(timeout_seconds)
        longest = max(user.gap_since_seconds for user in self._users)
        for user in self._users:
            user.gap_since_seconds = 0.0
        return longest

    async def _write(self, user: _User, to: str) -> None:
        number = 0
        while not self._stopped.is_set():
            text = f"{user.rest.user_id}:{number}"
            number += 1
            started = time.monotonic()
            try:
                ack = await self._send(user, text, to)
            except Problem:
                user.refused += 1
            else:
                user.acked.append((ack.chat_id, ack.seq, text))
            waited = time.monotonic() - started
            user.gap_seconds = max(user.gap_seconds, waited)
            user.gap_since_seconds = max(user.gap_since_seconds, waited)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.period_seconds)

    async def _send(self, user: _User, text: str, to: str) -> Ack:
        """Send a message until it is acknowledged, over as many clients as it takes."""
        client_id = str(uuid.uuid4())
        while True:
            live = user.live
            try:
                return await live.send(text, to=to, client_id=client_id)
            except HistoryReplaced:
                await self._begin_again(user, live)

    async def _read(self, user: _User) -> None:
        while True:
            live = user.live
            try:
                async for item in live.items():
                    if isinstance(item, Item) and item.kind == "message" and not item.own:
                        user.seen.append((item.chat_id, item.seq, item.text or ""))
            except HistoryReplaced:
                await self._begin_again(user, live)
            except ChatClientError:
                return
            else:
                return

    async def _begin_again(self, user: _User, ended: LiveClient) -> None:
        """Go on with another client, as a program does, from what this user has: what is acknowledged is not lost."""
        async with user.changing:
            if user.live is ended:
                have: dict[int, int] = {}
                for chat_id, seq, _ in user.seen:
                    have[chat_id] = max(seq, have.get(chat_id, 0))
                user.began_again += 1
                user.live = LiveClient(user.rest, Positions(have=have))
                await user.live.__aenter__()

    async def finish(self) -> Account:
        """Stop sending, wait until the recipients have what was acknowledged, and account for it."""
        self._stopped.set()
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*self._writers)
        pairs = list(zip(self._users[::2], self._users[1::2], strict=True))

        async def settled() -> bool:
            return not any(set(b.acked) - set(a.seen) or set(a.acked) - set(b.seen) for a, b in pairs)

        # What has not come by then is counted below as lost.
        with contextlib.suppress(AssertionError):
            await until(settled, "all that is acknowledged has arrived", SETTLE_SECONDS, poll_seconds=0.2)
        return self._account([*pairs, *((b, a) for a, b in pairs)], [await self._stored(user) for user in self._users])

    async def _stored(self, user: _User) -> set[tuple[int, int, str]]:
        """The others' messages as somebody sees them who fetches afresh."""
        rows: set[tuple[int, int, str]] = set()
        for chat_id in {chat_id for chat_id, _, _ in (*user.acked, *user.seen)}:
            after_seq = 0
            while page := await _history(user.rest, chat_id, after_seq):
                after_seq = page[-1]["seq"]
                rows |= {
                    (chat_id, row["seq"], row["text"])
                    for row in page
                    if row.get("kind", "message") == "message" and row["from_id"] != user.rest.user_id
                }
        return rows

    def _account(self, directions: list[tuple[_User, _User]], stored: list[set[tuple[int, int, str]]]) -> Account:
        return Account(
            acknowledged=self.acknowledged,
            lost=sum(len(set(sender.acked) - set(reader.seen)) for sender, reader in directions),
            duplicated=sum(len(user.seen) - len({text for _, _, text in user.seen}) for user in self._users),
            reordered=sum(
                sum(later[1] <= earlier[1] for earlier, later in zip(user.seen, user.seen[1:], strict=False))
                for user in self._users
            ),
            differing_from_history=sum(
                len(set(user.seen) ^ rows) for user, rows in zip(self._users, stored, strict=True)
            ),
            longest_gap_seconds=max(user.gap_seconds for user in self._users),
            refused=sum(user.refused for user in self._users),
            began_again=sum(user.began_again for user in self._users),
        )


async def _history(rest: RestClient, chat_id: int, after_seq: int) -> list[dict[str, Any]]:
    """Read rows of a chat; patient with a server that is busy."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                return await rest.history(chat_id, after_seq=after_seq)
            except Problem as problem:
                if not problem.retryable:
                    raise
                await asyncio.sleep(problem.retry_after_seconds or 1)


async def sign_in(base_url: str, *, tls: ssl.SSLContext | bool = True, prefix: str = "u") -> RestClient:
    """Sign a new user in, with a number and a name nobody has; patient with a server that is busy or away."""
    unique = uuid.uuid4()
    phone_number = f"+1{2_000_000_000 + unique.int % 7_999_999_999}"
    for _ in range(SIGN_IN_TRIES):
        try:
            return await RestClient.sign_in(base_url, phone_number, username=f"{prefix}{unique.hex[:12]}", tls=tls)
        except Problem as problem:
            if not problem.retryable:
                raise
            await asyncio.sleep(problem.retry_after_seconds or 1)
    raise TimeoutError(f"{base_url} refused a sign-in {SIGN_IN_TRIES} times")
