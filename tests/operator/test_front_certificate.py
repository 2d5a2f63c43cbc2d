"""The Secret that the Ingress in front serves is judged, though only its controller uses it."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest

from chatoperator.parts.ingress.front_certificate import front_certificate_trouble
from tests.support.certificates import issued
from tests.support.chatclusters import cluster

NOW = dt.datetime.now(dt.UTC)
HOST = "chat.example.com"
GOOD = issued([HOST, "second.example.com"])
ENDED = issued([HOST], since=NOW - dt.timedelta(days=9), days=8)


def fronted(**front: Any) -> Any:
    named = {"kind": "Ingress", "tlsSecretName": "theirs", **front}
    return cluster(ingress={"hostnames": [HOST, "second.example.com"], "front": named})


def secret(**texts: str) -> dict[str, Any]:
    return {"data": {f"tls.{name}": base64.b64encode(text.encode()).decode() for name, text in texts.items()}}


@pytest.mark.parametrize(
    ("held", "reason", "told"),
    [
        (None, "FrontCertificateMissing", "does not exist; create it with tls.crt and tls.key"),
        ({}, "FrontCertificateMissing", "has no tls.crt and no tls.key; add what is missing"),
        (secret(crt=GOOD.certificate), "FrontCertificateMissing", "has no tls.key"),
        (secret(crt=ENDED.certificate, key=ENDED.key), "FrontCertificateInvalid", "expired at"),
        (secret(crt=GOOD.certificate, key=ENDED.key), "FrontCertificateInvalid", "does not belong"),
    ],
)
def test_what_clients_reject_is_told_with_the_secret_and_the_field(held: Any, reason: str, told: str) -> None:
    trouble = front_certificate_trouble(fronted(), {"theirs": held}, NOW)
    assert trouble is not None
    assert trouble.reason == reason
    assert trouble.message.startswith("Secret theirs of ingress.front.tlsSecretName")
    assert told in trouble.message
    assert "PRIVATE" not in trouble.message


def test_nothing_is_told_of_a_good_pair_or_where_the_spec_names_none() -> None:
    partly = issued([HOST])
    for pair in (GOOD, partly):
        held = {"theirs": secret(crt=pair.certificate, key=pair.key)}
        assert front_certificate_trouble(fronted(), held, NOW) is None
    assert front_certificate_trouble(fronted(tlsSecretName=None), {}, NOW) is None
    assert front_certificate_trouble(cluster(), {}, NOW) is None
