"""Object stores that run here: a program over TLS, at the address of a name that pgBackRest knows."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 60


class ObjectStore(Protocol):
    """What a chat needs to know of a store in which its backups are."""

    @property
    def hosts(self) -> Mapping[str, str]:
        """Addresses, by name."""

    @property
    def repository(self) -> Mapping[str, Any]:
        """The field `database.backup.repository`."""

    @property
    def secrets(self) -> Mapping[str, Mapping[str, str]]:
        """The Secrets that the field names."""

    @property
    def secret_texts(self) -> Sequence[str]:
        """What no log may contain."""


@dataclass
class Listener:
    """A program that listens.

    Args:
        line: Its command.
        log: File of its output.
        address: Where it listens.
        port: Likewise.
        environment: Of the program.
    """

    line: Sequence[str]
    log: Path
    address: str
    port: int
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.line, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(self.log.read_text()[-2000:])

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A program that ends with the block."""
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def write_certificate(folder: Path, files: Mapping[str, str]) -> tuple[str, str]:
    """Write a certificate and its key; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder / "tls.crt"), str(folder / "tls.key")
