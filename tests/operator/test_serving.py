"""Which certificate HAProxy is to serve in mode CertManager, whatever has become of its sources."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest

from chatoperator.observed import Observed
from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.self_signed import ensure, is_own
from chatoperator.parts.ingress.tls.serving import Serving, serving
from tests.support.certificates import of_a_user
from tests.support.chatclusters import SETTINGS, cluster

ASKING = cluster(
    ingress={"hostnames": ["chat.example.com"], "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}
)

NOW = dt.datetime.now(dt.UTC)

OWN = ensure(None, None, ["chat.example.com"], NOW).server
FIRST, SECOND = (of_a_user("chat.example.com").server for _ in range(2))
BROKEN = Certificate(FIRST.certificate, SECOND.key)
OVER = of_a_user("chat.example.com", since=NOW - dt.timedelta(days=9), days=8).server


def secret(pair: Certificate) -> dict[str, Any]:
    texts = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": "who issued it"}
    return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}}


def proxies(mounted: str) -> dict[str, Any]:
    volumes = [{"name": "tls", "secret": {"secretName": mounted}}]
    return {"spec": {"template": {"spec": {"volumes": volumes}}}}


def decided(filled: Certificate | None, held: Certificate | None, *, mounted: str | None = None) -> Serving:
    children: dict[tuple[str, str], dict[str, Any]] = {}
    if filled:
        children["Secret", "demo-ingress-issued"] = secret(filled)
    if held:
        children["Secret", "demo-ingress-tls"] = secret(held)
    if mounted:
        children["Deployment", "demo-ingress"] = proxies(mounted)
    return serving(ASKING, Observed(children=children, pods=()), {}, SETTINGS, NOW, certificates_known=True)


@pytest.mark.parametrize("held", [None, OWN, SECOND, OVER])
def test_what_cert_manager_issued_is_served(held: Certificate | None) -> None:
    made = decided(FIRST, held)
    assert made.pair == FIRST
    assert made.issued is not None
    assert made.issued.authority == "who issued it"


@pytest.mark.parametrize("filled", [None, BROKEN, OVER, Certificate("nonsense", "nonsense")])
def test_what_was_issued_before_stays_while_its_source_is_gone_or_broken(filled: Certificate | None) -> None:
    assert decided(filled, SECOND).pair == SECOND


@pytest.mark.parametrize("filled", [None, BROKEN, OVER, OWN])
@pytest.mark.parametrize("held", [None, OWN, OVER, BROKEN])
def test_otherwise_a_self_signed_one_is_served_and_told(filled: Certificate | None, held: Certificate | None) -> None:
    made = decided(filled, held, mounted="demo-ingress-tls")
    assert made.pair is not None
    assert is_own(made.pair.certificate)
    assert made.trouble is not None
    assert not made.trouble.accepted


def test_what_haproxy_has_of_another_mode_stays_until_the_first_is_issued() -> None:
    assert decided(None, OWN, mounted="mine").pair is None
    assert decided(FIRST, OWN, mounted="mine").pair == FIRST
