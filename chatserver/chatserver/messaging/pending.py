"""One message that waits for the writer, and the result that its sender gets."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - mypyc evaluates the annotations of a dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatserver import checks
from chatserver.errors import (
    Blocked,
    ChatError,
    ChatNotFound,
    IdempotencyConflict,
    InternalError,
    NotAMember,
    NotAnAdmin,
    ServiceUnavailable,
    ValidationFailed,
)
from chatserver.model import SentMessage
from chatserver.storage.messages import NewMessage  # noqa: TC001 - mypyc evaluates the annotations of a dataclass
from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.storage.messages import AppendResult


@dataclass(eq=False, slots=True)
class Pending:
    """A message that waits or is being stored; answered once.

    Attributes:
        queued_at: of ``time.monotonic``.
        size_bytes: memory of its text and link; 0 for a short text, since the queue holds a bounded number of rows.
    """

    message: NewMessage
    on_result: Callable[[SentMessage | ChatError], None]
    queued_at: float
    answered: bool = False
    size_bytes: int = 0


def answer(pending: Pending, result: SentMessage | ChatError) -> None:
    """Give the sender the result, unless they already have one."""
    if pending.answered:
        return
    pending.answered = True
    try:
        pending.on_result(result)
    except Exception as error:  # noqa: BLE001 - a defect in one answer must not keep the others from theirs
        caught("answer_failed", error)


def answer_late(queues: Iterable[Iterable[Pending]], queued_before: float) -> list[Pending]:
    """Answer those that have waited too long, and return them.

    Args:
        queues: each in the order of arrival.
        queued_before: of ``time.monotonic``.
    """
    late = []
    for rows in queues:
        for pending in rows:
            if pending.queued_at > queued_before:
                break
            if not pending.answered:
                late.append(pending)
                answer(pending, ServiceUnavailable("The message could not be stored in time."))
    return late


_REFUSALS: dict[str, type[ChatError]] = {
    "chat_not_found": ChatNotFound,
    "not_a_member": NotAMember,
    "not_an_admin": NotAnAdmin,
    "blocked": Blocked,
    "conflict": IdempotencyConflict,
}


def outcome_of(message: NewMessage, result: AppendResult) -> SentMessage | ChatError:
    """Return the result that the sender of a message gets."""
    if result.outcome == "reply_not_found":
        return ValidationFailed.of("reply_to", checks.NO_MESSAGE)
    if result.message_id is None or result.seq is None or result.created_at_us is None or result.outcome == "conflict":
        return _REFUSALS.get(result.outcome, InternalError)()
    return SentMessage(
        result.message_id,
        message.chat_id,
        result.seq,
        message.client_id,
        result.created_at_us,
        duplicate=result.outcome == "duplicate",
    )
