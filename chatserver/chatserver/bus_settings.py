"""Settings of the bus by which servers send each other hints (``CHAT_BUS_*``)."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatserver.environment import PREFIX, Reader, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUS_TYPES = ("PostgreSQL", "Valkey")
DEFAULT_PORT = 6379
# By scheme of the URL: whether the connection uses TLS.
_SCHEMES = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    """Where one Valkey listens.

    Attributes:
        host: its name or address; a certificate must have it.
        port: its port.
        tls: whether the connection is encrypted.
    """

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The settings, validated.

    Attributes:
        bus_type: ``PostgreSQL``: NOTIFY reaches all servers; ``Valkey``: hints reach the servers of their users.
        bus_urls: the Valkeys, each with its share of the users; all servers need the same ones in the same order.
        bus_username: ACL user of Valkey.
        bus_password_file: file with the password, read again at each new connection; None: no password.
        bus_ca_file: file with the certificates that sign Valkey's; None: those of the system.
        bus_prefix: beginning of all keys and channels, for several chats on one Valkey.
    """

    bus_type: str = "PostgreSQL"
    bus_urls: tuple[ValkeyAddress, ...] = ()
    bus_username: str = "default"
    bus_password_file: Path | None = field(default=None, repr=False)
    bus_ca_file: Path | None = None
    bus_prefix: str = "chat"

    @property
    def name(self) -> str:
        """What two servers have in common when their hints reach each other: never a secret."""
        if self.bus_type == "PostgreSQL":
            return self.bus_type
        where = " ".join([self.bus_prefix, *map(str, self.bus_urls)])
        return f"{self.bus_type} {hashlib.sha256(where.encode()).hexdigest()[:16]}"

    def read_password(self) -> str | None:
        """Return the password for new connections; None: Valkey needs none.

        Raises:
            OSError: the file cannot be read at this moment.
        """
        if self.bus_password_file is None:
            return None
        return self.bus_password_file.read_text(encoding="utf-8").strip()


BUS_OF_DATABASE = BusSettings()
"""What a server uses unless it has a Valkey."""


def read_bus_settings(environ: Mapping[str, str]) -> BusSettings:
    """Read and validate the settings.

    Raises:
        SettingsError: a value is missing or invalid; the text names the variable.
    """
    reader = Reader(environ, {each.name: each.default for each in dataclasses.fields(BusSettings)})
    bus_type = reader.choice("BUS_TYPE", BUS_TYPES)
    urls = [url.strip() for url in (reader.optional("BUS_URLS") or "").split(",") if url.strip()]
    if bus_type == "Valkey" and not urls:
        raise SettingsError(
            f"{PREFIX}BUS_TYPE=Valkey needs {PREFIX}BUS_URLS, such as valkey://bus-0:6379,valkey://bus-1:6379"
        )
    addresses = tuple(_read_address(url) for url in urls)
    if len(set(addresses)) < len(addresses):
        raise SettingsError(f"{PREFIX}BUS_URLS names an address twice: name each Valkey once")
    return BusSettings(
        bus_type=bus_type,
        bus_urls=addresses,
        bus_username=reader.text("BUS_USERNAME"),
        bus_password_file=_read_file(reader, "BUS_PASSWORD_FILE", "the password"),
        bus_ca_file=_read_file(reader, "BUS_CA_FILE", "certificates"),
        bus_prefix=reader.text("BUS_PREFIX"),
    )


def _read_address(url: str) -> ValkeyAddress:
    """Return what a URL names; errors do not quote it, because it may contain a password."""
    name = f"{PREFIX}BUS_URLS"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise SettingsError(f"{name} contains something that is not a URL: {e}") from e
    if parts.scheme not in _SCHEMES or not host:
        raise SettingsError(f"{name} must contain URLs such as valkey://host:6379, or valkeys://host:6379 for TLS")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            f"{name} must contain no user or password: set {PREFIX}BUS_USERNAME and {PREFIX}BUS_PASSWORD_FILE"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(f"{name} must contain only hosts and ports: {PREFIX}BUS_PREFIX keeps chats apart")
    return ValkeyAddress(host, port or DEFAULT_PORT, _SCHEMES[parts.scheme])


def _read_file(reader: Reader, name: str, content: str) -> Path | None:
    path = reader.optional(name)
    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}{name} is {path}, which is no file: set it to a file that contains {content}")
    return None if path is None else Path(path)
