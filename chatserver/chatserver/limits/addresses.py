"""Which addresses count as one client in limits per address."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

UNKNOWN: Final = "unknown"
"""Counted instead of an address for clients whose address is unknown."""

CUSTOMER_BITS: Final = 64
"""Leading bits of an IPv6 address that identify one customer."""

SITE_BITS: Final = 48
"""Leading bits of a network that providers assign on request: 65,536 customers' worth."""

LONGEST_ADDRESS_CHARS: Final = 45
"""Length of the longest IPv6 address, one that ends like an IPv4 address; a longer text is no address."""


def address_subject(address: str) -> str:
    """Return the subject that counts as one client: an IPv4 address, or the /64 of an IPv6 customer."""
    return _subject(_bounded(address), CUSTOMER_BITS)


def site_subject(address: str) -> str:
    """Return the largest network of one client: an IPv4 address, or an IPv6 /48.

    Example:
        >>> [site_subject(address) for address in ("192.0.2.1", "2001:db8:1:2::3", "::ffff:192.0.2.1")]
        ['192.0.2.1', '2001:db8:1::/48', '192.0.2.1']
    """
    return _subject(_bounded(address), SITE_BITS)


def _bounded(address: str) -> str:
    """Return an address without its zone, or the beginning of a text that is too long: the cache keeps it."""
    return address.partition("%")[0][: LONGEST_ADDRESS_CHARS + 1]


@functools.lru_cache(maxsize=4096)
def _subject(address: str, bits: int) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, bits), strict=False))
    return str(parsed)
