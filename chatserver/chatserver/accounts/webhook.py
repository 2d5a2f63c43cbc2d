"""The sender `Webhook`: posts each code, signed, to the owner's gateway. The only importer of httpx in the server.

Requests do not wait for the gateway: they are answered once the code is stored and there is room in the queue. A
server that fails loses its queue; the user requests another code.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx
import msgspec
import structlog

from chatserver.accounts.code_senders import GIVE_UP_SECONDS, is_retryable, retry_wait_seconds, sign
from chatserver.audit import mask_phone_number
from chatserver.errors import ServiceUnavailable
from chatserver.supervision import isolated, keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatserver.accounts.code_senders import CodeMessage

log = structlog.get_logger()

CONCURRENCY: Final = 16
"""Concurrent requests to the gateway: some 80 codes a second at 0.2 s each."""

QUEUE_MAX: Final = 1000
"""Codes that may wait; further requests get 503. More would expire before they are sent."""

TRY_SECONDS: Final = 5.0
"""Seconds one request may take, connecting included."""

FULL_RETRY_SECONDS: Final = 10
"""Retry-After in seconds when the queue is full: a few retries to the gateway."""

ANSWER_MAX_BYTES: Final = 65_536
"""Bytes of an answer that are read, so that the connection can be reused; the content is ignored."""


class _Taken(msgspec.Struct, frozen=True):
    """A message in the queue; `at` is when it was queued, in seconds of the monotonic clock."""

    message: CodeMessage
    at: float


class _Failure(msgspec.Struct, frozen=True):
    """Why a try failed, without number or code, and whether another may succeed."""

    reason: str
    retryable: bool


class WebhookSender:
    """Posts ``{phone_number, code, expires_in}`` as JSON to a URL, and retries on 5xx and timeouts.

    Args:
        url: https, or http on this machine.
        read_secret: returns the key of the signature; called at each request, so that it can be replaced at run time.
        on_result: called with ``sent``, ``failed`` (given up) or ``refused`` (queue full), for metrics.
        on_answer: called with the seconds of each request to the gateway, for metrics.
    """

    reveals_codes = False

    def __init__(
        self,
        url: str,
        read_secret: Callable[[], bytes],
        *,
        on_result: Callable[[str], None],
        on_answer: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._read_secret = read_secret
        self._on_result = on_result
        self._on_answer = on_answer
        # When the messages were queued that are not done, the oldest first: by the id of each.
        self._queued_at: dict[int, float] = {}
        self._queue: asyncio.Queue[_Taken] = asyncio.Queue()
        # Places of messages that are being stored, waiting, or being sent.
        self._places = 0

    @contextmanager
    def reserve(self) -> Iterator[Callable[[CodeMessage], None]]:
        """Reserve room for one message; see `Sender`."""
        if self._places >= QUEUE_MAX:
            self._on_result("refused")
            raise ServiceUnavailable(
                "Too many codes are waiting to be sent. Try again later.", retry_after_seconds=FULL_RETRY_SECONDS
            )
        self._places += 1
        taken = False

        def take(message: CodeMessage) -> None:
            nonlocal taken
            taken = True
            queued = _Taken(message, time.monotonic())
            self._queued_at[id(queued)] = queued.at
            self._queue.put_nowait(queued)

        try:
            yield take
        finally:
            if not taken:
                self._places -= 1

    def waiting(self) -> int:
        """Return how many messages wait or are being sent."""
        return self._places

    def oldest_seconds(self) -> float:
        """Return the age of the oldest message that waits or is being sent; 0 if there is none."""
        oldest_at = next(iter(self._queued_at.values()), None)
        return 0.0 if oldest_at is None else time.monotonic() - oldest_at

    async def run(self) -> None:
        """Send until cancelled."""
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
        # HTTPS_PROXY and SSL_CERT_FILE apply to gateways on other machines, not to one on this machine.
        elsewhere = self._url.startswith("https://")
        async with (
            httpx.AsyncClient(timeout=TRY_SECONDS, limits=limits, trust_env=elsewhere) as http,
            asyncio.TaskGroup() as workers,
        ):
            for _ in range(CONCURRENCY):
                # Each is supervised separately: a failure of one must not cancel requests of the others.
                workers.create_task(keep("codes", functools.partial(self._work, http)))

    async def finish(self, timeout_seconds: float) -> None:
        """Wait until every queued message was sent or given up, at most so long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._queue.join()
        except TimeoutError:
            log.warning("codes_left_unsent", codes=self._places)

    async def _work(self, http: httpx.AsyncClient) -> None:
        while True:
            taken = await self._queue.get()
            try:
                with isolated("code_not_sent"):
                    await self._deliver(http, taken)
            finally:
                self._places -= 1
                del self._queued_at[id(taken)]
                self._queue.task_done()

    async def _deliver(self, http: httpx.AsyncClient, taken: _Taken) -> None:
        """Try until it is sent, rejected permanently, or too old."""
        number = mask_phone_number(taken.message.phone_number)
        # The same at each try, so that the gateway can recognise a message that it has already sent.
        message_id = uuid.uuid4().hex
        failure: _Failure | None = _Failure("it waited too long", retryable=False)
        tries = 0
        while (age_seconds := time.monotonic() - taken.at) < GIVE_UP_SECONDS:
            tries += 1
            failure = await self._try(http, taken.message, message_id, age_seconds)
            if failure is None:
                self._on_result("sent")
                log.info("code_sent", phone_number=number, tries=tries)
                return
            age_seconds = time.monotonic() - taken.at
            wait_seconds = retry_wait_seconds(tries, age_seconds, random.random())  # noqa: S311 - jitter, not a secret
            if not failure.retryable or wait_seconds is None:
                break
            await asyncio.sleep(wait_seconds)
        self._on_result("failed")
        log.warning("code_not_sent", phone_number=number, tries=tries, reason=failure.reason if failure else "")

    async def _try(
        self, http: httpx.AsyncClient, message: CodeMessage, message_id: str, age_seconds: float
    ) -> _Failure | None:
        """Post once; returns why it failed, or None if the gateway accepted it."""
        body = msgspec.json.encode(
            {
                "phone_number": message.phone_number,
                "code": message.code,
                "expires_in": round(message.expires_in_seconds - age_seconds),
            }
        )
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "ChatCluster",
                "X-ChatCluster-Message-Id": message_id,
                "X-ChatCluster-Signature": sign(self._read_secret(), body, int(time.time())),
            }
        except (OSError, ValueError):
            return _Failure("the signing key cannot be read", retryable=True)
        sent_at = time.monotonic()
        try:
            async with (
                asyncio.timeout(min(TRY_SECONDS, GIVE_UP_SECONDS - age_seconds)),
                http.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                await _read(answer)
        except (httpx.HTTPError, TimeoutError) as error:
            # Without its text, which quotes the URL: gateways' URLs can contain secrets.
            return _Failure(type(error).__name__, retryable=True)
        finally:
            self._on_answer(time.monotonic() - sent_at)
        if answer.is_success:
            return None
        return _Failure(f"status {answer.status_code}", retryable=is_retryable(answer.status_code))


async def _read(answer: httpx.Response) -> None:
    read_bytes = 0
    async for chunk in answer.aiter_raw():
        read_bytes += len(chunk)
        if read_bytes > ANSWER_MAX_BYTES:
            return
