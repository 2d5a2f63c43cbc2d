"""Every error a caller can be told about: one class a code, each saying whether trying again can help."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request.

    Attributes:
        path: where the field is, members joined by dots and indexes in brackets: ``text``, ``members[3]``.
        message: what is wrong and what to send instead, for a person.
    """

    path: str
    message: str


class ChatError(Exception):
    """Base of all errors with a meaning for the caller; the edges render it as problem+json or an `error` frame.

    Attributes:
        code: stable name in the error catalogue.
        status: HTTP status.
        retryable: whether the same request can succeed later without a change.
        detail: one sentence for a person; never holds secrets or message text.
        errors: the fields at fault, for 422.
        retry_after_seconds: when to try again, for 429 and 503.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_detail: ClassVar[str] = "The server failed to answer this request."

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class BadRequest(ChatError):
    """The body or the query cannot be parsed at all."""

    code = "bad_request"
    status = 400
    default_detail = "The request cannot be parsed."


class Unauthenticated(ChatError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    default_detail = "Send a valid token in the header 'Authorization: Bearer <token>'; sign in again to get one."


class InvalidCode(ChatError):
    """The sign-in code is wrong, expired, used, or was tried too often."""

    code = "invalid_code"
    status = 401
    default_detail = "The code is wrong or no longer valid; request a new one with POST /api/auth/code."


class Blocked(ChatError):
    """One of the two members of a direct chat has blocked the other, or deleted their account."""

    code = "blocked"
    status = 403
    default_detail = "One of you has blocked the other, or deleted their account; no messages can be sent in this chat."


class NotAMember(ChatError):
    """A former member acts on a chat."""

    code = "not_a_member"
    status = 403
    default_detail = "You are no longer a member of this chat."


class NotAnAdmin(ChatError):
    """A plain member does what only an admin of the group may."""

    code = "not_an_admin"
    status = 403
    default_detail = "Only an admin of the group may do this."


class Forbidden(ChatError):
    """Not the caller's to do: another one's message, or a browser's request from a foreign origin."""

    code = "forbidden"
    status = 403
    default_detail = "This is not allowed."


class EditTooLate(ChatError):
    """The message is too old to be edited."""

    code = "edit_too_late"
    status = 403
    default_detail = "A message can be edited for 15 minutes; send a new one."


class NotFound(ChatError):
    """There is no such address."""

    code = "not_found"
    status = 404
    default_detail = "There is nothing at this address."


class UserNotFound(ChatError):
    """No account has this id, phone number or username."""

    code = "user_not_found"
    status = 404
    default_detail = "There is no such user."


class ChatNotFound(ChatError):
    """No such chat, or the caller was never in it: both look the same from outside."""

    code = "chat_not_found"
    status = 404
    default_detail = "There is no such chat."


class MessageNotFound(ChatError):
    """No message the caller may see has this number."""

    code = "message_not_found"
    status = 404
    default_detail = "There is no such message in this chat."


class DeviceNotFound(ChatError):
    """The caller has no device with this id."""

    code = "device_not_found"
    status = 404
    default_detail = "You have no such device."


class MethodNotAllowed(ChatError):
    """The address exists and takes other methods."""

    code = "method_not_allowed"
    status = 405
    default_detail = "This address does not take this method."


class RequestTimedOut(ChatError):
    """The request's bytes stopped coming."""

    code = "request_timeout"
    status = 408
    retryable = True
    default_detail = "The request did not arrive in time."


class IdempotencyConflict(ChatError):
    """The same client_id came before with another content."""

    code = "idempotency_conflict"
    status = 409
    default_detail = "This client_id was used in this chat for another content; give each new message a new UUID."


class CursorExpired(ChatError):
    """The cursor belongs to another history of the database (a restore or a failover came between)."""

    code = "cursor_expired"
    status = 410
    default_detail = "This cursor is from before the database was restored; fetch afresh without 'since'."


class TooLarge(ChatError):
    """The body or the frame is larger than the server takes."""

    code = "too_large"
    status = 413
    default_detail = "The request is too large."


class ValidationFailed(ChatError):
    """The request was understood, and something in it is wrong: `errors` names the fields."""

    code = "validation_failed"
    status = 422
    default_detail = "Some fields of the request are wrong."

    @classmethod
    def of(cls, path: str, message: str) -> ValidationFailed:
        """Make the error for one field."""
        return cls(f"{path}: {message}", errors=(FieldError(path, message),))


class UsernameTaken(ValidationFailed):
    """Another account has this username (case does not count)."""

    code = "username_taken"
    default_detail = "This username is taken."


class UpgradeRequired(ChatError):
    """The address only speaks WebSocket."""

    code = "upgrade_required"
    status = 426
    default_detail = "Connect with a WebSocket, version 13, subprotocol chat.v1."


class RateLimited(ChatError):
    """Too many requests from this user, device, number or address."""

    code = "rate_limited"
    status = 429
    retryable = True
    default_detail = "Too many requests."


class InternalError(ChatError):
    """A defect of the server."""


class ServiceUnavailable(ChatError):
    """The database is away or too slow, a queue is full, or the server is draining."""

    code = "unavailable"
    status = 503
    retryable = True
    default_detail = "The service is busy or its database is away; nothing is known to be stored; try again."

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        # Long enough that a herd of clients does not hammer a starting database, short enough for a person.
        retry_after_seconds: int | None = 2,
    ) -> None:
        super().__init__(detail, errors=errors, retry_after_seconds=retry_after_seconds)
