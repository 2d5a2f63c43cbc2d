"""spec.auth: how users sign in, and limits against abuse."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from chatoperator.api.fields import CallingCode, Count, Fields, ObjectName, RuleBroken


class Webhook(Fields, frozen=True):
    """The service that sends sign-in codes, and the Secret whose key `secret` signs what is posted to it."""

    url: Annotated[str, Meta(min_length=9, max_length=2048, description="an https URL without credentials")]
    secret_name: ObjectName

    def __post_init__(self) -> None:
        """Check the URL.

        Raises:
            RuleBroken: Codes cannot be posted there, or not without being read on the way.
        """
        if not _can_be_posted_to(self.url):
            remedy = "it must be an https URL of ASCII characters, with a host and without credentials or a fragment"
            raise RuleBroken("url", remedy)


def _can_be_posted_to(url: str) -> bool:
    """Whether chatservers start with this URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set(" @#")
    return plain and url.startswith("https://") and bool(host) and port != 0


class Otp(Fields, frozen=True):
    """One-time codes. `sender` is None where it is missing, which Spec refuses."""

    sender: Literal["Webhook", "Log"] | None = None
    allow_development_codes: bool = False
    webhook: Webhook | None = None

    def __post_init__(self) -> None:
        """Check the sender's own fields.

        Raises:
            RuleBroken: They contradict it.
        """
        if self.sender is None:
            return
        if (self.sender == "Webhook") != (self.webhook is not None):
            raise RuleBroken("webhook", "it belongs to sender Webhook: set both, or neither")
        if self.sender == "Log" and not self.allow_development_codes:
            remedy = "sender Log returns codes to every client: set it to true to accept that, never for real users"
            raise RuleBroken("allowDevelopmentCodes", remedy)


class Limits(Fields, frozen=True):
    """Limits against abuse. 0 is no limit, where a limit per address allows it."""

    codes_per_address_per_hour: Count = 100
    codes_per_number_per_hour: Count = 5
    codes_per_hour: Annotated[int, Meta(ge=1, le=100_000_000)] = 10_000
    messages_per_user_per_minute: Count = 600
    stored_bytes_per_user_per_hour: Annotated[int, Meta(ge=2**20, le=2**40)] = 20 * 2**20
    requests_per_device_per_minute: Count = 1200
    requests_per_address_per_minute: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    # At least the members of a group, who may all be named by their numbers.
    numbers_per_user_per_day: Annotated[int, Meta(ge=1024, le=1_000_000)] = 5000
    numbers_per_address_per_day: Annotated[int, Meta(ge=0, le=100_000_000)] = 100_000


class Auth(Fields, frozen=True):
    """How users sign in.

    Attributes:
        calling_codes: What phone numbers may begin with, after the +; empty: anything.
    """

    otp: Otp = Otp()
    limits: Limits = Limits()
    calling_codes: Annotated[tuple[CallingCode, ...], Meta(max_length=300)] = ()
    session_days: Annotated[int, Meta(ge=1, le=3650)] = 90

    @property
    def webhook(self) -> Webhook | None:
        """Where codes are posted; None with sender Log, which is for development."""
        return self.otp.webhook
