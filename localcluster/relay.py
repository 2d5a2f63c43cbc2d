"""Carries connections to ports of 127.0.0.1 into the network namespace of a private engine.

It binds its ports first, where it was started, then enters the namespace and connects from there. One process, one
event loop, no thread: each connection costs two descriptors and two small objects.

    python -m localcluster.relay STATE --namespace-of PID --forward 8443=172.18.0.2:30443
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000

CONNECT_SECONDS = 10
"""Seconds until a connection inside the namespace is given up; the node is on this very machine."""

BACKLOG = 4096
"""Connections the kernel keeps until they are accepted: in a reconnect storm all arrive at once."""

BUFFER_BYTES = 256 * 1024
"""Bytes held for a reader that is slower than its writer, per direction."""

log = logging.getLogger("relay")


@dataclass(frozen=True)
class Forward:
    """One port of 127.0.0.1 and where its connections go inside the namespace."""

    port: int
    host: str
    target_port: int

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read `8443=172.18.0.2:30443`."""
        port, _, target = text.partition("=")
        host, _, target_port = target.rpartition(":")
        return cls(int(port), host, int(target_port))


class Half(asyncio.Protocol):
    """One side of a connection; what it receives goes to its peer, at the pace that the peer can take."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: Half | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- asyncio's typing is wider than what TCP gives
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the half-close on; the other direction stays open until it ends, too.

        Returns:
            Whether asyncio keeps this transport open.
        """
        self.ended = True
        if self.peer is None or self.peer.transport is None:
            return False
        if self.peer.ended:
            # close() sends what is still held first.
            self.peer.transport.close()
            return False
        with contextlib.suppress(OSError):
            self.peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        """This side cannot take more: stop reading from the other."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """This side has room again."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """Close the other side once it has sent what it holds."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()


class Entry(Half):
    """The side of a client on the host: connects onwards before it reads."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self._forward = forward
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold the client's bytes until there is somebody to take them."""
        super().connection_made(transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        # Not in connection_made: Python 3.11.2, which Debian 12 has, would start to read after it all the same.
        if self.transport is not None:
            self.transport.pause_reading()
        inner = Half()
        inner.peer = self
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: inner, self._forward.host, self._forward.target_port)
        except (OSError, TimeoutError) as e:
            log.warning("no connection to %s:%d: %s", self._forward.host, self._forward.target_port, e)
            if self.transport is not None:
                self.transport.abort()
            return
        self.peer = inner
        if self.transport is None or self.transport.is_closing():
            if inner.transport is not None:
                inner.transport.close()
            return
        self.transport.resume_reading()


def bind(forward: Forward) -> socket.socket:
    """A listening socket on 127.0.0.1 of the network namespace that this process is in."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", forward.port))
    listener.listen(BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 -- the standard library's signature
    return listener


def enter_network_namespace(pid: int) -> None:
    """Let everything that this process connects from now on start in the namespace of that process.

    Raises:
        OSError: there is no such process, or this one is not root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


async def serve(forwards: list[Forward], listeners: list[socket.socket]) -> None:
    """Relay until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    for forward, listener in zip(forwards, listeners, strict=True):
        await loop.create_server(lambda forward=forward: Entry(forward), sock=listener, backlog=BACKLOG)  # type: ignore[misc]
        log.info("127.0.0.1:%d -> %s:%d", forward.port, forward.host, forward.target_port)
    await stopped.wait()


def main() -> None:
    """Run the relay."""
    parser = argparse.ArgumentParser(prog="localcluster.relay")
    parser.add_argument("state", help="the cluster's state folder; it marks the process as this cluster's")
    parser.add_argument("--namespace-of", type=int, required=True)
    parser.add_argument("--forward", action="append", type=Forward.parse, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listeners = [bind(forward) for forward in options.forward]
    enter_network_namespace(options.namespace_of)
    asyncio.run(serve(options.forward, listeners))


if __name__ == "__main__":
    main()
