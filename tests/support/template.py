"""A process that has imported what programs need, and begins each program as a fork of itself.

Run by `tests/support/forks.py` as `python -m tests.support.template DESCRIPTOR MODULE...`, with the descriptor of the
socket by which requests come, and what to import.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
import threading

import msgspec

from tests.support.network import enter

MESSAGE_BYTES_MAX = 256 * 1024

DESCRIPTORS_MAX = 3
"""With a request come where the program's output goes, where its exit code is written when it has ended, and the
network that it is to be in, where that is not this process's own."""


class Request(msgspec.Struct):
    """A program to begin.

    Attributes:
        module: as after `python -m`.
        arguments: after it.
        environment: its whole environment.
    """

    module: str
    arguments: list[str]
    environment: dict[str, str]


def serve(control: socket.socket) -> Request | None:
    """Begin what is requested; returns the request in the process that is to run it, and None where no more come."""
    ended: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in ended:
                    selector.unregister(key.fd)
                    _report(key.fd, *ended.pop(key.fd))
                    continue
                text, descriptors, *_ = socket.recv_fds(control, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
                if not text:
                    for pid, _ in ended.values():
                        os.kill(pid, signal.SIGKILL)
                    return None
                output, status, *networks = descriptors
                pid = os.fork()
                if pid == 0:
                    for watched, (_, written) in ended.items():
                        os.close(watched)
                        os.close(written)
                    control.close()
                    for network in networks:
                        enter(network)
                    for number in (1, 2):
                        os.dup2(output, number)
                    for descriptor in descriptors:
                        os.close(descriptor)
                    return msgspec.json.decode(text, type=Request)
                for descriptor in (output, *networks):
                    os.close(descriptor)
                control.send(str(pid).encode())
                watched = os.pidfd_open(pid)
                ended[watched] = pid, status
                selector.register(watched, selectors.EVENT_READ)


def _report(watched: int, pid: int, status: int) -> None:
    _, code = os.waitpid(pid, 0)
    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os.close(status)
    os.close(watched)


def main() -> None:
    """Import, then begin programs until the other side is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork has only one thread"
    # Objects that no fork's search for cycles touches stay shared with it.
    gc.collect()
    gc.freeze()
    request = serve(control)
    if request is not None:
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv = [request.module, *request.arguments]
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
