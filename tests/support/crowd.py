"""People who talk in pairs and groups through whatever server is up, and the account of every acknowledged message."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from chatcluster_client import ChatClientError, Item, LiveClient, Problem, RestClient
from tests.support.cluster import until
from tests.support.ledger import Account

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    import httpx

GROUP_MEMBERS = 8
SECOND_DEVICE_EVERY = 4
"""Every fourth user has a second device, which only listens."""

CONNECT_SECONDS = 60.0
SETTLE_SECONDS = 120.0
"""Longest wait, after the last send, for what is acknowledged to be everywhere."""

SIGN_INS_AT_ONCE = 8

_numbers = itertools.count(1)

Place = tuple[int, int, str]
"""(chat_id, seq, text) of a message."""


class RoamingClient(RestClient):
    """A device that meets the next server at each connection and each call, as behind a load balancer."""

    def __init__(self, urls: Sequence[str], chance: random.Random, signed_in: RestClient) -> None:
        # Not copied: a test may take a server out that has left.
        self._urls = urls
        self._turns = itertools.count(chance.randrange(len(urls)))
        super().__init__(urls[0], signed_in.token, signed_in.user_id, signed_in.username)

    @property
    def base_url(self) -> str:
        """The next server."""
        return self._urls[next(self._turns) % len(self._urls)]

    @base_url.setter
    def base_url(self, _: str) -> None:
        """Let the base class have its say."""

    async def request(
        self, method: str, path: str, body: Any = None, *, params: dict[str, Any] | None = None, wait_seconds: float = 0
    ) -> httpx.Response:
        """As of `RestClient`, by the next server."""
        self._http.base_url = self.base_url
        return await super().request(method, path, body, params=params, wait_seconds=wait_seconds)


@dataclass(slots=True, eq=False)
class Device:
    """One connection of a user, and what it was given, in that order."""

    rest: RoamingClient
    live: LiveClient
    seen: list[Place] = field(default_factory=list)
    seen_at: dict[Place, float] = field(default_factory=dict)

    def forgotten(self, places: set[Place]) -> set[Place]:
        """Return those of the messages that it was not given."""
        return places - self.seen_at.keys()


@dataclass(slots=True, eq=False)
class Person:
    """A user: the first device writes."""

    user_id: int
    name: str
    devices: list[Device]
    refused: int = 0
    gap_seconds: float = 0.0
    gap_began: float = 0.0


class Crowd:
    """Users on live connections, each writing numbered messages to a partner and to a group in turn.

    Args:
        urls: the servers.
        size: users; an even number.
        messages_per_second: by each user.
        chance: decides which server is met; not what is written.

    Attributes:
        acked_at: when each acknowledged message was, on the monotonic clock.
    """

    def __init__(self, urls: Sequence[str], *, size: int, messages_per_second: float, chance: random.Random) -> None:
        self.people: list[Person] = []
        self.acked_at: dict[Place, float] = {}
        self._urls = urls
        self._size = size
        self._period_seconds = 1 / messages_per_second
        self._chance = chance
        self._members: dict[int, list[Person]] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    @property
    def user_ids(self) -> set[int]:
        """All of them."""
        return {person.user_id for person in self.people}

    @property
    def devices(self) -> list[Device]:
        """All devices of all."""
        return [device for person in self.people for device in person.devices]

    async def __aenter__(self) -> Self:
        gate = asyncio.Semaphore(SIGN_INS_AT_ONCE)
        self.people = await asyncio.gather(*(self._arrive(gate, place) for place in range(self._size)))
        for device in self.devices:
            await device.live.__aenter__()
            self._readers.append(asyncio.create_task(_read(device)))
        for device in self.devices:
            await asyncio.wait_for(device.live.connected.wait(), CONNECT_SECONDS)
        for start in range(0, self._size, GROUP_MEMBERS):
            members = self.people[start : start + GROUP_MEMBERS]
            creator, *others = members
            group = await creator.devices[0].rest.call(
                "POST", "/api/groups", {"group_name": f"group {start}", "members": [person.name for person in others]}
            )
            self._members[group["chat_id"]] = members
            for person, partner in zip(members, _swapped(members), strict=True):
                self._writers.append(asyncio.create_task(self._write(person, partner, group["chat_id"])))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._writers, *self._readers):
            task.cancel()
        await asyncio.gather(*self._writers, *self._readers, return_exceptions=True)
        for device in self.devices:
            await device.live.close()
            await device.rest.close()

    async def _arrive(self, gate: asyncio.Semaphore, place: int) -> Person:
        phone_number = f"+1628{next(_numbers):07d}"
        name = f"p{uuid.uuid4().hex[:12]}"
        devices = []
        async with gate:
            for _ in range(1 if place % SECOND_DEVICE_EVERY else 2):
                async with await RestClient.sign_in(
                    self._chance.choice(self._urls), phone_number, username=name
                ) as signed_in:
                    rest = RoamingClient(self._urls, self._chance, signed_in)
                devices.append(Device(rest, LiveClient(rest)))
        return Person(devices[0].rest.user_id, name, devices)

    async def _write(self, person: Person, partner: Person, group_id: int) -> None:
        live = person.devices[0].live
        for number in itertools.count():
            text = f"{person.user_id}:{number}"
            started = time.monotonic()
            try:
                if number % 2:
                    ack = await live.send(text, chat_id=group_id)
                else:
                    ack = await live.send(text, to=partner.name)
                    self._members[ack.chat_id] = [person, partner]
            except Problem:
                person.refused += 1
            else:
                self.acked_at[ack.chat_id, ack.seq, text] = time.monotonic()
            if time.monotonic() - started > person.gap_seconds:
                person.gap_seconds, person.gap_began = time.monotonic() - started, started
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._period_seconds)
            if self._stopped.is_set():
                return

    def fall_silent(self) -> None:
        """Write no more from here on."""
        self._stopped.set()

    def missing(self, since: float = 0) -> int:
        """Return how many messages acknowledged since then have not reached all devices of all members."""
        expected = self._expected({place for place, at in self.acked_at.items() if at >= since})
        return sum(len(device.forgotten(expected[device])) for device in self.devices)

    def longest_gap_began(self) -> float:
        """Return when the longest wait for an ack began, on the monotonic clock."""
        return max(self.people, key=lambda person: person.gap_seconds).gap_began

    def longest_delivery_seconds(self, since: float = 0) -> float:
        """Return the longest time from an ack since then to a recipient's device."""
        return max(
            (
                device.seen_at[place] - self.acked_at[place]
                for device, places in self._expected(set(self.acked_at)).items()
                for place in places
                if place in device.seen_at and self.acked_at[place] >= since
            ),
            default=0.0,
        )

    def _expected(self, places: set[Place]) -> dict[Device, set[Place]]:
        """Return what each device is to have of these messages; senders' own devices are to have them too."""
        expected: dict[Device, set[Place]] = defaultdict(set)
        for place in places:
            for person in self._members[place[0]]:
                for device in person.devices:
                    expected[device].add(place)
        return expected

    async def finish(self) -> Account:
        """Stop writing, wait until everybody has what was acknowledged, and account for it."""
        self.fall_silent()
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*self._writers)

        async def settled() -> bool:
            return self.missing() == 0

        # What has not come by then is counted below as lost.
        with contextlib.suppress(AssertionError):
            await until(settled, "all that is acknowledged has arrived", SETTLE_SECONDS, poll_seconds=0.3)
        differing = sum([await self._differing(device) for device in self.devices])
        return Account(
            acknowledged=len(self.acked_at),
            lost=self.missing(),
            # The same text under two numbers was stored twice, which is as bad as given twice.
            duplicated=sum(len(device.seen) - len({text for _, _, text in device.seen}) for device in self.devices),
            reordered=sum(_reordered(device) for device in self.devices),
            differing_from_history=differing,
            longest_gap_seconds=max(person.gap_seconds for person in self.people),
            refused=sum(person.refused for person in self.people),
        )

    async def _differing(self, device: Device) -> int:
        """Return how many messages a device has and somebody who fetches afresh has not, or the reverse."""
        stored: set[Place] = set()
        for chat_id in {chat_id for chat_id, _, _ in device.seen_at}:
            after_seq, more = 0, True
            while more:
                rows, more = await device.rest.history_page(chat_id, after_seq=after_seq)
                after_seq = rows[-1]["seq"] if rows else after_seq
                stored |= {(chat_id, row["seq"], row["text"]) for row in rows if row["kind"] == "message"}
        return len(stored ^ device.seen_at.keys())


async def _read(device: Device) -> None:
    with contextlib.suppress(ChatClientError):
        async for item in device.live.items():
            if isinstance(item, Item) and item.kind == "message":
                place = (item.chat_id, item.seq, item.text or "")
                device.seen.append(place)
                device.seen_at.setdefault(place, time.monotonic())


def _reordered(device: Device) -> int:
    last: dict[int, int] = {}
    found = 0
    for chat_id, seq, _ in device.seen:
        found += seq < last.get(chat_id, 0)
        last[chat_id] = seq
    return found


def _swapped(members: Sequence[Person]) -> list[Person]:
    """Return the partner of each: neighbours are partners."""
    return [members[place ^ 1] for place in range(len(members))]
