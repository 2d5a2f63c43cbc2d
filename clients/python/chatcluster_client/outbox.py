"""Sends that wait for their acknowledgement: what may be queued, what is repeated, and who hears the result; no I/O."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from chatcluster_client.model import Ack, ChatClientError, Problem

MAX_NUMBER = 2**63 - 1
"""The largest chat id or seq that the server takes: PostgreSQL's bigint."""


@dataclass(slots=True)
class PendingSend:
    """One message on its way.

    Attributes:
        frame: As it is transmitted; `to` becomes `chat_id` once the chat is known.
        content: As the application gave it: what a second send under the same id must equal.
        result: Resolved by the acknowledgement or a final refusal; shared by all who wait for this id.
        size_bytes: Of the encoded frame.
        waiters: Calls of `send()` that wait for it.
    """

    frame: dict[str, Any]
    content: tuple[str | None, int | None, str]
    result: asyncio.Future[Ack]
    size_bytes: int
    waiters: int = 0

    @property
    def message_id(self) -> str:
        """The message's client_id."""
        return str(self.frame["id"])


class Outbox:
    """The sends of one client that are not acknowledged, over as many connections as it takes."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingSend] = {}
        self._max_frame_bytes: int | None = None

    def add(self, message_id: str, text: str, *, to: str | None, chat_id: int | None) -> tuple[PendingSend, bool]:
        """Queue a send, or join one of the same id and content that waits already.

        Args:
            message_id: The client_id, as `checked_id` returned it.
            text: Of the message.
            to: Username or phone number.
            chat_id: The chat; wins over `to`.

        Returns:
            The send, and whether it is new and is to be transmitted.

        Raises:
            Problem: It can never be sent (413 `too_large`, 422 `validation_failed`), or this id waits with another
                content (409 `idempotency_conflict`).
        """
        content = (to if chat_id is None else None, chat_id, text)
        waiting = self._pending.get(message_id)
        if waiting is not None:
            if waiting.content != content:
                raise Problem(409, "idempotency_conflict", "another message with this client_id is being sent")
            return waiting, False
        for name, value in (("text", text), ("to", to or "")):
            # JSON would make text of bytes: another one than was meant.
            if not isinstance(value, str):
                raise Problem(422, "validation_failed", f"{name}: must be a string, not {type(value).__name__}")
        if to is None and chat_id is None:
            raise Problem(422, "validation_failed", "to: name a recipient, or a chat with chat_id")
        if chat_id is not None:
            check_number("chat_id", chat_id, 1)
        target = {"to": to} if chat_id is None else {"chat_id": chat_id}
        frame = {"type": "send", "id": message_id, **target, "text": text}
        size_bytes = len(encoded(frame))
        if self._max_frame_bytes is not None and size_bytes > self._max_frame_bytes:
            raise too_large(size_bytes, self._max_frame_bytes)
        pending = PendingSend(frame, content, asyncio.get_running_loop().create_future(), size_bytes)
        self._pending[message_id] = pending
        return pending, True

    async def wait(self, pending: PendingSend) -> Ack:
        """Wait for a send's result; the send is given up when nobody waits for it any more.

        Raises:
            Problem: The server refused it for good.
            ChatClientError: The client ended first.
        """
        pending.waiters += 1
        try:
            # Shielded: a caller that gives up must not cancel the others of the same id.
            return await asyncio.shield(pending.result)
        finally:
            pending.waiters -= 1
            if pending.waiters == 0:
                self._pending.pop(pending.message_id, None)
                pending.result.cancel()

    def get(self, message_id: str) -> PendingSend | None:
        """Return the send of an id that still waits for its result; None where there is none."""
        pending = self._pending.get(message_id)
        return None if pending is None or pending.result.done() else pending

    def waiting(self) -> list[PendingSend]:
        """Return all sends without a result, oldest first."""
        return [pending for pending in self._pending.values() if not pending.result.done()]

    def set_limit(self, max_frame_bytes: int | None) -> None:
        """Take the server's limit of a frame in bytes, and fail what waits and is larger."""
        self._max_frame_bytes = max_frame_bytes
        if max_frame_bytes is not None:
            for pending in self.waiting():
                if pending.size_bytes > max_frame_bytes:
                    pending.result.set_exception(too_large(pending.size_bytes, max_frame_bytes))

    def fail_largest(self) -> None:
        """Fail the largest send: the server closed the connection because of a frame that was too large."""
        largest = max(self.waiting(), key=lambda pending: pending.size_bytes, default=None)
        if largest is not None:
            largest.result.set_exception(too_large(largest.size_bytes, self._max_frame_bytes))

    def fail_all(self, failure: ChatClientError) -> None:
        """Fail all that waits: the client has ended."""
        for pending in self.waiting():
            pending.result.set_exception(failure)

    def learn_chat(self, to: str | None, chat_id: int) -> None:
        """Address what waits for the same recipient by the chat: a name can pass to somebody else meanwhile."""
        if to is None:
            return
        for pending in self._pending.values():
            if pending.frame.get("to") == to:
                pending.frame = {
                    **{key: value for key, value in pending.frame.items() if key != "to"},
                    "chat_id": chat_id,
                }


def checked_id(client_id: str | None) -> str:
    """Return a client_id as the server spells it, or a new one for None.

    Raises:
        Problem: It is no UUID; the server's answer could not be matched to it.
    """
    if client_id is None:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(client_id))
    except (ValueError, AttributeError, TypeError):
        raise Problem(422, "validation_failed", "client_id: must be a UUID") from None


def check_number(name: str, value: int, least: int) -> None:
    """Refuse a number that no server takes: it would be sent again for ever.

    Raises:
        Problem: It is out of range, or no whole number.
    """
    if type(value) is not int:
        raise Problem(422, "validation_failed", f"{name}: must be an int, not {type(value).__name__}")
    if not least <= value <= MAX_NUMBER:
        raise Problem(422, "validation_failed", f"{name}: must be between {least} and {MAX_NUMBER}")


def encoded(frame: dict[str, Any]) -> bytes:
    """Encode a frame as UTF-8 JSON.

    Raises:
        Problem: It holds what JSON in UTF-8 cannot: an unpaired surrogate, or another type.
    """
    try:
        return msgspec.json.encode(frame)
    except UnicodeEncodeError as error:
        bad = [name for name, value in frame.items() if isinstance(value, str) and not _is_utf8(value)]
        detail = f"{', '.join(bad)}: has an unpaired surrogate at character {error.start}; remove it"
        raise Problem(422, "validation_failed", detail) from None
    except (TypeError, RecursionError) as error:
        raise Problem(422, "validation_failed", f"{type(error).__name__}: {error}") from None


def too_large(size_bytes: int, max_frame_bytes: int | None) -> Problem:
    """Return the failure of a frame above the server's limit."""
    limit = "more than the server takes" if max_frame_bytes is None else f"above the limit of {max_frame_bytes:,}"
    return Problem(413, "too_large", f"the message has {size_bytes:,} bytes, {limit}; shorten it")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
