"""spec.auth: how people sign in, and limits against abuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chatoperator.api.fields import integer, mapping
from chatoperator.api.spec import Auth, Limits, Webhook
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse_auth(raw: Mapping[str, Any]) -> Auth:
    """The fields of spec.auth.

    Raises:
        SpecError: A value cannot work.
    """
    return Auth(
        webhook=_webhook(mapping(raw, "otp")),
        limits=_limits(mapping(raw, "limits")),
        calling_codes=tuple(str(code) for code in raw.get("callingCodes") or ()),
        session_days=integer(raw, "sessionDays", 90, "auth.sessionDays", 1),
    )


def _webhook(otp: Mapping[str, Any]) -> Webhook | None:
    """None for sender Log."""
    sender, webhook = otp.get("sender"), otp.get("webhook")
    if sender not in {"Webhook", "Log"}:
        raise SpecError("auth.otp.sender", "set it to Webhook, or to Log for development")
    if (sender == "Webhook") != bool(webhook):
        raise SpecError("auth.otp.webhook", "it belongs to sender Webhook: set both, or neither")
    if sender == "Log" and otp.get("allowDevelopmentCodes") is not True:
        raise SpecError(
            "auth.otp.allowDevelopmentCodes", "sender Log hands codes to anybody: set it to true to accept that"
        )
    if not webhook:
        return None
    url = str(webhook.get("url", ""))
    if not url.startswith("https://") or "@" in url or not _has_usable_port(url):
        raise SpecError("auth.otp.webhook.url", "it must be an https URL without credentials")
    if not webhook.get("secretName"):
        raise SpecError("auth.otp.webhook.secretName", "name the Secret whose key secret signs the requests")
    return Webhook(url=url, secret_name=str(webhook["secretName"]))


def _has_usable_port(url: str) -> bool:
    """Whether a URL names no port, or one up to 65535."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _limits(raw: Mapping[str, Any]) -> Limits:
    def limit(key: str, default: int, minimum: int = 1) -> int:
        return integer(raw, key, default, f"auth.limits.{key}", minimum)

    return Limits(
        codes_per_address_per_hour=limit("codesPerAddressPerHour", 100),
        codes_per_number_per_hour=limit("codesPerNumberPerHour", 5),
        codes_per_hour=limit("codesPerHour", 10_000),
        messages_per_user_per_minute=limit("messagesPerUserPerMinute", 600),
        stored_bytes_per_user_per_hour=limit("storedBytesPerUserPerHour", 20_971_520, minimum=1_048_576),
        requests_per_device_per_minute=limit("requestsPerDevicePerMinute", 1200),
        requests_per_address_per_minute=limit("requestsPerAddressPerMinute", 0, minimum=0),
    )
