"""Senders of sign-in codes: their interface, the sender for development, and the decisions of the webhook sender."""

from __future__ import annotations

import hmac
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIVE_UP_SECONDS: Final = 30.0
"""Seconds after which sending a code is given up: the user may request another by then (RESEND_SECONDS in
accounts/code_limits.py), and the two would arrive in any order."""

BACK_OFF_SECONDS: Final = 0.5
"""Wait after the first failed try; it doubles with each further one."""

BACK_OFF_MAX_SECONDS: Final = 8.0
"""Longest wait between two tries."""

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which the same request may succeed: too slow, too early, too many."""


class CodeMessage(msgspec.Struct, frozen=True):
    """A code to send to a phone number.

    Attributes:
        phone_number: E.164.
        code: six digits.
        expires_in_seconds: seconds that it is still valid.
    """

    phone_number: str
    code: str
    expires_in_seconds: int


class Sender(Protocol):
    """Sends codes to phone numbers in the background.

    Attributes:
        reveals_codes: whether the answer to a request for a code contains the code.
    """

    reveals_codes: bool

    def reserve(self) -> AbstractContextManager[Callable[[CodeMessage], None]]:
        """Reserve room for one message; yields the function that queues it, which need not be called.

        Raises:
            ServiceUnavailable: too many messages wait.
        """

    def waiting(self) -> int:
        """Return how many messages wait or are being sent."""

    def oldest_seconds(self) -> float:
        """Return the age of the oldest message that waits or is being sent; 0 if there is none."""

    async def run(self) -> None:
        """Send until cancelled."""

    async def finish(self, timeout_seconds: float) -> None:
        """Wait until every queued message was sent or given up."""


class LogSender:
    """The sender for development: the answer to the request contains the code, so that nothing is sent.

    Args:
        on_result: called with ``sent``, for metrics.
    """

    reveals_codes = True

    def __init__(self, on_result: Callable[[str], None] = lambda _: None) -> None:
        self._on_result = on_result

    @contextmanager
    def reserve(self) -> Iterator[Callable[[CodeMessage], None]]:
        """Accept any number of messages."""
        yield lambda _message: self._on_result("sent")

    def waiting(self) -> int:
        """Return 0."""
        return 0

    def oldest_seconds(self) -> float:
        """Return 0."""
        return 0.0

    async def run(self) -> None:
        """Do nothing."""

    async def finish(self, timeout_seconds: float) -> None:
        """Do nothing."""


def sign(secret: bytes, body: bytes, unix_seconds: int) -> str:
    """Return the header ``X-ChatCluster-Signature`` of a body.

    The time is signed too, so that a receiver can reject a recorded request that somebody sends again.

    Example:
        >>> sign(b"secret", b"{}", 1700000000)[:21]
        't=1700000000,v1=b8569'
    """
    digest = hmac.digest(secret, f"{unix_seconds}.".encode() + body, "sha256")
    return f"t={unix_seconds},v1={digest.hex()}"


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed after an answer with this status."""
    return status >= 500 or status in RETRYABLE_STATUSES  # noqa: PLR2004 - the class of server errors


def retry_wait_seconds(tries: int, age_seconds: float, random_value: float) -> float | None:
    """Return the seconds to wait before the next try; None: give up.

    Args:
        tries: tries that have failed, from 1.
        age_seconds: since the message was queued.
        random_value: from 0 to 1; half of the wait is random, so that many messages are not retried at once.

    Example:
        >>> [retry_wait_seconds(tries, 0, 1) for tries in (1, 2, 3, 9)], retry_wait_seconds(1, 29.9, 1)
        ([0.5, 1.0, 2.0, 8.0], None)
    """
    ceiling_seconds: float = min(BACK_OFF_MAX_SECONDS, BACK_OFF_SECONDS * 2.0 ** (tries - 1))
    wait_seconds = ceiling_seconds * (0.5 + random_value / 2)
    return wait_seconds if age_seconds + wait_seconds < GIVE_UP_SECONDS else None
