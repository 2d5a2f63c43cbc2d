"""The sockets that a server listens on: of both address families where the kernel has both."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

ALL_ADDRESSES = ""


def open_listener(host: str, port: int, *, backlog: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an IPv4 or IPv6 address, a name, or ALL_ADDRESSES: those of IPv4, and of IPv6 if there is any.
        port: TCP port; 0 picks a free one.
        backlog: connections that may wait to be accepted.

    Raises:
        OSError: the port is taken, or the address is not of this machine.
    """
    if host == ALL_ADDRESSES and socket.has_dualstack_ipv6():
        # A kernel can know IPv6 and have it switched off.
        with contextlib.suppress(OSError):
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)


def plain_address(address: str) -> str:
    """Return an address in its usual form: a socket of both families has IPv4 as `::ffff:10.0.0.1`."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return address if mapped is None else str(mapped)
