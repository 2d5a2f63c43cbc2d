"""Probes the running parts: chatservers, PostgreSQL's agent, and over HTTPS the ingress Service."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import structlog

from chatoperator import metrics
from chatoperator.observed import Answer
from chatoperator.parts.backup.host import STATUS_PATH, STATUS_PORT
from chatoperator.parts.chatserver.deployment import METRICS_PORT
from chatoperator.parts.database.statefulset import AGENT_PORT, AGENT_STATUS_PATH
from chatoperator.probes import tls
from chatoperator.probes.parsing import COUNTS, READ_METRICS, parse_answer, parse_backup, parse_reading, parse_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from chatoperator.observed import Reading
    from chatoperator.reports import AgentReport, BackupReport

SCRAPE_TIMEOUT_SECONDS = 3
"""A server that cannot answer within this gives no reading; a fifth of the tick."""

ANSWER_TIMEOUT_SECONDS = 5
"""For an answer through the ingress with all tries, TLS and the server's look at the database included."""

ANSWER_TRIES = 3
"""HAProxy takes some seconds to notice that a server died; the next request goes to another one."""

TRY_SECONDS = 1
"""A try without an answer for so long gets another one beside it: who is behind a dead server waits for nothing."""

ANSWER_PATH = "/readyz?exclude=draining"
"""A server that has begun to drain still answers clients until every HAProxy has noticed. Where it is the one with the
fewest connections, as at a scale-down, it gets all requests of these seconds."""

SERVERS_AT_A_TIME = 16
"""Of one chat that are read at once: the hundred servers of a chat that hang must not use up the operator's sockets."""

AGENT_BYTES_MAX = 64 * 1024
"""More is not an agent's report."""

BACKUP_BYTES_MAX = 1024 * 1024
"""Of the backup pod's report: 300 bytes for each of at most some thousand backups."""

BODY_BYTES_MAX = 4096
"""Of the answer of /readyz."""

METRICS_BYTES_MAX = 1024 * 1024
"""More is not a chatserver's metrics page."""

METRICS_TARGET = "/metrics?" + "&".join(f"name[]={name}" for name in READ_METRICS)

LINE_BYTES_MAX, LINES_MAX = 8 * 1024, 64
"""Of such lines."""

PLAIN = {"Accept-Encoding": "identity"}
"""What is packed may be endless when it is unpacked."""

WORDS_MAX = 300
"""Characters of a chat's own words, or an error about them, that are passed on."""

OK = 200

UNREADABLE_ANSWER = Answer(ok=False, message="A request through the ingress failed: its answer is invalid")

HEADER_WITHOUT_CLIENT = b"PROXY UNKNOWN\r\n"
"""What a load balancer's own health checks send (PROXY protocol, version 1): the client is who connects."""

