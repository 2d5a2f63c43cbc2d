"""Settings of the chatserver: one frozen object, read once from the environment."""

from __future__ import annotations

import dataclasses
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatserver.bus_settings import BUS_OF_DATABASE, BusSettings, read_bus_settings
from chatserver.environment import PREFIX, Reader, SettingsError
from chatserver.listener import ALL_ADDRESSES
from chatserver.webhook_settings import MIN_SECRET_KEY_BYTES, Webhook, read_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping

# PostgreSQL's default limit is 100 connections, and a pool must leave room for LISTEN and for other servers.
MAX_POOL_SIZE = 90
MIN_DRAIN_SECONDS = 1
POOLERS = ("none", "transaction")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_CALLING_CODE = re.compile(r"[1-9][0-9]{0,6}")
OTP_SENDERS = ("Log", "Webhook")
PAGE_SCHEMES = ("https", "http")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, validated.

    Attributes:
        database_dsn: DSN of PostgreSQL; None: it is in ``database_dsn_file``.
        database_dsn_file: file with the DSN, read again at each new connection.
        database_listen_dsn: DSN without a pooler, for LISTEN and migrations; None: in a file, or the same.
        database_listen_dsn_file: file with that DSN.
        database_pooler: ``none``: the DSN connects to PostgreSQL; ``transaction``: to a pooler such as PgBouncer, which
            assigns a connection for the duration of a transaction.
        secret_key: HMAC key for sign-in codes and for the name of session cookies; all servers need the same.
        database_pool_size: connections for queries, in addition to one for LISTEN.
        http_host: address on which API and metrics listen; empty: all addresses of IPv4, and of IPv6 if there is any.
        http_port: port of the API, the WebSocket and the page; 0 picks a free one.
        metrics_port: port of ``/metrics``; 0 picks a free one.
        request_seconds: time in which a request has to arrive; each received 8 KiB extend it by a second.
        server_name: name in ``X-Chat-Server`` and ``welcome``.
        page_scheme: ``https``, or ``http`` for development without TLS, where cookies are not restricted to HTTPS.
        drain_seconds: seconds over which a server that stops moves its clients to others.
        readiness_notice_seconds: seconds from the first 503 of ``/readyz`` until proxies have noticed it.
        heartbeat_seconds: seconds between two reports of the number of connections to the other servers.
        shed_percent_per_second: percentage of its connections that a server with more than its share moves per second;
            0: none.
        proxies_host: DNS name with the addresses of all proxies; None: clients of a proxy that stops are not moved.
        proxy_stay_seconds: seconds for which a proxy keeps its connections after its address is removed from DNS.
        otp_sender: how users receive codes: ``Log`` (for development: in the response itself) or ``Webhook``.
        otp_webhook: service to which ``Webhook`` posts codes; None with ``Log``.
        codes_per_address_per_hour: sign-in codes that one client address may request.
        codes_per_number_per_hour: the same for one phone number, as long as none of them is used.
        codes_per_hour: sign-in codes that all clients together may request.
        calling_codes: allowed first digits of phone numbers, after the +; empty: any.
        messages_per_user_per_minute: sends and other changes by one user on this server; 0: no limit.
        stored_bytes_per_user_per_hour: bytes that one user may store by this server, 300 for each row; 0: no limit.
        requests_per_device_per_minute: REST calls of one device to this server; 0: no limit.
        requests_per_address_per_minute: REST calls and handshakes of one client address; 0: no limit.
        numbers_per_user_per_day: phone numbers that one user may look up, but for those found before; 0: no limit.
        numbers_per_address_per_day: the same for all users of one client address; 0: no limit.
        session_days: days for which the token of a device is valid.
        audit_days: days for which events of the audit log are kept.
        retention_days: days after which the messages of all chats are deleted; None: they stay.
        max_connections: highest number of WebSockets on this server.
        allowed_origins: origins whose pages may use API and WebSocket, besides one that equals the Host header.
        trusted_proxy_hops: number of proxies in front; so many last entries of X-Forwarded-For are trusted.
        web_root: folder with the ``index.html`` that is served at ``/``; None: no page.
        bus: how servers send each other hints.
        log_level: lowest level that is logged.
        migrate_wait_seconds: seconds for which ``migrate`` waits for the database.
    """

    database_dsn: str | None = field(repr=False)
    database_dsn_file: Path | None
    secret_key: bytes = field(repr=False)
    database_listen_dsn: str | None = field(default=None, repr=False)
    database_listen_dsn_file: Path | None = None
    database_pooler: str = "none"
    database_pool_size: int = 8
    http_host: str = ALL_ADDRESSES
    http_port: int = 8080
    metrics_port: int = 9090
    request_seconds: float = 20
    server_name: str = ""
    page_scheme: str = "https"
    drain_seconds: int = 30
    readiness_notice_seconds: float = 5
    heartbeat_seconds: float = 5
    shed_percent_per_second: float = 1
    proxies_host: str | None = None
    proxy_stay_seconds: float = 25
    otp_sender: str = "Log"
    otp_webhook: Webhook | None = None
    codes_per_address_per_hour: int = 100
    codes_per_number_per_hour: int = 5
    codes_per_hour: int = 10_000
    calling_codes: tuple[str, ...] = ()
    messages_per_user_per_minute: int = 600
    stored_bytes_per_user_per_hour: int = 20 * 2**20
    requests_per_device_per_minute: int = 1200
    requests_per_address_per_minute: int = 0
    numbers_per_user_per_day: int = 5000
    numbers_per_address_per_day: int = 100_000
    session_days: int = 90
    audit_days: int = 90
    retention_days: int | None = None
    max_connections: int = 12_500
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxy_hops: int = 1
    web_root: Path | None = None
    bus: BusSettings = BUS_OF_DATABASE
    log_level: str = "INFO"
    migrate_wait_seconds: int = 120

    def read_database_dsn(self) -> str:
        """Return the DSN for new connections.

        Raises:
            OSError: the DSN file cannot be read at this moment.
        """
        if self.database_dsn_file is not None:
            return self.database_dsn_file.read_text(encoding="utf-8").strip()
        return self.database_dsn or ""

    def database_role(self) -> str:
        """Return the role in the DSN if it is a URL; otherwise an empty text."""
        try:
            return urlsplit(self.read_database_dsn()).username or ""
        except (OSError, ValueError):
            return ""

    def read_listen_dsn(self) -> str:
        """Return the DSN for uses that need a session: LISTEN, and the lock of migrations.

        Raises:
            OSError: as of `read_database_dsn`.
        """
        if self.database_listen_dsn_file is not None:
            return self.database_listen_dsn_file.read_text(encoding="utf-8").strip()
        return self.database_listen_dsn or self.read_database_dsn()


def _read_dsn(reader: Reader) -> tuple[str | None, Path | None]:
    dsn, path = _read_dsn_or_file(reader, "DATABASE_DSN")
    if (dsn is None) == (path is None):
        raise SettingsError(f"set the database by exactly one of {PREFIX}DATABASE_DSN and {PREFIX}DATABASE_DSN_FILE")
    return dsn, path


def _read_listen_dsn(reader: Reader, pooler: str) -> tuple[str | None, Path | None]:
    dsn, path = _read_dsn_or_file(reader, "DATABASE_LISTEN_DSN")
    if dsn is not None and path is not None:
        raise SettingsError(f"set at most one of {PREFIX}DATABASE_LISTEN_DSN and {PREFIX}DATABASE_LISTEN_DSN_FILE")
    if pooler != "none" and dsn is None and path is None:
        raise SettingsError(
            f"{PREFIX}DATABASE_POOLER={pooler} needs {PREFIX}DATABASE_LISTEN_DSN(_FILE), the DSN of PostgreSQL without "
            "the pooler, because LISTEN does not work through the pooler"
        )
    return dsn, path


def _read_dsn_or_file(reader: Reader, name: str) -> tuple[str | None, Path | None]:
    path = reader.optional(f"{name}_FILE")
    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}{name}_FILE is {path}, which is no file: set it to a file that contains the DSN")
    return reader.optional(name), None if path is None else Path(path)


def _read_secret_key(reader: Reader, *, required: bool) -> bytes:
    key, path = reader.optional("SECRET_KEY"), reader.optional("SECRET_KEY_FILE")
    if key is None and path is None and not required:
        return b""
    if (key is None) == (path is None):
        raise SettingsError(
            f"set the key for sign-in codes by exactly one of {PREFIX}SECRET_KEY and {PREFIX}SECRET_KEY_FILE"
        )
    if path is not None:
        try:
            secret = Path(path).read_bytes().strip()
        except OSError as e:
            raise SettingsError(f"{PREFIX}SECRET_KEY_FILE cannot be read ({e.strerror}): name a readable file") from e
    else:
        secret = (key or "").encode()
    if len(secret) < MIN_SECRET_KEY_BYTES:
        raise SettingsError(f"the key in {PREFIX}SECRET_KEY(_FILE) must have at least {MIN_SECRET_KEY_BYTES} bytes")
    return secret


def _read_web_root(reader: Reader) -> Path | None:
    raw = reader.optional("WEB_ROOT")
    if raw is None:
        return None
    if not (Path(raw) / "index.html").is_file():
        raise SettingsError(f"{PREFIX}WEB_ROOT must be a folder with an index.html; {raw} is none")
    return Path(raw).resolve()


def _read_calling_codes(reader: Reader) -> tuple[str, ...]:
    codes = tuple(code.strip() for code in (reader.optional("CALLING_CODES") or "").split(",") if code.strip())
    for code in codes:
        if not _CALLING_CODE.fullmatch(code):
            raise SettingsError(f"{PREFIX}CALLING_CODES: {code!r} must be digits without the +, such as 49 or 1242")
    return codes


def _read_retention_days(reader: Reader) -> int | None:
    if reader.optional("RETENTION_DAYS") is None:
        return None
    return reader.integer("RETENTION_DAYS", least=1, most=3650)


def _read_origins(reader: Reader) -> frozenset[str]:
    origins = frozenset(
        o.strip().rstrip("/") for o in (reader.optional("ALLOWED_ORIGINS") or "").split(",") if o.strip()
    )
    for origin in origins:
        if not origin.startswith(("https://", "http://")):
            raise SettingsError(f"{PREFIX}ALLOWED_ORIGINS: {origin!r} must look like https://host or https://host:port")
    return origins


def read_settings(environ: Mapping[str, str], *, needs_secret_key: bool = True) -> Settings:
    """Read and validate the settings.

    Args:
        environ: environment of the process.
        needs_secret_key: False for ``migrate``, which needs no key for sign-in codes.

    Raises:
        SettingsError: a value is missing or invalid; the text names the variable.
    """
    reader = Reader(environ, {each.name: each.default for each in dataclasses.fields(Settings)})
    dsn, dsn_file = _read_dsn(reader)
    pooler = reader.choice("DATABASE_POOLER", POOLERS)
    listen_dsn, listen_dsn_file = _read_listen_dsn(reader, pooler)
    otp_sender = reader.choice("OTP_SENDER", OTP_SENDERS)
    drain_seconds = reader.integer("DRAIN_SECONDS", least=MIN_DRAIN_SECONDS, most=3600)
    return Settings(
        database_dsn=dsn,
        database_dsn_file=dsn_file,
        database_listen_dsn=listen_dsn,
        database_listen_dsn_file=listen_dsn_file,
        database_pooler=pooler,
        secret_key=_read_secret_key(reader, required=needs_secret_key),
        database_pool_size=reader.integer("DATABASE_POOL_SIZE", least=1, most=MAX_POOL_SIZE),
        http_host=reader.text("HTTP_HOST"),
        http_port=reader.integer("HTTP_PORT", least=0, most=65535),
        metrics_port=reader.integer("METRICS_PORT", least=0, most=65535),
        request_seconds=reader.number("REQUEST_SECONDS", least=0.1, most=3600),
        server_name=reader.optional("SERVER_NAME") or socket.gethostname(),
        page_scheme=reader.choice("PAGE_SCHEME", PAGE_SCHEMES),
        drain_seconds=drain_seconds,
        readiness_notice_seconds=reader.number("READINESS_NOTICE_SECONDS", least=0, most=drain_seconds),
        heartbeat_seconds=reader.number("HEARTBEAT_SECONDS", least=0.1, most=60),
        shed_percent_per_second=reader.number("SHED_PERCENT_PER_SECOND", least=0, most=100),
        proxies_host=reader.optional("PROXIES_HOST"),
        proxy_stay_seconds=reader.number("PROXY_STAY_SECONDS", least=0, most=3600),
        otp_sender=otp_sender,
        # Migrations send no codes, and their Job does not have the key.
        otp_webhook=read_webhook(reader) if otp_sender == "Webhook" and needs_secret_key else None,
        codes_per_address_per_hour=reader.integer("CODES_PER_ADDRESS_PER_HOUR", least=1, most=10**9),
        codes_per_hour=reader.integer("CODES_PER_HOUR", least=1, most=10**9),
        calling_codes=_read_calling_codes(reader),
        codes_per_number_per_hour=reader.integer("CODES_PER_NUMBER_PER_HOUR", least=1, most=10**9),
        messages_per_user_per_minute=reader.integer("MESSAGES_PER_USER_PER_MINUTE", least=0, most=10**9),
        stored_bytes_per_user_per_hour=reader.integer("STORED_BYTES_PER_USER_PER_HOUR", least=0, most=2**50),
        requests_per_device_per_minute=reader.integer("REQUESTS_PER_DEVICE_PER_MINUTE", least=0, most=10**9),
        requests_per_address_per_minute=reader.integer("REQUESTS_PER_ADDRESS_PER_MINUTE", least=0, most=10**9),
        numbers_per_user_per_day=reader.integer("NUMBERS_PER_USER_PER_DAY", least=0, most=10**9),
        numbers_per_address_per_day=reader.integer("NUMBERS_PER_ADDRESS_PER_DAY", least=0, most=10**9),
        session_days=reader.integer("SESSION_DAYS", least=1, most=3650),
        retention_days=_read_retention_days(reader),
        audit_days=reader.integer("AUDIT_DAYS", least=1, most=3650),
        max_connections=reader.integer("MAX_CONNECTIONS", least=1, most=10**7),
        allowed_origins=_read_origins(reader),
        trusted_proxy_hops=reader.integer("TRUSTED_PROXY_HOPS", least=0, most=10),
        web_root=_read_web_root(reader),
        bus=read_bus_settings(environ),
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS),
        migrate_wait_seconds=reader.integer("MIGRATE_WAIT_SECONDS", least=0, most=3600),
    )
