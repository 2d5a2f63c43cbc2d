"""Types that the client returns to the application."""

from typing import Any

import msgspec

RETRY_SECONDS = 2.0
"""Seconds between tries if the server names no time."""

RETRY_MIN_SECONDS, RETRY_MAX_SECONDS = 0.1, 300.0
"""Bounds of the wait that a server names: a wrong answer makes a client neither spin nor sleep for ever."""


class ChatClientError(Exception):
    """Any failure of the client."""


class SignedOut(ChatClientError):
    """The token is invalid, or another connection of this device took over: sign in again."""


class Replaced(SignedOut):
    """This device has connected elsewhere, twice: another program uses its token. Do not connect again."""


class HistoryReplaced(ChatClientError):
    """The database was restored or failed over, so rows may have other numbers: begin with new `Positions`."""

    def __init__(self) -> None:
        super().__init__(
            "the server's history is another one than before: its database was restored or failed over. "
            "Compare by RestClient.history() what you must not miss, and begin again with RestClient.positions()"
        )


class ClientStopped(ChatClientError):
    """The client stopped because of an unexpected exception, which is `__cause__`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the client stopped: {type(cause).__name__}: {cause}")
        self.__cause__ = cause


class Problem(ChatClientError):
    """An error answer of the server, as RFC 9457 problem+json.

    Attributes:
        status: HTTP status; 0 for an error frame of the WebSocket.
        code: Stable code of the server's catalogue, such as `user_not_found`.
        retry_after_seconds: The wait that the server named; None if it named none.
    """

    def __init__(self, status: int, code: str, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later."""
        return self.status in {429, 502, 503, 504} or self.code in RETRYABLE_CODES


# Codes of error frames, which have no status, after which the sender should retry.
RETRYABLE_CODES = frozenset({"unavailable", "overloaded", "rate_limited"})


class Ack(msgspec.Struct, frozen=True):
    """The server's confirmation that a message is committed."""

    id: str
    message_id: int
    chat_id: int
    seq: int
    created_at: str
    duplicate: bool = False


class Item(msgspec.Struct, frozen=True):
    """One row of a chat: a message, or an event such as a joined member.

    Attributes:
        seq: Place in the chat; gapless and the same for everybody.
        kind: `message`, or the event's kind.
        own: Whether this user sent it.
        row: The row as the server gave it.
    """

    chat_id: int
    seq: int
    kind: str
    own: bool
    row: dict[str, Any]

    @property
    def text(self) -> str | None:
        """The message's text; None for an event."""
        return self.row.get("text")


class ReceiptUpdate(msgspec.Struct, frozen=True):
    """How far a member of a chat has received and read it."""

    chat_id: int
    user_id: int
    delivered_seq: int
    read_seq: int


def named_seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a Retry-After header, within bounds; None where it names none."""
    if retry_after is None or not retry_after.isdecimal():
        return None
    return min(float(retry_after), RETRY_MAX_SECONDS)


def wait_seconds(failure: Exception) -> float:
    """Return the seconds until a call is retried: those that the server named, within bounds."""
    named = failure.retry_after_seconds if isinstance(failure, Problem) else None
    return min(max(named or RETRY_SECONDS, RETRY_MIN_SECONDS), RETRY_MAX_SECONDS)


def unreachable(error: Exception) -> Problem:
    """Return the problem of a call without an answer, by the error of the connection."""
    # Its text has the cause, such as a certificate that is not trusted; that of a timeout is empty.
    return Problem(503, "unreachable", f"{type(error).__name__}: {error}".removesuffix(": "))


class _ProblemBody(msgspec.Struct, frozen=True):
    code: str = "unknown"
    detail: str = ""


def problem_of(status: int, content: bytes, reason: str, retry_after: str | None) -> Problem:
    """Return the problem of an answer, by its body, or by its status and reason where that is none."""
    try:
        problem = msgspec.json.decode(content, type=_ProblemBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Most likely from a proxy in between.
        problem = _ProblemBody()
    return Problem(status, problem.code, problem.detail or reason, named_seconds(retry_after))
