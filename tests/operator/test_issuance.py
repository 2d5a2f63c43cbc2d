"""What is said of a certificate that cert-manager is to issue."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.parts.ingress.tls.issuance import issuance
from tests.support.chatclusters import cluster

ASKING = cluster(
    ingress={"hostnames": ["chat.example.com"], "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}
)


def certificate(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "demo-ingress-issued", "generation": 2}, "status": {"conditions": list(conditions)}}


def condition(kind: str, status: str, reason: str, message: str, generation: int = 2) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


READY = condition("Ready", "True", "Ready", "Certificate is up to date and has not expired")
ABSENT = condition("Ready", "False", "DoesNotExist", "Issuing certificate as Secret does not exist.")
ISSUING = condition("Issuing", "True", "Renewing", "Renewing certificate as renewal was scheduled")
FAILED = condition("Issuing", "False", "Failed", "The certificate request has failed: no quota.")
ISSUED = condition("Issuing", "False", "Issued", "The certificate has been successfully issued")


@pytest.mark.parametrize(
    ("live", "reason", "words"),
    [
        (None, "CertificateNotIssued", "does not exist yet"),
        (certificate(), "CertificateNotIssued", "cert-manager has not processed it yet"),
        (certificate(ABSENT), "CertificateNotIssued", "Secret does not exist"),
        (certificate(ABSENT, FAILED), "CertificateFailed", "no quota. Check kubectl describe certificate"),
        (certificate(READY, FAILED), "CertificateFailed", "no quota"),
        # What was said of another spec says nothing of this one.
        (certificate({**FAILED, "observedGeneration": 1}, {**READY, "observedGeneration": 1}),
         "CertificateNotIssued", "has not processed it yet"),
    ],
)  # fmt: skip
def test_the_certificates_own_words_are_shown(live: dict[str, Any] | None, reason: str, words: str) -> None:
    made = issuance(ASKING, live, known=True, filled=True, serves="self-signed")
    assert made is not None
    assert (made.reason, made.accepted) == (reason, False)
    assert words in made.message
    assert made.message.endswith(
        ". Until a certificate is issued, HAProxy serves a self-signed certificate, which clients reject"
    )


@pytest.mark.parametrize("live", [certificate(READY), certificate(READY, ISSUED), certificate(READY, ISSUING)])
def test_a_good_certificate_is_no_news_nor_is_its_renewal(live: dict[str, Any]) -> None:
    assert issuance(ASKING, live, known=True, filled=True, serves="issued") is None


def test_a_certificate_without_its_secret_is_not_issued() -> None:
    made = issuance(ASKING, certificate(READY), known=True, filled=False, serves="issued")
    assert made is not None
    assert (made.reason, made.accepted) == ("CertificateNotIssued", True)


def test_a_cluster_without_cert_manager_is_told_what_to_do() -> None:
    made = issuance(ASKING, None, known=False, filled=False, serves="other")
    assert made is not None
    assert made.reason == "CertManagerMissing"
    assert "Install cert-manager, or choose another mode" in made.message
    assert made.message.endswith("HAProxy serves the certificate of the previous mode")
