"""How long senders wait: from the read of a frame or request until its answer is handed over.

Answers are put into outboxes in one turn of the event loop and written in the next, many at once. So the time is taken
once, behind these writes, for all answers of a turn.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from chatserver.errors import ChatError, InternalError, RateLimited
from chatserver.metrics.instruments import Exemplar, Histogram, Total

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.metrics.sends import SendMetrics
    from chatserver.model import SentMessage

EXEMPLAR_SECONDS: Final = 0.1
"""Sends that take longer leave their id beside the metric: it costs more than the observation."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """When a frame or request arrived that sends a message, and how it can be found again.

    Attributes:
        at: of ``time.monotonic``.
        kind: of the id: a frame has its message's, a request its own.
        id: the id.
    """

    at: float
    kind: Literal["client_id", "request_id"]
    id: str


class SendTimes:
    """Counts sends and times them.

    Args:
        metrics: what is counted.
        wake: has ``settle`` called behind the writes of the next turn of the event loop.
    """

    def __init__(self, metrics: SendMetrics, wake: Callable[[], None]) -> None:
        def counted(result: str, seconds: str) -> tuple[Total, Histogram]:
            return metrics.messages.labels(result), metrics.seconds.labels(seconds)

        self._stored, self._duplicate = counted("stored", "ok"), counted("duplicate", "ok")
        self._limited, self._rejected = counted("limited", "limited"), counted("rejected", "rejected")
        self._unavailable = counted("unavailable", "unavailable")
        self._wake = wake
        self._answered: list[tuple[Histogram, Arrival]] = []

    def answered(self, arrival: Arrival, result: SentMessage | ChatError) -> None:
        """Count a send whose answer is written in the next turn of the event loop."""
        counter, histogram = self._kind(result)
        counter.value += 1
        if not self._answered:
            self._wake()
        self._answered.append((histogram, arrival))

    def _kind(self, result: SentMessage | ChatError) -> tuple[Total, Histogram]:
        if not isinstance(result, ChatError):
            return self._duplicate if result.duplicate else self._stored
        if isinstance(result, RateLimited):
            return self._limited
        # A defect of this server too is no fault of the message.
        return self._unavailable if result.status >= InternalError.status else self._rejected

    def settle(self) -> None:
        """Take the time of the answers that have been written."""
        if not self._answered:
            return
        answered, self._answered = self._answered, []
        now = time.monotonic()
        for histogram, arrival in answered:
            seconds = now - arrival.at
            histogram.observe(seconds)
            if seconds > EXEMPLAR_SECONDS:
                histogram.keep_exemplar(Exemplar({arrival.kind: arrival.id}, seconds, time.time()))
