"""Asks the running parts: chatservers for their connections, the ingress Service for an answer over HTTPS."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from chatoperator.manifests.chatserver import METRICS_PORT
from chatoperator.observed import Answer, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRAPE_TIMEOUT_SECONDS = 3
"""A server that cannot answer within this gives no reading; a fifth of the tick."""

ANSWER_TIMEOUT_SECONDS = 5
"""For one request through the ingress, TLS and the server's look at the database included."""

ANSWER_TRIES = 3
"""A server that has begun to drain answers /readyz with 503 for the seconds until HAProxy has noticed; the chat is
well, and the next request goes to another server."""

METRICS_BYTES_MAX = 4 * 1024 * 1024
"""More is not a chatserver's metrics page."""

OK = 200

HEADER_WITHOUT_CLIENT = b"PROXY UNKNOWN\r\n"
"""What a load balancer's own health checks send (PROXY protocol, version 1): the client is who connects."""


@dataclass(frozen=True)
class Target:
    """Where and as whom to ask the ingress.

    Attributes:
        address: The Service's cluster address, without DNS, so that a failing DNS does not hide a working chat.
        server_name: Name for SNI, the Host header and, where `authority` is given, the certificate.
        authority: PEM of the authority to trust; None trusts any certificate, since a user's may not cover
            names inside the cluster.
        port: Of the Service.
        headed: Whether HAProxy expects headers of the PROXY protocol from some networks: the operator may be in them.
    """

    address: str
    server_name: str
    authority: str | None
    port: int = 443
    headed: bool = False


class Prober:
    """HTTP to the data plane."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def readings(self, addresses: Mapping[str, str]) -> dict[str, Reading | None]:
        """Ask all chatservers at once.

        Args:
            addresses: IP addresses by pod name.

        Returns:
            By pod name; None where a server gave no reading.
        """
        names = list(addresses)
        found = await asyncio.gather(*(self._reading(addresses[name]) for name in names))
        return dict(zip(names, found, strict=True))

    async def _reading(self, address: str) -> Reading | None:
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(
                f"http://{host}:{METRICS_PORT}/metrics",
                timeout=aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as answer:
                if answer.status != OK:
                    return None
                page = await answer.content.read(METRICS_BYTES_MAX)
                while not answer.content.at_eof() and len(page) < METRICS_BYTES_MAX:
                    page += await answer.content.read(METRICS_BYTES_MAX - len(page))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return parse_reading(page.decode(errors="replace"))

    async def ask(self, target: Target) -> Answer:
        """GET /readyz through the ingress Service: TLS, HAProxy, a chatserver and its database."""
        for _ in range(ANSWER_TRIES - 1):
            answer = await self.ask_once(target)
            if answer.ok:
                return answer
        return await self.ask_once(target)

    async def ask_once(self, target: Target) -> Answer:
        """The same with one try; where HAProxy expects headers of the PROXY protocol, with one and without."""
        answer = await self._ask_plainly(target)
        if answer.ok or not target.headed:
            return answer
        headed = await _ask_with_header(target)
        return headed if headed.ok else answer

    async def _ask_plainly(self, target: Target) -> Answer:
        host = f"[{target.address}]" if ":" in target.address else target.address
        try:
            async with self._session.get(
                f"https://{host}:{target.port}/readyz",
                headers={"Host": target.server_name},
                server_hostname=target.server_name,
                ssl=_context(target.authority),
                timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as answer:
                return _answered(answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            return Answer(ok=False, message=f"A request through the ingress failed: {_words(error)}")


async def _ask_with_header(target: Target) -> Answer:
    """The same request by hand: aiohttp sends nothing before TLS."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(target.address, target.port)
            try:
                writer.write(HEADER_WITHOUT_CLIENT)
                await writer.start_tls(_context(target.authority), server_hostname=target.server_name)
                writer.write(
                    f"GET /readyz HTTP/1.1\r\nHost: {target.server_name}\r\nConnection: close\r\n\r\n".encode()
                )
                status = await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, OSError) as error:
        return Answer(ok=False, message=f"A request through the ingress failed: {_words(error)}")
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", status)
    return _answered(int(match[1])) if match else Answer(ok=False, message="A request through the ingress was cut off")


def _answered(status: int) -> Answer:
    if status == OK:
        return Answer(ok=True, message="A request through the ingress was answered")
    return Answer(ok=False, message=f"A request through the ingress was answered with {status}")


def parse_reading(page: str) -> Reading | None:
    """Read a chatserver's metrics page; None where it does not hold both figures."""
    values: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(page):
            # A family can be announced without a sample: that is silence, not 0.
            if family.samples and family.name in {"chatserver_connections", "chatserver_draining"}:
                values[family.name] = sum(sample.value for sample in family.samples)
        return Reading(connections=int(values["chatserver_connections"]), draining=values["chatserver_draining"] > 0)
    except (KeyError, ValueError, OverflowError):
        return None


def _context(authority: str | None) -> ssl.SSLContext:
    if authority is not None:
        return ssl.create_default_context(cadata=authority)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_TIMEOUT_SECONDS} s"
    # aiohttp's own words name objects by their address in memory, which a status must not repeat.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not good: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error}"
    return f"{type(error).__name__}: {error}"
