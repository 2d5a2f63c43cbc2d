"""What is wrong with the certificate, above all with one that cert-manager is to issue, for IngressReady. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chatoperator.metadata import issued_secret_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

Reason = Literal[
    "CertManagerMissing", "CertificateFailed", "CertificateNotIssued", "CertificateMissing", "CertificateInvalid"
]

Served = Literal["issued", "self-signed", "other"]
"""What HAProxy has meanwhile: one that cert-manager issued before, the operator's own, or that of the mode before."""

MEANWHILE: dict[Served, str] = {
    "issued": "HAProxy serves the previously issued certificate meanwhile",
    "self-signed": "Until a certificate is issued, HAProxy serves a self-signed certificate, which clients reject",
    "other": "Until a certificate is issued, HAProxy serves the certificate of the previous mode",
}


@dataclass(frozen=True)
class CertificateTrouble:
    """What keeps a certificate from being issued, or from being used.

    Attributes:
        reason: One word for programs.
        message: What is wrong and what to do.
        accepted: Whether one that clients accept is served, so that they notice nothing.
    """

    reason: Reason
    message: str
    accepted: bool


def issuance(
    cluster: ChatCluster, certificate: Manifest | None, *, known: bool, filled: bool, serves: Served
) -> CertificateTrouble | None:
    """What is wrong with the certificate; None where it is issued and well.

    Args:
        cluster: The ChatCluster, in mode CertManager.
        certificate: The live Certificate; None where there is none.
        known: Whether the cluster has cert-manager's kind Certificate.
        filled: Whether the Secret that it fills holds a pair that clients could accept.
        serves: What HAProxy has.
    """
    reason, words = _trouble(cluster, certificate, known=known, filled=filled)
    if reason is None:
        return None
    return CertificateTrouble(reason, f"{words}. {MEANWHILE[serves]}", accepted=serves == "issued")


def _trouble(
    cluster: ChatCluster, certificate: Manifest | None, *, known: bool, filled: bool
) -> tuple[Reason | None, str]:
    name = issued_secret_name(cluster.name)
    if not known:
        return "CertManagerMissing", (
            "ingress.tls.mode is CertManager, but cert-manager is not installed: this cluster has no kind "
            "Certificate of cert-manager.io/v1. Install cert-manager, or choose another mode"
        )
    if certificate is None:
        return "CertificateNotIssued", f"Certificate {name} does not exist yet"
    issuing, ready = _condition(certificate, "Issuing"), _condition(certificate, "Ready")
    if issuing.get("status") == "False" and issuing.get("reason") != "Issued":
        return "CertificateFailed", (
            f"Certificate {name}: {_words(issuing)}. Check kubectl describe certificate {name} -n {cluster.namespace}"
        )
    if ready.get("status") == "True" and filled:
        return None, ""
    state = _words(issuing) or _words(ready) or "cert-manager has not processed it yet; check that cert-manager runs"
    return "CertificateNotIssued", f"Certificate {name}: {state}"


def _condition(certificate: Manifest, kind: str) -> Mapping[str, Any]:
    """A condition that speaks of the present spec; an empty one otherwise."""
    generation = certificate["metadata"].get("generation", 0)
    found = (certificate.get("status") or {}).get("conditions") or []
    current = (one for one in found if one["type"] == kind and one.get("observedGeneration", generation) == generation)
    return next(current, {})


def _words(condition: Mapping[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason") or "").rstrip(".")