log = structlog.get_logger(__name__)

Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Target:
    """Where and how to probe the ingress.

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
    """HTTP to the data plane, whose answers are a tenant's: whatever they are, they are no reading or no answer."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def readings(self, addresses: Mapping[str, str]) -> dict[str, Reading | None]:
        """Read all chatservers, some at a time.

        Args:
            addresses: IP addresses by pod name.

        Returns:
            By pod name; None where a server gave no reading.
        """
        names = list(addresses)
        turn = asyncio.Semaphore(SERVERS_AT_A_TIME)

        async def reading(address: str) -> Reading | None:
            async with turn:
                return await _guarded("chatserver", self._reading(address), None)

        found = await asyncio.gather(*(reading(addresses[name]) for name in names))
        return dict(zip(names, found, strict=True))

    async def agent(self, address: str) -> AgentReport | None:
        """Read the agent beside PostgreSQL; None where it gives no report."""
        return await _guarded("agent", self._agent(address), None)

    async def _agent(self, address: str) -> AgentReport | None:
        page = await self._page(address, AGENT_PORT, AGENT_STATUS_PATH, AGENT_BYTES_MAX)
        return parse_report(page) if page is not None else None

    async def backup(self, address: str) -> BackupReport | None:
        """Read the agent of the backup pod; None where it gives no report."""
        return await _guarded("backup", self._backup(address), None)

    async def _backup(self, address: str) -> BackupReport | None:
        page = await self._page(address, STATUS_PORT, STATUS_PATH, BACKUP_BYTES_MAX)
        return parse_backup(page) if page is not None else None

    async def _page(self, address: str, port: int, path: str, most: int) -> str | None:
        """A page of at most so many bytes; None for a longer one."""
        page = b""
        async for part in self._parts(address, port, path):
            page += part
            if len(page) > most:
                return None
        return page.decode(errors="replace")

    async def _reading(self, address: str) -> Reading | None:
        """Of a page of any length, only the lines that count are kept."""
        kept, begun, length = list[bytes](), b"", 0
        async for part in self._parts(address, METRICS_PORT, METRICS_TARGET):
            length += len(part)
            if length > METRICS_BYTES_MAX:
                return None
            *ended, begun = (begun + part).split(b"\n")
            kept += [line for line in ended if COUNTS.match(line)]
            if len(begun) > LINE_BYTES_MAX or len(kept) > LINES_MAX:
                return None
        return parse_reading(b"\n".join([*kept, b""]).decode(errors="replace"))

    async def _parts(self, address: str, port: int, path: str) -> AsyncIterator[bytes]:
        """What a page says, as it comes; nothing where its status is not 200.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: It does not come, or not to its end.
        """
        host = f"[{address}]" if ":" in address else address
        async with self._session.get(
            f"http://{host}:{port}{path}",
            timeout=aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_SECONDS),
            headers=PLAIN,
            allow_redirects=False,
        ) as answer:
            if answer.status == OK:
                async for part in answer.content.iter_any():
                    yield part

    async def probe(self, target: Target) -> Answer:
        """Probe the chat through the ingress Service: TLS, HAProxy, a chatserver and its database.

        Returns:
            The first good answer, else the last one, after ANSWER_TIMEOUT_SECONDS at most.
        """
        return await _timed(self._probe_in_time(target))

    async def _probe_in_time(self, target: Target) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                return await self._probe_repeatedly(target)
        except TimeoutError as error:
            return Answer(ok=False, message=f"A request through the ingress failed: {_words(error)}")

    async def _probe_repeatedly(self, target: Target) -> Answer:
        left = ANSWER_TRIES
        tries: set[asyncio.Task[Answer]] = set()
        try:
            while True:
                if left:
                    left -= 1
                    tries.add(asyncio.create_task(self.probe_once(target, ANSWER_TIMEOUT_SECONDS)))
                ended, tries = await asyncio.wait(
                    tries, timeout=TRY_SECONDS if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                answers = [task.result() for task in ended]
                good = next((answer for answer in answers if answer.ok), None)
                if good is not None:
                    return good
                if not (left or tries):
                    return answers[-1]
        finally:
            for task in tries:
                task.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    async def probe_once(self, target: Target, seconds: float) -> Answer:
        """The same with one try; where HAProxy expects headers of the PROXY protocol, with one and without.

        Args:
            target: Where and how.
            seconds: For each of these requests.
        """
        return await _timed(self._try(target, seconds))

    async def _try(self, target: Target, seconds: float) -> Answer:
        answer = await _guarded("ingress", self._request(target, seconds), UNREADABLE_ANSWER)
        if answer.ok or not target.headed:
            return answer
        headed = await _guarded("ingress", _request_with_header(target, seconds), UNREADABLE_ANSWER)
        return headed if headed.ok else answer

    async def _request(self, target: Target, seconds: float) -> Answer:
        host = f"[{target.address}]" if ":" in target.address else target.address
        try:
            async with self._session.get(
                f"https://{host}:{target.port}{ANSWER_PATH}",
                headers={"Host": target.server_name, **PLAIN},
                server_hostname=target.server_name,
                ssl=tls.context(target.authority),
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as answer:
                return _answered(answer.status, await answer.content.read(BODY_BYTES_MAX))
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            return Answer(ok=False, message=f"A request through the ingress failed: {_words(error)}")


async def _timed(request: Coroutine[None, None, Answer]) -> Answer:
    clock = asyncio.get_running_loop().time
    began = clock()
    answer = await request
    return replace(answer, seconds=clock() - began)


async def _guarded(part: str, request: Coroutine[None, None, Answered], otherwise: Answered) -> Answered:
    """The answer of a chat's part. It may be anything, and none of it is an error of the operator's."""
    try:
        return await request
    except (aiohttp.ClientError, TimeoutError, OSError):
        return otherwise
    except Exception as error:  # noqa: BLE001 - there is no list of what parsers raise
        metrics.UNREADABLE_ANSWERS.labels(part=part).inc()
        log.info("unreadable answer", part=part, error=f"{type(error).__name__}: {error}"[:WORDS_MAX])
        return otherwise


async def _request_with_header(target: Target, seconds: float) -> Answer:
    """The same request by hand: aiohttp sends nothing before TLS."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(target.address, target.port)
            try:
                writer.write(HEADER_WITHOUT_CLIENT)
                await writer.start_tls(tls.context(target.authority), server_hostname=target.server_name)
                writer.write(
                    f"GET {ANSWER_PATH} HTTP/1.1\r\nHost: {target.server_name}\r\nConnection: close\r\n\r\n".encode()
                )
                status = await reader.readline()
                body = await _body(reader)
            finally:
                writer.close()
    except (TimeoutError, OSError) as error:
        return Answer(ok=False, message=f"A request through the ingress failed: {_words(error)}")
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", status)
    return (
        _answered(int(match[1]), body)
        if match
        else Answer(
            ok=False, message="A request through the ingress failed: the connection was closed before the answer"
        )
    )


async def _body(reader: asyncio.StreamReader) -> bytes:
    try:
        await reader.readuntil(b"\r\n\r\n")
        return await reader.read(BODY_BYTES_MAX)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""


def _answered(status: int, body: bytes) -> Answer:
    if status == OK:
        return parse_answer(body)
    return Answer(ok=False, message=f"A request through the ingress failed: HTTP status {status}")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_TIMEOUT_SECONDS} s"
    # aiohttp's own words name objects by their address in memory, which a status must not repeat.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is invalid: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error}"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        # Their words quote what was sent, which anybody may have written.
        return "its answer is not valid HTTP"
    return f"{type(error).__name__}: {error}"[:WORDS_MAX]
