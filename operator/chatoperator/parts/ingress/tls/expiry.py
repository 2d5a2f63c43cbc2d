"""When the certificate that HAProxy serves expires, and whether somebody has to act."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatoperator.parts.ingress.tls.serving import Serving

CERTIFICATE_SOON_DAYS = 14
"""An admin who renews by hand needs a fortnight; issuers that renew automatically do it earlier."""


@dataclass(frozen=True)
class Expiry:
    """When a certificate expires.

    Attributes:
        at: RFC 3339.
        expired: It has expired.
        soon: It expires before an admin has had time to act, or its renewal is late.
    """

    at: str
    expired: bool
    soon: bool


def expiry(serving: Serving, *, by_cert_manager: bool, now: dt.datetime) -> Expiry | None:
    """When the served certificate expires; None where the operator renews it, or it is not known.

    Args:
        serving: The certificate.
        by_cert_manager: Whether cert-manager renews it: then it may be valid for hours only.
        now: The time with its zone.
    """
    at = serving.expires
    if at is None:
        return None
    soon = serving.overdue if by_cert_manager else at <= now + dt.timedelta(days=CERTIFICATE_SOON_DAYS)
    return Expiry(rfc3339(at), expired=at <= now, soon=soon)


def rfc3339(at: dt.datetime) -> str:
    """As Kubernetes writes times: `2026-11-22T12:00:00Z`."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
