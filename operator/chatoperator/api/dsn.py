"""A PostgreSQL URL, read as the chatservers' driver (asyncpg) reads it. No error shows any part of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")

BYTES_MAX = 8 * 1024
"""Of a URL; PostgreSQL's own names have 63 bytes each."""

DEFAULT_PORT = 5432
PORT_MAX = 65535

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
VERIFYING_MODES = ("verify-ca", "verify-full")
"""Modes that need a certificate authority; the driver also verifies in mode require where it has one."""

EXAMPLE = "postgresql://user:password@host:5432/database"

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5})?)?")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


class DsnError(ValueError):
    """The text is no URL that chatservers can use; the message says what is wrong without showing it."""


@dataclass(frozen=True)
class Dsn:
    """Where a URL leads, without user and password.

    Attributes:
        hosts: Names or addresses with their TCP ports, in the URL's order.
        database: Name of the database.
        ssl_mode: The parameter sslmode; None where the URL has none.
        root_certificate: The parameter sslrootcert, a file; None likewise.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    ssl_mode: str | None
    root_certificate: str | None

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports, ascending: `postgresql://chat@a:5433,b/chat` -> (5432, 5433)."""
        return tuple(sorted({port for _, port in self.hosts}))


def read(text: str) -> Dsn:
    """Read a URL.

    Raises:
        DsnError: Chatservers could not use it.
    """
    if len(text) > BYTES_MAX:
        raise DsnError(f"it has more than {BYTES_MAX} bytes; a URL such as {EXAMPLE} is all that belongs there")
    text = text.strip()
    if text.partition("://")[0] not in SCHEMES or "://" not in text:
        raise DsnError(f"it must be a URL that begins with postgresql://, such as {EXAMPLE}")
    if _BLANK.search(text):
        raise DsnError("it has a blank or a line break within; write them percent-encoded, a blank as %20")
    try:
        parts = urlsplit(text)
        query = {key: values[-1] for key, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    except ValueError:
        raise DsnError(f"its parts cannot be told apart; {_encode_words()}") from None
    # The driver ends the user's part at the first @, and the host at the first of /, ? and #.
    if "#" in text or parts.netloc.count("@") > 1 or "@" in parts.path:
        raise DsnError(f"its user or password has a character that ends it too early; {_encode_words()}")
    hosts = _hosts(parts.netloc.rpartition("@")[2], query)
    ssl_mode = query.get("sslmode")
    if ssl_mode is not None and ssl_mode not in SSL_MODES:
        raise DsnError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
    user = unquote(parts.netloc.rpartition("@")[0].partition(":")[0]) or query.get("user", "")
    name = unquote(parts.path.removeprefix("/")) or query.get("dbname") or query.get("database") or user
    return Dsn(hosts, name, ssl_mode, query.get("sslrootcert"))


def ports(text: str) -> tuple[int, ...]:
    """TCP ports that a URL names, ascending; empty where it cannot be read."""
    try:
        return read(text).ports
    except DsnError:
        return ()


def _hosts(listed: str, query: dict[str, str]) -> tuple[tuple[str, int], ...]:
    """The hosts before the path or, where there are none, of the parameter host, whose ports are in port."""
    default = query.get("port", str(DEFAULT_PORT)).split(",") if not listed else [str(DEFAULT_PORT)]
    names = (listed or query.get("host", "")).split(",")
    if len(default) == 1:
        default *= len(names)
    found = [_HOST.fullmatch(name) for name in names]
    if len(default) != len(names) or not all(found):
        raise DsnError(f"it names no host, or its host and port cannot be read; write it like {EXAMPLE}")
    made = [
        (unquote(one["v6"] or one["name"]).lower(), one["port"] or port)
        for one, port in zip(found, default, strict=True)
        if one is not None
    ]
    if not all(port.isascii() and port.isdecimal() and 1 <= int(port) <= PORT_MAX for _, port in made):
        raise DsnError(f"its port must be a number from 1 to {PORT_MAX}")
    return tuple((host, int(port)) for host, port in made)


def _encode_words() -> str:
    return "write @ : / ? # [ ] and % in user and password percent-encoded, such as %40 for @ and %23 for #"
