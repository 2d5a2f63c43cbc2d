"""Processes that hold the WebSockets of a hundred thousand devices: starts them, and adds up what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Self

import msgspec

from tests.support.holder import Status, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICES_A_PROCESS = 2_500
"""A process does some hundred handshakes a second, and may open 20,000 files on this kind of machine."""

POLL_SECONDS = 0.25


class Holders:
    """A crowd of clients; use it as an async context manager.

    Args:
        doors: host and port of each proxy.
        tokens: of the devices.
        resume: whether clients resume their TLS sessions.
    """

    def __init__(self, doors: Sequence[tuple[str, int]], tokens: Sequence[str], *, resume: bool = False) -> None:
        self._tokens = tokens
        processes = -(-len(tokens) // DEVICES_A_PROCESS)
        self._tasks = [Task(list(doors), list(tokens[place::processes]), resume=resume) for place in range(processes)]
        self._said = [Status() for _ in self._tasks]
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for place, task in enumerate(self._tasks):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.holder",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self._processes.append(process)
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            self._readers.append(asyncio.create_task(self._read(place, process)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def status(self) -> Status:
        """What they said last, added up."""
        failed, lost = Counter[str](), Counter[str]()
        for one in self._said:
            failed.update(one.failed)
            lost.update(one.lost)
        return Status(
            held=sum(one.held for one in self._said),
            tries=sum(one.tries for one in self._said),
            handshakes=sum(one.handshakes for one in self._said),
            resumed=sum(one.resumed for one in self._said),
            lost=dict(lost),
            failed=dict(failed),
            cpu_seconds=sum(one.cpu_seconds for one in self._said),
        )

    async def all_held(self, seconds: float, *, lost: int = 0) -> None:
        """Wait until every device has a connection, after so many were lost.

        Raises:
            TimeoutError: with what became of them.
        """
        try:
            async with asyncio.timeout(seconds):
                while (now := self.status()).held < len(self._tokens) or sum(now.lost.values()) < lost:
                    for reader in self._readers:
                        if reader.done():
                            reader.result()
                            raise RuntimeError("a process of the clients has ended")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"not all {len(self._tokens)} are connected: {self.status()}") from None

    async def _read(self, place: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._said[place] = msgspec.json.decode(line, type=Status)
