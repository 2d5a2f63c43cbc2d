"""The front door on the real cluster: a changed certificate is served soon, by the same pods, and nobody is cut off.

One of `make soak`'s: `make test` swaps certificates under a real HAProxy alone
(tests/integration/operator/test_certificates.py).
"""

import asyncio
import base64
import datetime as dt
import json

import pytest
from cryptography import x509

from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.cluster import Cluster, restarts, until
from tests.support.findings import tell
from tests.support.ledger import Ledger

pytestmark = pytest.mark.soak

SERVED_SECONDS = 60
"""A changed Secret is served within it: the promise to the admin."""

SECRET = "users-certificate"


async def test_a_changed_secret_is_served_by_the_same_pods_and_cuts_nobody(cluster: Cluster) -> None:
    await _put(cluster, _certificate())
    try:
        await cluster.patch({"ingress": {"tls": {"mode": "Secret", "secretName": SECRET}}})
        await cluster.settled()
        await cluster.ready()
        proxies = await _restarts(cluster)
        async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
            closes = [list(client.closes) for client in ledger.clients]
            renewed = _certificate()
            await _put(cluster, renewed)
            took = await _served(cluster, _serial(renewed.certificate))
            account = await ledger.finish()
            assert [list(client.closes) for client in ledger.clients] == closes, "no socket was cut"
        tell(f"a changed Secret is served after {took:.1f} s; {account}")
        assert account.clean, account
        assert await _restarts(cluster) == proxies
    finally:
        await cluster.patch({"ingress": {"tls": None}})
        await cluster.kubectl("delete", "secret", SECRET, "-n", "chat", "--ignore-not-found")
        await cluster.settled()


def _certificate() -> Certificate:
    return ensure(None, None, ("localhost", "127.0.0.1"), dt.datetime.now(dt.UTC)).server


def _serial(text: str) -> int:
    return x509.load_pem_x509_certificate(text.encode()).serial_number


async def _put(cluster: Cluster, pair: Certificate) -> None:
    """What `kubectl create secret tls` writes, or an issuer's controller."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    metadata = {"name": SECRET, "namespace": "chat"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": encoded}
    await cluster.apply(json.dumps(secret))


async def _served(cluster: Cluster, serial: int) -> float:
    """Wait until every proxy serves a certificate: ten connections in a row over the Service get it."""
    host, port = cluster.url.removeprefix("https://").split(":")

    async def everywhere() -> bool:
        return all([await _serial_at(cluster, host, int(port)) == serial for _ in range(10)])

    return await until(everywhere, "the new certificate is served", SERVED_SECONDS)


async def _serial_at(cluster: Cluster, host: str, port: int) -> int:
    _, writer = await asyncio.open_connection(host, port, ssl=cluster.insecure)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def _restarts(cluster: Cluster) -> dict[str, int]:
    """By uid of each HAProxy pod."""
    return {pod["metadata"]["uid"]: restarts(pod) for pod in await cluster.pods("ingress")}
