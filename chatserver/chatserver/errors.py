"""Every error that a caller can get: one class per code, each with whether a retry can help."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request.

    Attributes:
        path: where the field is, members joined by dots and indexes in brackets: ``text``, ``members[3]``.
        message: what is wrong and what to send instead, for developers.
    """

    path: str
    message: str


class ChatError(Exception):
    """Base of all errors with a meaning for the caller; the edges render it as problem+json or an `error` frame.

    Attributes:
        code: stable name in the error catalogue.
        status: HTTP status.
        retryable: whether the same request can succeed later without a change.
        detail: what happened and what to do, for a person; never holds secrets or message text.
        errors: the fields at fault, for 422.
        retry_after_seconds: when to try again, for 429 and 503.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_detail: ClassVar[str] = (
        "The server failed because of a defect; its log has the details. Report this request's X-Request-Id."
    )

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
    default_detail = "The request is malformed: its body or its query cannot be parsed."


class Unauthenticated(ChatError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    default_detail = (
        "The token is missing, unknown, expired or revoked. Sign in, and send 'Authorization: Bearer <token>'."
    )


class InvalidCode(ChatError):
    """The sign-in code is wrong, expired, already used, or had too many wrong tries."""

    code = "invalid_code"
    status = 401
    default_detail = "The code is wrong, expired or already used. Request a new one with POST /api/auth/code."


class PinRequired(ChatError):
    """The account has a PIN, and none was sent."""

    code = "pin_required"
    status = 401
    default_detail = "This account has a PIN. Send it too, as 'pin', or as 'current_pin' to change or remove it."


class InvalidPin(ChatError):
    """The PIN is wrong."""

    code = "invalid_pin"
    status = 401
    default_detail = "The PIN is wrong. After several wrong ones, wait before the next try."


class Blocked(ChatError):
    """One of the two members of a direct chat has blocked the other, or deleted their account."""

    code = "blocked"
    status = 403
    default_detail = "This chat accepts no messages: one of its two members blocked the other or deleted their account."


class CannotBeAdded(ChatError):
    """A user's settings do not let the caller add them to groups."""

    code = "cannot_be_added"
    status = 403
    default_detail = "This user does not let you add them to groups. Send them a message first."


class NotAMember(ChatError):
    """The caller has left this chat or was removed from it."""

    code = "not_a_member"
    status = 403
    default_detail = "You are no longer a member of this chat."


class NotAnAdmin(ChatError):
    """Only admins of the group may do this, and the caller is not one."""

    code = "not_an_admin"
    status = 403
    default_detail = "Only an admin of this group may do this."


class Forbidden(ChatError):
    """The caller may not do this: it is another user's message, or a page of a foreign origin sent it."""

    code = "forbidden"
    status = 403
    default_detail = "You are not allowed to do this."


class EditTooLate(ChatError):
    """The message is too old to be edited."""

    code = "edit_too_late"
    status = 403
    default_detail = "This message is older than 15 minutes and can no longer be edited. Send a new message."


class NotFound(ChatError):
    """This path does not exist."""

    code = "not_found"
    status = 404
    default_detail = "This path does not exist. GET /openapi.json lists the paths."


class UserNotFound(ChatError):
    """No account has this id, phone number or username."""

    code = "user_not_found"
    status = 404
    default_detail = "No account has this id, phone number or username."


class ChatNotFound(ChatError):
    """The chat does not exist, or the caller was never a member: both get the same answer."""

    code = "chat_not_found"
    status = 404
    default_detail = "This chat does not exist, or you were never a member of it."


class MessageNotFound(ChatError):
    """The chat has no message with this seq that the caller may see."""

    code = "message_not_found"
    status = 404
    default_detail = "This chat has no message with this seq that you may see, or it was deleted."


class InviteNotFound(ChatError):
    """No invite has this code: it never existed, has expired, was revoked or is used up, all with the same answer."""

    code = "invite_not_found"
    status = 404
    default_detail = "This invite does not exist, or it has expired, was revoked or is used up. Request a new one."


class DeviceNotFound(ChatError):
    """The caller has no device with this id."""

    code = "device_not_found"
    status = 404
    default_detail = "You have no device with this id."


class MethodNotAllowed(ChatError):
    """The path exists, with other methods."""

    code = "method_not_allowed"
    status = 405
    default_detail = "This path does not support this method. The Allow header lists those it supports."


class RequestTimedOut(ChatError):
    """The rest of the request did not arrive in time."""

    code = "request_timeout"
    status = 408
    retryable = True
    default_detail = "The request was not received completely in time. Send it again."


class IdempotencyConflict(ChatError):
    """The client_id already belongs to a message with different content."""

    code = "idempotency_conflict"
    status = 409
    default_detail = "This client_id already belongs to a different message in this chat. Use a new UUID per message."


class NumberTaken(ChatError):
    """Another account has this phone number."""

    code = "number_taken"
    status = 409
    default_detail = "Another account has this phone number. Sign in with the number, and delete that account first."


class CursorExpired(ChatError):
    """The cursor was issued before the database was restored or failed over, for a history that is gone."""

    code = "cursor_expired"
    status = 410
    default_detail = (
        "The database was restored since this cursor was issued. Fetch again from the beginning, without 'since'."
    )


class TooLarge(ChatError):
    """The body or the frame is larger than the server accepts."""

    code = "too_large"
    status = 413
    default_detail = "The request is larger than the server accepts."


class ValidationFailed(ChatError):
    """Some fields of the request have invalid values: `errors` names them."""

    code = "validation_failed"
    status = 422
    default_detail = "Some fields of the request are invalid; 'errors' names them."

    @classmethod
    def of(cls, path: str, message: str) -> ValidationFailed:
        """Make the error for one field."""
        return cls(f"{path}: {message}", errors=(FieldError(path, message),))


class UsernameTaken(ValidationFailed):
    """Another account has this username, or one that looks the same (case is ignored)."""

    code = "username_taken"
    default_detail = "Another account has this username, or one that looks the same. Choose another."


class UpgradeRequired(ChatError):
    """The path accepts only WebSocket handshakes."""

    code = "upgrade_required"
    status = 426
    default_detail = "This path accepts only WebSocket connections: version 13, subprotocol chat.v1."


class RateLimited(ChatError):
    """The user, device, phone number or address exceeded a rate limit."""

    code = "rate_limited"
    status = 429
    retryable = True
    default_detail = "Too many requests; retry later."


class InternalError(ChatError):
    """A defect of the server."""


class ServiceUnavailable(ChatError):
    """The database is unavailable or too slow, a queue is full, or the server is draining."""

    code = "unavailable"
    status = 503
    retryable = True
    default_detail = (
        "The service is busy or its database is unavailable. "
        "A message may or may not have been stored; retry it with the same client_id."
    )

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        # Long enough that a reconnect storm does not overload a starting database, short enough for a user who waits.
        retry_after_seconds: int | None = 2,
    ) -> None:
        super().__init__(detail, errors=errors, retry_after_seconds=retry_after_seconds)
