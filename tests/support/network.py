"""A network of a test's own, in which packets can be dropped: nothing outside of it sees or keeps anything."""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
"""Of <linux/sched.h>: a network namespace."""

# Both directions: what either side sends is gone, and neither is told.
_RULES = """
table inet faults {
    set dropped { type inet_service; }
    chain in { type filter hook input priority 0; tcp dport @dropped drop; }
    chain out { type filter hook output priority 0; tcp sport @dropped drop; }
}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """The namespace that the calling thread is in, made by `private_network`."""

    def drop(self, port: int) -> None:
        """Lose every packet to and from a port from now on: its connections are half-open."""
        _run("nft", f"add element inet faults dropped {{ {port} }}")

    def restore(self, port: int) -> None:
        """Let packets pass again."""
        _run("nft", f"delete element inet faults dropped {{ {port} }}")


@contextmanager
def private_network() -> Iterator[Network]:
    """Put this thread, and what it starts from here on, into a network namespace with nothing but a loopback.

    On the way out the thread goes back; the kernel removes the namespace with the last process in it.

    Raises:
        PermissionError: this is not root, or root of a container that may not.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        try:
            _run("ip", "link set lo up")
            _run("nft", "-f -", _RULES)
            yield Network()
        finally:
            enter(before)
    finally:
        os.close(before)


def enter(network: int) -> None:
    """Put this thread into the network of an open descriptor."""
    _check(_libc.setns(network, CLONE_NEWNET))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace: {os.strerror(number)}")


def _run(program: str, arguments: str, text: str = "") -> None:
    subprocess.run([program, *arguments.split()], input=text, text=True, check=True, timeout=30)
