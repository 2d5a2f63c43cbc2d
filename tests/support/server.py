"""Real chatserver processes for tests, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.support import forks
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Sequence

IMPORTED = ("chatserver.app", "chatserver.probe.command")
"""What its processes import, which takes 0.9 s of CPU."""

START_SECONDS = 30
"""Seconds a server may take to start on a loaded machine."""


def environment(dsn: str, **settings: str | float) -> dict[str, str]:
    """Return the environment of a server whose drain is short enough for tests."""
    return {
        "PATH": os.environ["PATH"],
        "CHAT_DATABASE_DSN": dsn,
        "CHAT_SECRET_KEY": "a key that only tests use",
        "CHAT_HTTP_HOST": "127.0.0.1",
        "CHAT_HTTP_PORT": "0",
        "CHAT_METRICS_PORT": "0",
        "CHAT_READINESS_NOTICE_SECONDS": "0.5",
        "CHAT_DRAIN_SECONDS": "8",
        "CHAT_CODES_PER_ADDRESS_PER_HOUR": "100000",
        "CHAT_CODES_PER_HOUR": "1000000",
        # Tests are faster than people; those of the limits set their own.
        "CHAT_MESSAGES_PER_USER_PER_MINUTE": "0",
        "CHAT_STORED_BYTES_PER_USER_PER_HOUR": "0",
        "CHAT_REQUESTS_PER_DEVICE_PER_MINUTE": "0",
        **{name: str(value) for name, value in settings.items()},
    }


def migrate(dsn: str, python: str = sys.executable) -> None:
    """Bring a database's schema up to date with the real command."""
    if python == sys.executable:
        code, output = forks.run("chatserver", ["migrate"], environment(dsn), IMPORTED)
        assert code == 0, output
        return
    command = [python, "-m", "chatserver", "migrate"]
    subprocess.run(command, env=environment(dsn), check=True, capture_output=True, timeout=120)


class ServerProcess:
    """One ``chatserver serve``; use it as a context manager.

    Attributes:
        dsn: of its database.
        url: base of the API, such as ``http://127.0.0.1:40001``.
        metrics_url: where Prometheus scrapes it.
        prefix: goes before its command; set it before it starts.
        start_seconds: it may take to start.
        python: runs it; another environment's has another chatserver.
    """

    def __init__(self, dsn: str, name: str, **settings: str | float) -> None:
        self.name = name
        self.dsn = dsn
        self.url = ""
        self.metrics_url = ""
        self.prefix: Sequence[str] = ()
        self.start_seconds: float = START_SECONDS
        self.python = sys.executable
        self._folder = tempfile.TemporaryDirectory(prefix="chat-server-")
        self._log = Path(self._folder.name) / "log"
        self._environment = environment(dsn, CHAT_SERVER_NAME=name, **settings)
        self._process: forks.Fork | subprocess.Popen[bytes] | None = None

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket's address."""
        return "ws" + self.url.removeprefix("http")

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.spawn()
        try:
            self._wait_until_serving()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(START_SECONDS)
        self._folder.cleanup()

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        with self._log.open("ab") as log:
            if not self.prefix and self.python == sys.executable:
                self._process = forks.begin("chatserver", ["serve"], self._environment, log, IMPORTED)
                return
            self._process = subprocess.Popen(
                [*self.prefix, self.python, "-m", "chatserver", "serve"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log_text(self) -> str:
        """Return all that the process has logged."""
        return self._log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """Return the logged events."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def _wait_until_serving(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log_text()}")
            for line in self.log_text().splitlines():
                if '"serving"' in line:
                    event = json.loads(line)
                    self.url = f"http://127.0.0.1:{event['port']}"
                    self.metrics_url = f"http://127.0.0.1:{event['metrics_port']}/metrics"
                    return
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} does not serve:\n{self.log_text()}")

    def wait_ready(self, query: str = "") -> None:
        """Wait until ``/readyz`` answers 200."""
        deadline = time.monotonic() + self.start_seconds
        while httpx.get(f"{self.url}/readyz{query}", verify=NO_TLS, trust_env=False).status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready:\n{self.log_text()}")
            time.sleep(0.1)

    def metric(self, name: str) -> float:
        """Return the value of a metric, its labels written as in the exposition."""
        for line in httpx.get(self.metrics_url, verify=NO_TLS, trust_env=False).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise KeyError(name)
