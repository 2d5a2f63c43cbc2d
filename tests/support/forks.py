"""Python programs that begin as forks of a process which has imported what they need: a second of CPU each time.

All else is as after `python -m MODULE`: a process of its own, with its own environment, arguments and output.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from tests.support.network import enter
from tests.support.template import MESSAGE_BYTES_MAX, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]

AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ")
"""Beginnings of variables that a process reads before it could be a fork."""


RUN_SECONDS = 120

THREADS_NETWORK = "/proc/thread-self/ns/net"


def _network() -> Path:
    """The network of this thread."""
    return Path(THREADS_NETWORK).readlink()


HOME = os.open(THREADS_NETWORK, os.O_RDONLY)
NETWORK = _network()
"""Where templates run. A test may be in another one, and what it begins is there too."""


class Fork:
    """A running program, used as `subprocess.Popen`.

    Args:
        pid: of the process.
        status: a descriptor from which its exit code can be read when it has ended.

    Attributes:
        returncode: its exit code, once it is known.
    """

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._read(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code."""
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            # It may have ended just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read(self, seconds: float | None) -> int | None:
        # No select(): a test may have thousands of descriptors.
        waited = select.poll()
        if self.returncode is not None:
            return self.returncode
        waited.register(self._status, select.POLLIN)
        if waited.poll(None if seconds is None else seconds * 1000):
            self.returncode = int(os.read(self._status, 16) or b"-9")
            os.close(self._status)
        return self.returncode


class Template:
    """The process whose forks the programs are.

    Args:
        modules: what it imports.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._turn = threading.Lock()
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.template", str(other.fileno()), *modules],
                cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[other.fileno()],
                preexec_fn=None if _network() == NETWORK else lambda: enter(HOME),  # noqa: PLW1509 - takes no locks
            )  # fmt: skip

    def begin(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], output: BinaryIO) -> Fork:
        """Begin a program.

        Args:
            module: as after `python -m`.
            arguments: after it.
            environment: its whole environment.
            output: where it prints.
        """
        request = msgspec.json.encode(Request(module, list(arguments), dict(environment)))
        status, written = os.pipe()
        networks = [] if _network() == NETWORK else [os.open(THREADS_NETWORK, os.O_RDONLY)]
        with self._turn:
            socket.send_fds(self._control, [request], [output.fileno(), written, *networks])
            for descriptor in (written, *networks):
                os.close(descriptor)
            return Fork(int(self._control.recv(MESSAGE_BYTES_MAX)), status)

    def close(self) -> None:
        """End it, and kill the programs that still run."""
        self._control.close()
        self._process.wait()


@functools.cache
def template(*modules: str) -> Template:
    """The process that has imported these; it ends with this one."""
    made = Template(modules)
    atexit.register(made.close)
    return made


def run(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], imported: Sequence[str]
) -> tuple[int, str]:
    """Run a program to its end, as `begin` does; returns its exit code and what it printed."""
    with tempfile.TemporaryFile() as output:
        code = begin(module, arguments, environment, output, imported).wait(RUN_SECONDS)
        output.seek(0)
        return code, output.read().decode()


def begin(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], output: BinaryIO, imported: Sequence[str]
) -> Fork | subprocess.Popen[bytes]:
    """Begin a Python program, as a fork wherever that is the same.

    Args:
        module: as after `python -m`.
        arguments: after it.
        environment: its whole environment.
        output: where it prints.
        imported: modules that it imports.
    """
    given = {name for name, value in environment.items() if value != os.environ.get(name)}
    if not any(name.startswith(AT_START) for name in given):
        return template(*imported).begin(module, arguments, environment, output)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
    )  # fmt: skip
