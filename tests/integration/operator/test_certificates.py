"""A changed certificate in a real HAProxy: served within seconds by the same process, and no connection notices."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.faults import Grade, certificate_faults, grade
from chatoperator.parts.ingress.tls.self_signed import RENEW_BEFORE_DAYS, SERVER_DAYS, ensure
from tests.support.certificates import CLIENT_AUTH, issued, of_a_user
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.front import NAMES, PATIENCE_SECONDS, echo, open_websocket
from tests.support.haproxy import program

if TYPE_CHECKING:
    from tests.support.front import Front

pytestmark = pytest.mark.integration


def _renewed(front: Front) -> Certificate:
    """What the operator makes of the present certificate when it is due."""
    due = dt.datetime.now(dt.UTC) + dt.timedelta(days=SERVER_DAYS - RENEW_BEFORE_DAYS + 1)
    return ensure(front.made.authority, front.made.server, NAMES, due).server


def _serial(pair: Certificate) -> int:
    return x509.load_pem_x509_certificate(pair.certificate.encode()).serial_number


async def _served(front: Front, pair: Certificate) -> float:
    async def there() -> bool:
        return await front.serial() == _serial(pair)

    async def told() -> bool:
        said = front.logged("certificate")[-1]
        return said["result"] == "served" and f"{_serial(pair):X}" in said["message"]

    took = await until(there, f"the new certificate is served: {front.log_text()}", PATIENCE_SECONDS, poll_seconds=0.1)
    # It is in use a moment before it is told.
    await until(told, f"the new certificate is told: {front.log_text()}", PATIENCE_SECONDS, poll_seconds=0.1)
    return took


async def test_a_new_certificate_is_served_and_cuts_nothing(front: Front) -> None:
    assert await front.serial() == _serial(front.made.server)
    sockets = [await open_websocket(front) for _ in range(20)]
    held = asyncio.create_task(front.client.get(f"{front.https}/held"))
    await front.reached("/held")
    before = await front.workers()
    renewed = _renewed(front)
    front.put(renewed)
    took = await _served(front, renewed)
    tell(f"a new certificate is served after {took:.1f} s")
    for reader, writer in sockets:
        assert await echo(reader, writer, b"still here") == b"still here"
        writer.close()
    front.let_go.set()
    assert (await held).text == "from the server"
    assert await front.workers() == before
    assert [line["result"] for line in front.logged("certificate")] == ["served", "served"]


async def test_a_pair_that_does_not_fit_is_told_once_and_the_old_one_stays_until_it_fits(front: Front) -> None:
    old, renewed = front.made.server, _renewed(front)
    for number, broken in enumerate(
        (
            Certificate(renewed.certificate, old.key),
            Certificate("nonsense", "nonsense"),
            Certificate(renewed.certificate[:200], renewed.key),
            Certificate(renewed.certificate, ""),
        ),
        start=1,
    ):
        front.put(broken)

        async def refused(number: int = number) -> bool:
            return len([line for line in front.logged("certificate") if line["result"] == "refused"]) == number

        await until(refused, f"the pair is refused: {front.log_text()}", PATIENCE_SECONDS, poll_seconds=0.1)
        assert await front.serial() == _serial(old)
    front.put(renewed)
    await _served(front, renewed)
    assert len(front.logged("certificate")) == 6, "each once, however often it is tried"
    assert "PRIVATE" not in front.log_text()
    for line in (*old.key.splitlines(), *renewed.key.splitlines()):
        assert line not in front.log_text()


async def test_haproxy_starts_with_each_pair_that_the_operator_takes_and_with_no_other(front: Front) -> None:
    """Otherwise the operator would hand on what stops new pods, or hold back what works."""
    server, other = front.made.server, of_a_user(NAMES[0]).server
    loaded = serialization.load_pem_private_key(server.key.encode(), password=None)
    protected = serialization.BestAvailableEncryption(b"hunter2")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for pair in (
        server,
        other,
        Certificate(server.certificate + other.certificate, server.key),
        issued([NAMES[0]], since=dt.datetime.now(dt.UTC) - dt.timedelta(days=9), days=8),
        issued(["other.example.com"], usage=CLIENT_AUTH),
        Certificate(other.certificate, server.key),
        Certificate(other.certificate + server.certificate, server.key),
        Certificate("garbage", "garbage"),
        Certificate(server.certificate, loaded.private_bytes(pem, pkcs8, protected).decode()),
        of_a_user(bits=1024).server,
    ):
        front.put(pair)
        command = [str(program()), "-c", "-f", str(front.configuration)]
        started = await asyncio.to_thread(subprocess.run, command, capture_output=True, stdin=subprocess.DEVNULL)
        usable = grade(certificate_faults(pair, NAMES[:1], dt.datetime.now(dt.UTC))) < Grade.UNUSABLE
        assert (started.returncode == 0) is usable, started.stderr.decode()


async def test_a_chain_with_remarks_and_empty_lines_is_served_whole(front: Front) -> None:
    """As openssl's tools write them; an empty line would end the command that hands it over."""
    renewed = _renewed(front)
    chain = f"Bag Attributes\n\n{renewed.certificate}\n\nissued by\n{front.made.authority.certificate}\n\n".replace(
        "\n", "\r\n"
    )
    front.put(Certificate(chain, f"\n{renewed.key}\n\n"))
    await _served(front, renewed)
    shown = await front.command("show ssl cert", str(front.folder / "tls.crt"))
    assert "Chain Issuer: /CN=ChatCluster self-signed authority" in shown
