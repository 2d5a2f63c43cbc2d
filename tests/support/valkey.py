"""A private Valkey for tests, with faults at will: the machine's own, else that of the image's Debian release."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import hiredis
import pytest

from tests.support.debian import unpacked
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chatserver.fanout.valkey.bus import ValkeyBus

PACKAGES = (
    *("valkey-server", "valkey-tools", "libatomic1", "libc6", "libcap2", "libgcc-s1", "libjemalloc2"),
    *("liblua5.1-0", "liblzf1", "libssl3t64", "libstdc++6", "libsystemd0", "lua5.1", "zlib1g", "libzstd1"),
)
"""The program and all that it links against."""

START_SECONDS = 30

BUSES: Final = ("PostgreSQL", pytest.param("Valkey", marks=pytest.mark.soak))
"""Parameters of a test that is about a fault for which the bus matters: `make test` has the case of each fault with
PostgreSQL as the bus, and those of Valkey itself."""


def program() -> Path:
    """Valkey's server, or where neither this machine nor Debian's archive has it, Redis 7: it takes the same commands.

    Raises:
        FileNotFoundError: There is neither.
    """
    found = shutil.which("valkey-server")
    if found:
        return Path(found)
    try:
        return unpacked("usr/bin/valkey-server", PACKAGES)
    except FileNotFoundError:
        redis = shutil.which("redis-server")
        if redis is None:
            raise
        return Path(redis)


class ValkeyProcess:
    """One Valkey in memory; use it as a context manager.

    Attributes:
        port: It listens on 127.0.0.1, as `localhost` with TLS.
        password: What it wants; empty: nothing.
    """

    def __init__(self, *options: str, password: str = "", port: int | None = None) -> None:
        self.port = port or free_port()
        self.password = password
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="chat-valkey-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """As of CHAT_BUS_URLS."""
        return f"valkey://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = [str(program()), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no", *self._options]
        if self.password:
            command += ["--requirepass", self.password]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                self.call("PING")
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey does not start:\n{(self._folder / 'log').read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it; nothing of what it held comes back."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Have it answer nobody, with its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def call(self, *command: str | int) -> Any:
        """Send a command of an admin and return its reply.

        Raises:
            OSError: It cannot be reached.
            hiredis.ReplyError: It refuses.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            reader = hiredis.Reader(encoding="utf-8")
            if self.password:
                _ask(connection, reader, ("AUTH", self.password))
            return _ask(connection, reader, command)

    def registry(self, kind: str = "user") -> dict[int, set[str]]:
        """Return the servers of each user, or with `watched` those where somebody watches the user."""
        keys = self.call("KEYS", f"chat:{kind}:*")
        return {int(key.rpartition(":")[2]): set(self.call("SMEMBERS", key)) for key in keys}


@contextlib.contextmanager
def running_bus(kind: str) -> Iterator[list[ValkeyProcess]]:
    """Run a bus of this type: two Valkeys that share the users, or none with PostgreSQL."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ValkeyProcess()) for _ in range(2 if kind == "Valkey" else 0)]


def bus_environment(valkeys: Sequence[ValkeyProcess]) -> dict[str, str]:
    """Return the settings of a server with these Valkeys as its bus; without any, none: then it is PostgreSQL."""
    if not valkeys:
        return {}
    return {"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": ",".join(valkey.url for valkey in valkeys)}


def incarnation(bus: ValkeyBus) -> str:
    """Return the name of a server in the registry."""
    return bus._incarnation


def _ask(connection: socket.socket, reader: Any, command: tuple[str | int, ...]) -> Any:
    connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type] # its types name a tuple of one
    while (reply := reader.gets()) is False:
        received = connection.recv(65536)
        if not received:
            raise ConnectionResetError
        reader.feed(received)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply
