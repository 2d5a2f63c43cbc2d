"""Mode CertManager with the real cert-manager: issued, renewed, failed, missing, and left again."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.errors import KubeError
from chatoperator.kube.client import CONFLICT
from chatoperator.observed import Answer
from chatoperator.parts.ingress.tls.self_signed import is_own
from tests.support import crds
from tests.support.certificates import issued
from tests.support.cluster import until
from tests.support.findings import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apiserver import ApiServer
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

NAME = "demo-ingress-issued"

TLS = {"mode": "CertManager", "issuerRef": {"name": "ours"}}


@pytest.fixture(scope="module")
def cert_manager(server: ApiServer) -> Iterator[None]:
    """cert-manager itself, and the collector that removes what belongs to what is gone."""
    with (
        crds.installed(server, "cert-manager"),
        # Built from its Go module, once; that takes four minutes of processor time.
        server.beside(crds.folder(server, "cert-manager") / "cert-manager"),
        server.controllers("garbage-collector-controller"),
    ):
        yield


@pytest.fixture
def asking(operator: Operator) -> Operator:
    """A ChatCluster that wants its certificate by cert-manager, of a chat that answers."""
    operator.chatcluster["spec"]["ingress"] = {"hostnames": ["chat.example.com", "b.example.com"], "tls": TLS}
    operator.prober.answer = Answer(ok=True, message="answered")
    return operator


def _issuers(operator: Operator) -> None:
    """An authority of the namespace's own, and an issuer that signs by it."""
    authority = {
        "secretName": "authority",
        "commonName": "ours",
        "isCA": True,
        "privateKey": {"algorithm": "ECDSA"},
        "issuerRef": {"name": "itself"},
    }
    for kind, name, spec in (
        ("Issuer", "itself", {"selfSigned": {}}),
        ("Certificate", "authority", authority),
        ("Issuer", "ours", {"ca": {"secretName": "authority"}}),
    ):
        made = {"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        operator.kubectl("create", "-f", "-", stdin=json.dumps(made))


async def _served(operator: Operator) -> dict[str, str]:
    secret = await operator.get("Secret", "demo-ingress-tls")
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


async def _ready(operator: Operator) -> None:
    """All HAProxy pods, as the Deployment controller would say."""
    live = await operator.get("Deployment", "demo-ingress")
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    operator.patch_status(
        "deployment", "demo-ingress", {"observedGeneration": live["metadata"]["generation"], **counts}
    )


async def _reconcile(operator: Operator) -> None:
    """As the controller does: where cert-manager wrote in the middle of it, it will look again."""
    try:
        await operator.reconcile()
    except KubeError as error:
        if error.status != CONFLICT:
            raise


async def _says(operator: Operator, reason: str) -> dict[str, Any]:
    """Reconcile until IngressReady gives a reason."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        await _reconcile(operator)
        found.update(await operator.condition("IngressReady"))
        return bool(found["reason"] == reason)

    await until(there, f"IngressReady says {reason}", PATIENCE_SECONDS, poll_seconds=0.2)
    return found


async def test_without_cert_manager_all_else_is_set_up_and_the_condition_says_what_to_do(asking: Operator) -> None:
    await asking.brought_up()
    await _ready(asking)
    await asking.reconcile()
    for kind in ("IngressReady", "Ready"):
        told = await asking.condition(kind)
        assert (told["status"], told["reason"]) == ("False", "CertManagerMissing")
        assert "Install cert-manager" in told["message"]
        assert "HAProxy serves a self-signed certificate" in told["message"]
    served = await _served(asking)
    assert is_own(served["tls.crt"])
    await asking.get("Deployment", "demo-chatserver")
    events = asking.admin.list("event")
    assert {event["type"] for event in events if event["reason"] == "CertManagerMissing"} == {"Warning"}
    writes = asking.writes()
    await asking.reconcile(2)
    assert asking.writes() == writes


@pytest.mark.usefixtures("cert_manager")
async def test_issued_then_renewed_then_left_without_a_rollout_and_without_remains(asking: Operator) -> None:
    await asking.brought_up()
    await _ready(asking)
    pods = (await asking.get("Deployment", "demo-ingress"))["spec"]["template"]
    waiting = await _says(asking, "CertificateNotIssued")
    assert waiting["status"] == "False"
    assert (await asking.condition("Ready"))["status"] == "False"
    assert is_own((await _served(asking))["tls.crt"])

    _issuers(asking)
    began = dt.datetime.now(dt.UTC)
    await _says(asking, "AllReady")
    took = (dt.datetime.now(dt.UTC) - began).total_seconds()
    tell(f"cert-manager has issued, and HAProxy's Secret has it, after {took:.1f} s")
    assert (await asking.condition("Ready"))["status"] == "True"
    first, filled = await _served(asking), await asking.get("Secret", NAME)
    assert not is_own(first["tls.crt"])
    assert {key: base64.b64encode(text.encode()).decode() for key, text in first.items()} == filled["data"]
    # It is nobody's authority that the operator could ask HAProxy for.
    assert asking.prober.asked[-1].authority is None
    writes = asking.writes()
    await asking.reconcile(3)
    assert asking.writes() == writes

    # As `cmctl renew` asks for it.
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    live = await asking.get("Certificate", NAME)
    kept = [condition for condition in live["status"]["conditions"] if condition["type"] != "Issuing"]
    wish = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": now}
    asking.patch_status("certificate", NAME, {"conditions": [*kept, wish]})

    async def renewed() -> bool:
        await _reconcile(asking)
        assert (await asking.condition("Ready"))["status"] == "True"
        return await _served(asking) != first

    await until(renewed, "the renewed certificate is in HAProxy's Secret", PATIENCE_SECONDS, poll_seconds=0.2)
    second = await _served(asking)
    assert second["tls.key"] != first["tls.key"]

    # Somebody has it issued anew by deleting the Secret: what is served stays until the new one is there.
    asking.kubectl("delete", "secret", NAME)

    async def again() -> bool:
        await _reconcile(asking)
        assert not is_own((await _served(asking))["tls.crt"])
        return await _served(asking) != second

    await until(again, "the certificate is issued anew", PATIENCE_SECONDS, poll_seconds=0.2)

    asking.patch({"ingress": {"tls": {"mode": "SelfSigned", "issuerRef": None}}})
    await asking.reconcile(2)
    assert is_own((await _served(asking))["tls.crt"])
    assert await asking.kube.get("Certificate", asking.namespace, NAME) is None

    async def tidied() -> bool:
        return await asking.kube.get("Secret", asking.namespace, NAME) is None

    await until(
        tidied,
        "the Secret has gone with its Certificate",
        PATIENCE_SECONDS,
        otherwise=lambda: "\n".join(
            (
                asking.kubectl("get", "secret", NAME, "-o=jsonpath={.metadata}"),
                asking.kubectl("get", "certificates"),
                asking.server.controllers_log(),
            )
        ),
    )
    assert (await asking.get("Deployment", "demo-ingress"))["spec"]["template"] == pods


@pytest.mark.usefixtures("cert_manager")
async def test_a_refusal_by_the_issuer_is_told_in_its_words_and_cured_by_another_issuer(asking: Operator) -> None:
    elsewhere = {"name": "ours", "kind": "Notary", "group": "issuers.example.com"}
    asking.chatcluster["spec"]["ingress"]["tls"] = {"mode": "CertManager", "issuerRef": elsewhere}
    await asking.brought_up()
    await _ready(asking)
    requests: list[str] = []

    async def requested() -> bool:
        requests[:] = asking.kubectl("get", "certificaterequests", "-o", "name").split()
        return bool(requests)

    await until(requested, "cert-manager asks the issuer", PATIENCE_SECONDS, poll_seconds=0.2)
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    refusal = {
        "type": "Ready",
        "status": "False",
        "reason": "Failed",
        "message": "the quota of example.com is used up",
        "lastTransitionTime": now,
    }
    request = requests[0].rpartition("/")[2]
    asking.patch_status("certificaterequest", request, {"conditions": [refusal], "failureTime": now})
    told = await _says(asking, "CertificateFailed")
    assert told["status"] == "False"
    assert "the quota of example.com is used up" in told["message"]
    assert f"kubectl describe certificate {NAME}" in told["message"]
    _issuers(asking)
    asking.patch({"ingress": {"tls": {"issuerRef": {"name": "ours", "kind": None, "group": None}}}})
    await _says(asking, "AllReady")


@pytest.mark.usefixtures("cert_manager")
async def test_the_users_own_certificate_stays_until_the_first_is_issued(asking: Operator) -> None:
    asking.chatcluster["spec"]["ingress"]["tls"] = {"mode": "Secret", "secretName": "mine"}
    mine = issued(["chat.example.com", "b.example.com"])
    pair = (f"--from-literal=tls.crt={mine.certificate}", f"--from-literal=tls.key={mine.key}")
    asking.kubectl("create", "secret", "generic", "mine", *pair)
    await asking.brought_up()
    await _ready(asking)
    assert (await _served(asking))["tls.crt"] == mine.certificate

    asking.patch({"ingress": {"tls": {**TLS, "secretName": None}}})
    told = await _says(asking, "CertificateNotIssued")
    assert "HAProxy serves the previously issued certificate" in told["message"]
    assert (await _served(asking))["tls.crt"] == mine.certificate
    _issuers(asking)
    await _says(asking, "AllReady")
    served = (await _served(asking))["tls.crt"]
    assert served != mine.certificate
    assert not is_own(served)
