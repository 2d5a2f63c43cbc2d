"""An HTTP proxy in front of the API server that fails as a test says: refusals, lost answers, silence, absence."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.apiserver import ApiServer

HOP_HEADERS = frozenset({"host", "connection", "transfer-encoding", "content-length", "accept-encoding", "date"})
"""Headers that belong to one connection, or that aiohttp writes itself; nothing is compressed, to be read in lines."""

EXPIRED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}

BODY_BYTES_MAX = 32 * 1024 * 1024


@dataclass
class Fault:
    """What happens to some requests instead of what should.

    Attributes:
        meets: Whether a request is one of them.
        status: What they are answered with; None passes them on.
        headers: Of that answer.
        lost: The connection is cut in place of the API server's answer, which has done what was asked.
        seconds: They wait so long first.
        left: How many of them more; None for all.
        met: How many there were.
    """

    meets: Callable[[web.Request], bool]
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False
    seconds: float = 0
    left: int | None = None
    met: int = 0


def is_write(request: web.Request) -> bool:
    """Whether a request means to change something other than who leads."""
    return request.method not in {"GET", "HEAD"} and "/leases" not in request.path


def is_watch(request: web.Request) -> bool:
    """Whether a request is a watch."""
    return "watch" in request.query


class ApiProxy:
    """Passes requests on to the API server, in this event loop.

    Args:
        server: The API server.

    Attributes:
        faults: The first that meets a request happens to it.
        watches: Open watches.
    """

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._client: aiohttp.ClientSession | None = None
        self._frozen: set[asyncio.Event] = set()
        self._open: dict[asyncio.Event, asyncio.Queue[bytes]] = {}
        self.faults: list[Fault] = []

    async def __aenter__(self) -> Self:
        # The API server's certificate is its own.
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        self._client = aiohttp.ClientSession(connector=connector, skip_auto_headers=("User-Agent", "Accept-Encoding"))
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._pass)
        # A request ends with its connection, as at the API server.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._client is not None
        if self._site is not None:
            await self.go_away()
        await self._runner.cleanup()
        await self._client.close()

    @property
    def watches(self) -> int:
        """Open watches that tell what happens."""
        return len(self._open) - len(self._frozen)

    def kubeconfig(self, token: str, name: str) -> Path:
        """A kubeconfig that leads through the proxy."""
        # A file of its own: the direct way is written anew for whoever asks for it.
        return replace(self._server, url=f"http://127.0.0.1:{self._port}").kubeconfig(token, f"{name}-by-proxy")

    @contextlib.contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        """Let a fault happen within a block."""
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def freeze_watches(self) -> int:
        """Never tell anything again over the watches that are open now, which stay open; returns how many they are."""
        frozen = self._open.keys() - self._frozen
        self._frozen |= frozen
        return len(frozen)

    def expire_watches(self) -> int:
        """Tell over all open watches that they are too old to go on; returns how many they are."""
        for extra in self._open.values():
            extra.put_nowait(json.dumps({"type": "ERROR", "object": EXPIRED}).encode() + b"\n")
        return len(self._open)

    async def go_away(self) -> None:
        """Cut all connections and take no new ones."""
        assert self._runner is not None
        assert self._site is not None
        await self._site.stop()
        self._site = None
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def come_back(self) -> None:
        """Take connections, on the same port as before."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        fault = self._met(request)
        if fault is not None:
            await asyncio.sleep(fault.seconds)
            if fault.status is not None:
                refusal = {"kind": "Status", "code": fault.status, "message": "a fault of the test", "reason": ""}
                return web.json_response(refusal, status=fault.status, headers=fault.headers)
        assert self._client is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        url = f"{self._server.url}{request.rel_url}"
        body = await request.read() or None
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._client.request(request.method, url, headers=headers, data=body, timeout=timeout) as answer:
            if fault is not None and fault.lost:
                await answer.read()
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_HEADERS}
            if not is_watch(request):
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(request)
            await self._stream(answer, passed)
            return passed

    def _met(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.left != 0 and fault.meets(request):
                fault.met += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None

    async def _stream(self, answer: aiohttp.ClientResponse, passed: web.StreamResponse) -> None:
        """Pass a watch on until it ends, or its client goes away, or it is told to be too old."""
        me, extra, rest = asyncio.Event(), asyncio.Queue[bytes](), b""
        self._open[me] = extra
        last = asyncio.create_task(extra.get())
        waiting = {last}
        try:
            while True:
                chunk = asyncio.create_task(answer.content.readany())
                waiting = {chunk, last}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if me in self._frozen:
                    # Until the client gives up, which cancels this.
                    await me.wait()
                if last.done():
                    await passed.write(last.result())
                    return
                if not (data := chunk.result()):
                    return
                lines, newline, rest = (rest + data).rpartition(b"\n")
                await passed.write(lines + newline)
        finally:
            for task in waiting:
                task.cancel()
            del self._open[me]
            self._frozen.discard(me)
