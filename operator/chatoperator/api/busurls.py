"""The URLs of a Valkey that the user runs, read as chatservers read them. No error shows any part of them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTES_MAX = 8 * 1024
"""Of all URLs together."""

DEFAULT_PORT = 6379

_TLS = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
"""By scheme: whether the connection is encrypted."""

EXAMPLE = "valkeys://bus-0.example.com:6379,valkeys://bus-1.example.com:6379"

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


class UrlsError(ValueError):
    """The text is no list of URLs that chatservers can use; the message says why without showing it."""


@dataclass(frozen=True)
class BusUrls:
    """What a list of URLs says.

    Attributes:
        text: The URLs with commas between them, without blanks.
        ports: Their TCP ports, ascending.
        tls: Whether one of them is encrypted.
    """

    text: str
    ports: tuple[int, ...]
    tls: bool


def read(text: str) -> BusUrls:
    """Read the URLs.

    Raises:
        UrlsError: Chatservers could not use them.
    """
    if len(text) > BYTES_MAX:
        raise UrlsError(f"it has more than {BYTES_MAX} bytes; URLs such as {EXAMPLE} are all that belongs there")
    urls = [url.strip() for url in text.split(",") if url.strip()]
    if not urls:
        raise UrlsError(f"it is empty; write URLs such as {EXAMPLE}")
    addresses = [_address(url) for url in urls]
    if len(set(addresses)) < len(addresses):
        raise UrlsError("it names an address twice; name each Valkey once")
    return BusUrls(",".join(urls), _ascending(addresses), any(tls for _, _, tls in addresses))


def ports(text: str) -> tuple[int, ...]:
    """TCP ports that URLs name, ascending; empty where they cannot be read.

    >>> ports("valkey://a,valkeys://b:6380")
    (6379, 6380)
    """
    try:
        return _ascending(_address(url.strip()) for url in text.split(",") if url.strip())
    except UrlsError:
        return ()


def _ascending(addresses: Iterable[tuple[str, int, bool]]) -> tuple[int, ...]:
    return tuple(sorted({port for _, port, _ in addresses}))


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether the connection is encrypted."""
    if _BLANK.search(url):
        raise UrlsError("a URL has a blank or a line break within; separate URLs by commas")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlsError(f"a host or port cannot be read; write URLs such as {EXAMPLE}") from None
    if parts.scheme not in _TLS or not host or port == 0:
        raise UrlsError(f"each URL must begin with valkey:// or, for TLS, valkeys:// and name a host: {EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        raise UrlsError("a URL contains a user or password; move them to the keys username and password")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UrlsError("a URL contains more than host and port; the key prefix keeps chats apart on one Valkey")
    return host, port or DEFAULT_PORT, _TLS[parts.scheme]
