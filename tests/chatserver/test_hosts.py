"""The hosts of a DSN, and attempts at them beside each other."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from chatserver.storage.hosts import Host, first_of, hosts_of

A, B = Host("a", None), Host("b", None)


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://chat:p@a,b/chat", (A, B)),
        ("postgresql://chat:p@a:1,b:2/chat", (Host("a", 1), Host("b", 2))),
        ("postgresql://chat:p@[::1]:1,b:2/chat", (Host("::1", 1), Host("b", 2))),
        ("postgresql://chat:p@%2Frun%2Fpg,b/chat", (Host("/run/pg", None), B)),
        ("postgresql://chat@/chat?host=a,b", (A, B)),
        ("postgresql://chat@/chat?host=a,b&port=1,2", (Host("a", 1), Host("b", 2))),
        ("postgresql://chat@/chat?host=a,b&port=1", (Host("a", 1), Host("b", 1))),
        ("postgres:///chat?host=/run/a,/run/b", (Host("/run/a", None), Host("/run/b", None))),
        # asyncpg reads these as before, and says what is wrong.
        ("postgresql://chat:p@a/chat", ()),
        ("postgresql://chat@/chat", ()),
        ("postgresql:///chat?host=/run/a", ()),
        ("postgresql://chat@a:x,b/chat", ()),
        ("postgresql://chat@a,,b/chat", ()),
        ("postgresql://chat@a,b]/chat", ()),
        ("", ()),
    ],
)
def test_the_hosts_of_a_dsn_are_those_that_asyncpg_would_try(dsn: str, hosts: tuple[Host, ...]) -> None:
    assert hosts_of(dsn) == hosts


class Attempts:
    """Attempts that succeed, fail or never end, by their names."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.discarded: list[str] = []

    async def attempt(self, name: str) -> str:
        self.begun.append(name)
        if name.startswith("silent"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
        if name.startswith("closed"):
            raise ConnectionRefusedError(name)
        if name.startswith("refuses"):
            raise LookupError(name)
        return name

    async def first(self, *names: str, head_start_seconds: float = 0.01) -> str:
        tries = [partial(self.attempt, name) for name in names]
        return await first_of(tries, head_start_seconds=head_start_seconds, discard=self.discarded.append)


async def test_an_attempt_that_never_ends_takes_no_time_of_the_next_and_is_cancelled() -> None:
    attempts = Attempts()
    assert await attempts.first("silent 1", "silent 2", "good") == "good"
    assert attempts.cancelled == ["silent 1", "silent 2"]


async def test_the_next_attempt_begins_at_once_when_one_fails() -> None:
    assert await Attempts().first("closed", "refuses", "good", head_start_seconds=3600) == "good"


async def test_the_preferred_attempt_is_the_only_one_while_it_succeeds() -> None:
    attempts = Attempts()
    assert await attempts.first("good", "other", head_start_seconds=3600) == "good"
    assert attempts.begun == ["good"]


async def test_a_result_that_comes_too_late_is_discarded() -> None:
    attempts, ready = Attempts(), asyncio.Event()

    async def slow() -> str:
        await ready.wait()
        return "slow"

    async def quick() -> str:
        ready.set()
        # Both are done when the first is looked at.
        return "quick"

    assert await first_of([slow, quick], head_start_seconds=0.01, discard=attempts.discarded.append) == "slow"
    assert attempts.discarded == ["quick"]


async def test_the_error_is_that_of_a_host_that_answered() -> None:
    with pytest.raises(LookupError):
        await Attempts().first("closed 1", "refuses", "closed 2")
    with pytest.raises(ConnectionRefusedError, match="closed 2"):
        await Attempts().first("closed 1", "closed 2")


async def test_whoever_gives_up_cancels_all_attempts() -> None:
    attempts = Attempts()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await attempts.first("silent 1", "silent 2")
    assert attempts.cancelled == ["silent 1", "silent 2"]
