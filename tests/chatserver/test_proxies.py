"""Proxies that leave: seen in DNS, never by mistake, and their clients asked once, in time."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.hub import Hub
from chatserver.fleet.moving import Mover
from chatserver.fleet.proxies import FORGET_SECONDS, LOOK_SECONDS, ProxyWatch, Seen, leaving, look, resolve

STAY_SECONDS = 25.0

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        pytest.param([{A, B}, {A, B}, {A, B}], set(), id="all stay"),
        pytest.param([{A, B}, {A}], set(), id="one answer may lag behind"),
        pytest.param([{A, B}, {A}, {A}], {B}, id="two do not"),
        pytest.param([{A, B}, {A}, {A, B}, {A}], set(), id="two in a row, that is"),
        pytest.param([{A, B}, {A}, set(), {A}], {B}, id="an answer without addresses counts neither way"),
        pytest.param([{A, B}, set(), set(), set()], set(), id="nobody is asked to go where nobody is"),
        pytest.param([{A}, {B}, {B}], {A}, id="a rollout of one"),
        pytest.param([{A, B}, {A}, {A}, {A, B}], set(), id="who is back stays"),
        pytest.param([{A}, {A}, {A}], set(), id="who was never named is no proxy"),
    ],
)
def test_who_leaves(answers: list[set[str]], left: set[str]) -> None:
    proxies: dict[str, Seen] = {}
    for number, named in enumerate(answers):
        proxies = look(named, proxies, number * LOOK_SECONDS)
    assert set(leaving(proxies)) == left


def test_an_address_is_forgotten_before_it_is_somebody_elses() -> None:
    proxies = look({A}, look({A, B}, {}, 0), LOOK_SECONDS)
    assert set(proxies) == {A, B}
    assert set(look({A}, proxies, FORGET_SECONDS)) == {A}


class _Health:
    draining = False


class _Watched:
    """A hub with connections through proxies, and a DNS that the test answers for."""

    def __init__(self) -> None:
        self.hub, self.health = Hub(), _Health()
        self.named: set[str] = set()
        self.asked = 0
        self.now = 0.0
        self.watch = ProxyWatch(
            self.hub,
            self.health,  # type: ignore[arg-type]
            Mover(self.hub, random.Random(1)),  # noqa: S311 - when each leaves is no secret
            lookup=self._lookup,
            stay_seconds=STAY_SECONDS,
            on_moved=self._count,
        )

    async def _lookup(self) -> set[str]:
        return self.named

    def _count(self, count: int) -> None:
        self.asked += count

    async def look(self, *named: str) -> None:
        self.named = set(named)
        await self.watch.look(self.now)
        self.now += LOOK_SECONDS

    def connect(self, proxy: str, count: int) -> list[ClientConnection]:
        first = len(self.hub.connections)
        made = [ClientConnection(f"c{number}", number, number, proxy=proxy) for number in range(first, first + count)]
        for connection in made:
            self.hub.add(connection)
        return made


def _frames(connection: ClientConnection) -> list[Any]:
    return [msgspec.json.decode(frame) for frame in connection.outbox.take()]


async def test_the_clients_of_a_leaving_proxy_are_asked_once_spread_over_the_time_it_has() -> None:
    watched = _Watched()
    staying, going = watched.connect(A, 20), watched.connect(B, 400)
    await watched.look(A, B)
    for _ in range(4):
        await watched.look(A, C)
    asked = [_frames(connection) for connection in going]
    assert all(len(frames) == 1 and frames[0]["type"] == "reconnect" for frames in asked)
    delays = sorted(frames[0]["after_ms"] / 1000 for frames in asked)
    # Known at the second look that does not name it.
    window = STAY_SECONDS - 2 * LOOK_SECONDS
    assert 0 <= delays[0] < delays[-1] <= window
    quarters = [sum(n * window / 4 <= delay < (n + 1) * window / 4 for delay in delays) for n in range(4)]
    assert all(60 <= count <= 140 for count in quarters), quarters
    assert watched.asked == 400
    assert not any(_frames(connection) for connection in staying)


async def test_who_came_through_it_late_is_asked_to_hurry() -> None:
    watched = _Watched()
    watched.connect(B, 1)
    await watched.look(A, B)
    for _ in range(3):
        await watched.look(A)
    (late,) = watched.connect(B, 1)
    while watched.now < STAY_SECONDS:
        await watched.look(A)
    (frame,) = _frames(late)
    assert frame["after_ms"] <= (STAY_SECONDS - 3 * LOOK_SECONDS) * 1000
    (later,) = watched.connect(B, 1)
    watched.now = STAY_SECONDS + 5
    await watched.look(A)
    assert _frames(later) == [{"type": "reconnect", "after_ms": 0}]


async def test_a_draining_server_leaves_the_asking_to_its_drain() -> None:
    watched = _Watched()
    going = watched.connect(B, 3)
    await watched.look(A, B)
    watched.health.draining = True
    for _ in range(3):
        await watched.look(A)
    assert not any(_frames(connection) for connection in going)


async def test_dns_that_does_not_answer_names_nobody() -> None:
    assert await resolve("proxies.invalid.") == frozenset()
    assert "127.0.0.1" in await resolve("localhost")
