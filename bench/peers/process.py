"""A peer's process: starts it in its own folder, waits until it listens, and stops it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START_SECONDS = 120
"""Longest wait until a peer listens; Synapse creates its tables first."""


class PeerProcess:
    """One process; use it as a context manager after `start`.

    Attributes:
        folder: for its configuration, its data and its log.
        port: free on loopback.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.port = free_port()
        self._log = self.folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    def write(self, name: str, text: str) -> Path:
        """Write a file into its folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it and wait until it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen:\n{self._log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
