"""A wrong certificate in an admin's Secret is told at once and never reaches HAProxy: on a real API server."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization

from chatoperator.observed import Answer
from chatoperator.parts.credentials import Certificate
from tests.support.certificates import issued

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

HOST = "chat.example.com"
NOW = dt.datetime.now(dt.UTC)

GOOD, OTHER = issued([HOST]), issued([HOST])


def _encrypted(pair: Certificate) -> Certificate:
    key = serialization.load_pem_private_key(pair.key.encode(), password=None)
    protected = serialization.BestAvailableEncryption(b"hunter2")
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protected)
    return Certificate(pair.certificate, text.decode())


WRONG = {
    "tls.key does not belong to the certificate in tls.crt": Certificate(OTHER.certificate, GOOD.key),
    "tls.crt is not a PEM certificate": Certificate("garbage", "garbage"),
    "does not cover chat.example.com of ingress.hostnames; it covers other.example.com": issued(["other.example.com"]),
    "tls.key is encrypted": _encrypted(OTHER),
    "expired at": issued([HOST], since=NOW - dt.timedelta(days=9), days=8),
    "is not valid before": issued([HOST], since=NOW + dt.timedelta(days=1)),
}


def _put(operator: Operator, pair: Certificate | None, name: str = "mine") -> None:
    """Replace the admin's Secret; None deletes it."""
    operator.kubectl("delete", "secret", name, "--ignore-not-found")
    if pair is None:
        return
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        # Of the free type, which takes bytes that are no text, and a key that is missing.
        "data": {
            key: base64.b64encode(text.encode()).decode()
            for key, text in (("tls.crt", pair.certificate), ("tls.key", pair.key))
        },
    }
    operator.kubectl("create", "-f", "-", stdin=json.dumps(secret))


def _proxies_run(operator: Operator) -> None:
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    operator.patch_status("deployment", "demo-ingress", {**dict.fromkeys(counts, 2), "observedGeneration": 99})


async def _served(operator: Operator) -> Certificate:
    """What HAProxy mounts."""
    template = (await operator.get("Deployment", "demo-ingress"))["spec"]["template"]
    (volume,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == "tls"]
    data = (await operator.get("Secret", volume["secret"]["secretName"]))["data"]
    return Certificate(*(base64.b64decode(data[key]).decode() for key in ("tls.crt", "tls.key")))


async def _generation(operator: Operator) -> int:
    return int((await operator.get("Deployment", "demo-ingress"))["metadata"]["generation"])


async def _told(operator: Operator, kind: str) -> tuple[str, str, str]:
    made = await operator.condition(kind)
    return made["status"], made["reason"], made["message"]


def _asks_for_its_own(operator: Operator, named: str = "mine") -> None:
    tls = {"mode": "Secret", "secretName": named}
    operator.chatcluster["spec"]["ingress"] = {"hostnames": [HOST], "tls": tls}


async def test_a_wrong_pair_over_a_good_one_is_told_and_the_good_one_goes_on(operator: Operator) -> None:
    _asks_for_its_own(operator)
    _put(operator, GOOD)
    await operator.brought_up()
    operator.prober.answer = Answer(ok=True, message="answered")
    _proxies_run(operator)
    await operator.reconcile()
    assert (await _told(operator, "IngressReady"))[:2] == ("True", "AllReady")
    generation = await _generation(operator)
    for words, pair in WRONG.items():
        _put(operator, pair)
        await operator.reconcile()
        status, reason, message = await _told(operator, "IngressReady")
        assert (status, reason) == ("False", "CertificateInvalid")
        assert message.startswith("Secret mine of ingress.tls.secretName: ")
        assert words in message
        assert "Meanwhile HAProxy serves the previous pair" in message
        assert (await _told(operator, "Ready"))[0] == "True"
        assert await _served(operator) == GOOD
    _put(operator, None)
    await operator.reconcile()
    assert (await _told(operator, "IngressReady"))[:2] == ("False", "CertificateMissing")
    assert await _served(operator) == GOOD
    # An operator that has just started knows no more than what is in the cluster.
    operator.restart()
    _put(operator, Certificate(OTHER.certificate, GOOD.key))
    await operator.reconcile(2)
    assert await _served(operator) == GOOD
    _put(operator, OTHER)
    await operator.reconcile()
    assert await _served(operator) == OTHER
    assert (await _told(operator, "IngressReady"))[:2] == ("True", "AllReady")
    assert await _generation(operator) == generation, "no pod was replaced"
    warnings = operator.admin.list("event")
    told = [event for event in warnings if event["reason"] == "CertificateInvalid"]
    assert told
    assert all(event["type"] == "Warning" for event in told)
    assert "PRIVATE KEY" not in json.dumps([await operator.status(), warnings])


