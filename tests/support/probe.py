"""`chatserver probe` as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.support import forks
from tests.support.plainhttp import NO_TLS
from tests.support.server import IMPORTED

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

WAIT_SECONDS = 90
"""Far beyond what a probe needs to notice anything, on a loaded machine too."""


class ProbeProcess:
    """A probe that sends each second; use it as a context manager.

    Args:
        url: Of the chat.
        options: Further options of the command.
    """

    def __init__(self, url: str, *options: str) -> None:
        own = ["--every", "1", "--metrics-port", "0", "--metrics-host", "127.0.0.1"]
        self._arguments = ["probe", "--url", url, *own, *options]
        self._folder = tempfile.TemporaryDirectory(prefix="chat-probe-")
        self._log = Path(self._folder.name) / "log"
        self._process: forks.Fork | subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            environment = {"PATH": os.environ["PATH"]}
            self._process = forks.begin("chatserver", self._arguments, environment, log, IMPORTED)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(WAIT_SECONDS)
        self._folder.cleanup()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(WAIT_SECONDS)

    def log_text(self) -> str:
        """All that it has logged."""
        return self._log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The logged events."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    async def metrics_url(self) -> str:
        """Where its page of metrics is, once it is there."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (port := next((e["metrics_port"] for e in self.events() if e["event"] == "probing"), None)) is None:
                await asyncio.sleep(0.1)
        return f"http://127.0.0.1:{port}/metrics"

    async def page(self) -> str:
        """The page of metrics, once it is there."""
        url = await self.metrics_url()
        async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as client:
            return (await client.get(url)).text

    async def metric(self, name: str) -> float:
        """The value of a metric, its labels written as in the exposition."""
        for line in (await self.page()).splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise KeyError(name)

    async def wait(self, name: str, holds: Callable[[float], bool]) -> float:
        """Wait until a metric has a value, and return it."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds(value := await self.metric(name)):
                await asyncio.sleep(0.2)
        return value

    async def wait_more(self, name: str, more: int = 3) -> None:
        """Wait until a counter has risen by so many."""
        before = await self.metric(name)
        await self.wait(name, lambda value: value >= before + more)

    async def invariants(self) -> dict[str, float]:
        """The counters that are never to rise."""
        return {name: await self.metric(f"chatprobe_{name}_total") for name in ("lost", "duplicated", "reordered")}
