"""The certificate of an admin's own Secret: HAProxy gets a copy of the last good pair, never a worse one."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from chatoperator.kube.objects import mounted_secrets, secret_text
from chatoperator.metadata import part_name, tls_secret_name
from chatoperator.parts.credentials import Certificate, Issued
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.ingress.tls.faults import CERTIFICATE_BYTES_MAX, Fault, Grade, certificate_faults, grade
from chatoperator.parts.ingress.tls.issuance import CertificateTrouble

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

KEYS = ("tls.crt", "tls.key")


def supplied(
    cluster: ChatCluster, name: str, secret: Manifest | None, observed: Observed, now: dt.datetime
) -> tuple[Issued | None, CertificateTrouble | None]:
    """What to serve, and what is wrong with the Secret; None for the latter where nothing is.

    A pair replaces the one that is served where clients take it at least as well. Without one that HAProxy can start
    with, there is nothing to serve and HAProxy stays as it is.

    Args:
        cluster: The ChatCluster, in mode Secret.
        name: Of the Secret.
        secret: The Secret; None where it does not exist.
        observed: The children.
        now: The time with its zone.
    """
    # Behind something in front, which has a certificate of its own, the host name is not what clients check.
    hostnames = cluster.ingress.hostnames if cluster.ingress.front is None else ()
    held = _held(cluster, observed)
    before = grade(certificate_faults(held.server, hostnames, now)) if held is not None else Grade.UNUSABLE
    absent = _absent(name, secret)
    if absent is not None:
        kept = held if before < Grade.UNUSABLE else None
        message = f"{absent}{_meanwhile(cluster, kept, observed)}"
        return kept, CertificateTrouble("CertificateMissing", message, accepted=before != Grade.REJECTED)
    authority, excess = _authority(secret)
    new = Issued(Certificate(*(_text(secret, key) for key in KEYS)), authority)
    faults = (*certificate_faults(new.server, hostnames, now), *excess)
    after = grade(faults)
    adopted = after < Grade.UNUSABLE and after <= before
    served = new if adopted else held if before < Grade.UNUSABLE else None
    if not faults or (adopted and _only_expired(new, faults, now)):
        return served, None
    words = f"Secret {name} of ingress.tls.secretName: {'; '.join(fault.message for fault in faults)}"
    meanwhile = "" if adopted else _meanwhile(cluster, served, observed)
    # Where there is nothing to serve HAProxy has what it had, if it runs: then its answers decide.
    accepted = served is None or min(before, after) < Grade.REJECTED
    return served, CertificateTrouble("CertificateInvalid", f"{words}{meanwhile}", accepted=accepted)


def _authority(secret: Manifest | None) -> tuple[str | None, tuple[Fault, ...]]:
    """The issuer's certificate that is passed on with the pair, and what is wrong with it."""
    text = secret_text(secret, "ca.crt")
    if text is None or len(text) <= CERTIFICATE_BYTES_MAX:
        return text, ()
    message = (
        f"ca.crt exceeds {CERTIFICATE_BYTES_MAX // 1024} KiB and is ignored; store only the certificate of the issuer"
    )
    return None, (Fault(Grade.PARTLY, message),)


def _held(cluster: ChatCluster, observed: Observed) -> Issued | None:
    """The pair that HAProxy has of the operator; None where it mounts another Secret, or does not exist."""
    proxies = observed.workload(cluster.name, "ingress")
    own = observed.child("Secret", tls_secret_name(cluster.name))
    if own is None or (proxies is not None and tls_secret_name(cluster.name) not in mounted_secrets(proxies)):
        return None
    return Issued(Certificate(*(_text(own, key) for key in KEYS)), secret_text(own, "ca.crt"))


def _only_expired(new: Issued, faults: Sequence[Fault], now: dt.datetime) -> bool:
    """Whether time alone is what is wrong, which has a reason of its own: CertificateExpired."""
    expires = self_signed.expires_at(new.server.certificate)
    return len(faults) == 1 and expires is not None and expires <= now


def _absent(name: str, secret: Manifest | None) -> str | None:
    what = f"Secret {name} of ingress.tls.secretName"
    if secret is None:
        return f"{what} does not exist; create it with tls.crt and tls.key"
    missing = [key for key in KEYS if not (secret.get("data") or {}).get(key)]
    return f"{what} has no {' and no '.join(missing)}; add what is missing" if missing else None


def _meanwhile(cluster: ChatCluster, served: Issued | None, observed: Observed) -> str:
    if served is not None:
        return ". Meanwhile HAProxy serves the previous pair"
    if observed.workload(cluster.name, "ingress") is not None:
        return f". {part_name(cluster.name, 'ingress')} stays unchanged until you correct it"
    return f". {part_name(cluster.name, 'ingress')} starts when you have corrected it"


def _text(secret: Manifest | None, key: str) -> str:
    """A value as text; what is no text is no PEM either, and is found out as such."""
    encoded = ((secret or {}).get("data") or {}).get(key) or ""
    try:
        return base64.b64decode(encoded, validate=True).decode(errors="replace")
    except binascii.Error:
        return ""