async def test_at_the_first_start_haproxy_waits_for_a_pair_that_it_can_use(operator: Operator) -> None:
    _asks_for_its_own(operator)
    _put(operator, Certificate(OTHER.certificate, GOOD.key))
    await operator.brought_up()
    status, reason, message = await _told(operator, "IngressReady")
    assert (status, reason) == ("False", "CertificateInvalid")
    assert "tls.key does not belong" in message
    assert "demo-ingress starts when you have corrected it" in message
    assert await operator.kube.get("Deployment", operator.namespace, "demo-ingress") is None
    for kind in ("Ready", "Progressing"):
        assert "correct the spec" not in (await _told(operator, kind))[2].lower()
    _put(operator, GOOD)
    await operator.reconcile()
    assert await _served(operator) == GOOD


async def test_at_the_first_start_a_certificate_for_another_name_is_served_and_ready_is_false(
    operator: Operator,
) -> None:
    _asks_for_its_own(operator)
    _put(operator, WRONG["does not cover chat.example.com of ingress.hostnames; it covers other.example.com"])
    await operator.brought_up()
    operator.prober.answer = Answer(ok=True, message="answered")
    _proxies_run(operator)
    await operator.reconcile()
    assert (await _told(operator, "IngressReady"))[:2] == ("False", "CertificateInvalid")
    status, reason, message = await _told(operator, "Ready")
    assert (status, reason) == ("False", "CertificateInvalid")
    assert "other.example.com" in message


async def test_a_change_to_a_wrong_secret_leaves_what_is_served(operator: Operator) -> None:
    """The operator's own certificate, then one of the admin's, then none that exists."""
    operator.chatcluster["spec"]["ingress"] = {"hostnames": [HOST]}
    await operator.brought_up()
    own, generation = await _served(operator), await _generation(operator)
    _put(operator, Certificate(OTHER.certificate, GOOD.key))
    operator.patch({"ingress": {"hostnames": [HOST], "tls": {"mode": "Secret", "secretName": "mine"}}})
    await operator.reconcile(2)
    assert await _served(operator) == own
    assert (await _told(operator, "IngressReady"))[:2] == ("False", "CertificateInvalid")
    _put(operator, GOOD)
    await operator.reconcile(2)
    assert await _served(operator) == GOOD
    operator.patch({"ingress": {"tls": {"mode": "Secret", "secretName": "absent"}}})
    await operator.reconcile(2)
    assert await _served(operator) == GOOD
    assert "Secret absent of ingress.tls.secretName does not exist" in (await _told(operator, "IngressReady"))[2]
    assert await _generation(operator) == generation


async def test_the_operator_never_writes_into_the_secret_that_the_admin_names(operator: Operator) -> None:
    """Not even where it has the name of the operator's copy."""
    _asks_for_its_own(operator, "demo-ingress-tls")
    _put(operator, GOOD, "demo-ingress-tls")
    before = await operator.get("Secret", "demo-ingress-tls")
    await operator.brought_up()
    after = await operator.get("Secret", "demo-ingress-tls")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert await _served(operator) == GOOD
