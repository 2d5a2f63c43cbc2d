"""Runs `pgbackrest server`, by which the other side reads files and archives WAL, as a child process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING

from postgresbackup.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOUNTED = ("ca.crt", "tls.crt", "tls.key")
"""Files of the Secret; what else kubelet has in its folder are folders of its own."""

STOP_SECONDS = 10.0
"""Longest wait for its end."""


class Server:
    """The server, which is started again when it has ended, and reads renewed certificates.

    Args:
        config: pgBackRest's configuration.
        certificates: Folder of the mounted certificate and key.
        environment: For the process.
    """

    def __init__(self, config: Path, certificates: Path, environment: Mapping[str, str]) -> None:
        self._config = config
        self._certificates = certificates
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: tuple[bytes, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def keep(self) -> None:
        """Start it if it does not run, and make it read what has changed.

        Raises:
            OSError: It cannot be started, or a file cannot be read.
        """
        seen = tuple(path.read_bytes() for path in (self._config, *(self._certificates / name for name in MOUNTED)))
        if not self.is_running:
            if self._process is not None:
                log("error", "pgbackrest server ended", code=self._process.returncode)
            line = [
                "pgbackrest",
                "server",
                f"--config={self._config}",
                "--log-level-console=warn",
                "--log-level-file=off",
            ]
            self._process = subprocess.Popen(line, env=dict(self._environment), stdin=subprocess.DEVNULL)
        elif self._process is not None and seen != self._seen:
            self._process.send_signal(signal.SIGHUP)
            log("info", "pgbackrest server reads its configuration again")
        self._seen = seen

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
