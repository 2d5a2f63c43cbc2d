"""What a ChatCluster's status says from one moment to the next, and what people meet at its ingress meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

import httpx

from tests.support.cluster import Cluster, environment
from tests.support.findings import tell

READY_FALSE_SECONDS = 10
"""Ready is False at most so long after people are no longer answered: the promise to the admin."""

EVENTS_PER_HOUR = 10
"""Of a ChatCluster that nobody changes."""

TICK_SECONDS = 15
"""Figures in the status, such as connections, move at most this often."""

ASK_SECONDS = 0.25
"""Between two requests of somebody who watches whether the chat answers."""

REQUEST_SECONDS = 5.0

FIELDS = ("metadata.resourceVersion", "status.{}.status", "status.{}.reason", "status.{}.message")
READY = 'conditions[?(@.type=="Ready")]'


@dataclass(frozen=True, slots=True)
class Told:
    """The condition Ready as one write of the ChatCluster left it.

    Attributes:
        at: When kubectl printed it, on the monotonic clock.
        version: The ChatCluster's resourceVersion.
        status: True, False or Unknown.
    """

    at: float
    version: str
    status: str
    reason: str
    message: str


class ReadyWatch:
    """Follows Ready of `demo` by one `kubectl get --watch`.

    Attributes:
        told: One entry for the state at the beginning, and one for each write since.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.told: list[Told] = []
        self._cluster = cluster
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        # Not a tab: kubectl would make columns of it.
        columns = '{"|"}'.join(f"{{.{field.format(READY)}}}" for field in FIELDS)
        self._process = await asyncio.create_subprocess_exec(
            *("kubectl", "get", "chatcluster", "demo", "-n", "chat", "--watch", "-o", f'jsonpath={columns}{{"\\n"}}'),
            stdout=asyncio.subprocess.PIPE,
            env=environment() | {"KUBECONFIG": str(self._cluster.kubeconfig)},
        )
        self._reader = asyncio.create_task(self._read(self._process))
        await self._until(lambda: bool(self.told), REQUEST_SECONDS * 4)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    @property
    def writes(self) -> int:
        """Writes of the ChatCluster since the beginning, its spec's among them."""
        return len(self.told) - 1

    def bad(self) -> list[Told]:
        """Every time that it was not True."""
        return [told for told in self.told if told.status != "True"]

    async def becomes(self, status: str, seconds: float) -> Told:
        """Wait until Ready has a status; returns the write with which it turned.

        Raises:
            AssertionError: It had not in time; says what it had.
        """
        await self._until(lambda: self.told[-1].status == status, seconds)
        others = [place for place, told in enumerate(self.told) if told.status != status]
        return self.told[others[-1] + 1 if others else 0]

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    if self._reader is not None and self._reader.done():
                        self._reader.result()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; Ready was {self.told[-1:]}") from None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.told.append(Told(time.monotonic(), *line.decode().rstrip("\n").split("|", len(FIELDS) - 1)))
            self._news.set()


async def answers(cluster: Cluster, *, wanted: bool, seconds: float) -> float:
    """Wait until somebody's new connection to the ingress is answered with readiness, or until it is not.

    Returns:
        When that was, on the monotonic clock.
    """
    async with asyncio.timeout(seconds), _people(cluster) as http:
        while True:
            asked = time.monotonic()
            try:
                good = (await http.get("/readyz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                good = False
            if good is wanted:
                return asked
            await asyncio.sleep(ASK_SECONDS)


@contextlib.asynccontextmanager
async def healthy(cluster: Cluster) -> AsyncIterator[None]:
    """Whatever goes on in here is no trouble for the chat, and its status says no such thing, nor much at all.

    Ready is never anything but True, not in a single write; each request is answered; Events and writes are few.
    """
    began = time.monotonic()
    before = await _events(cluster)
    async with ReadyWatch(cluster) as ready:
        refusing = asyncio.create_task(answers(cluster, wanted=False, seconds=24 * 3600))
        try:
            yield
            assert not refusing.done(), f"a request was refused after {refusing.result() - began:.0f} s"
        finally:
            refusing.cancel()
            await asyncio.gather(refusing, return_exceptions=True)
        seconds = time.monotonic() - began
        events = [event for uid, event in (await _events(cluster)).items() if uid not in before]
        tell(
            f"healthy for {seconds:.0f} s: Ready {'/'.join(sorted({told.status for told in ready.told}))}, "
            f"{ready.writes} writes of the status, {len(events)} Events {events or ''}"
        )
        assert not ready.bad()
        assert ready.writes <= 1 + seconds / TICK_SECONDS
        assert len(events) <= 1 + EVENTS_PER_HOUR * seconds / 3600


async def _events(cluster: Cluster) -> dict[str, str]:
    """Reasons of the Events about ChatClusters, by uid."""
    found = await cluster.get("events")
    return {e["metadata"]["uid"]: e["reason"] for e in found if e["involvedObject"]["kind"] == "ChatCluster"}


@contextlib.asynccontextmanager
async def _people(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A client that connects anew for each request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=cluster.url, verify=cluster.insecure, limits=limits, timeout=REQUEST_SECONDS, trust_env=False
    ) as http:
        yield http
