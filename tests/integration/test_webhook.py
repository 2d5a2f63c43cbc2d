"""The sender Webhook: a real server, a real database and a gateway on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from chatserver.accounts import webhook
from chatserver.accounts.code_senders import CodeMessage
from chatserver.accounts.webhook import WebhookSender
from tests.support.gateway import HANG, Gateway
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.gateway import Posted

pytestmark = pytest.mark.integration

SECRET = "a key for the gateway"
NUMBER = "+14155550101"
BODY = {"phone_number": NUMBER}


def started(dsn: str, gateway: Gateway) -> ServerProcess:
    return ServerProcess(
        dsn, "one", CHAT_OTP_SENDER="Webhook", CHAT_OTP_WEBHOOK_URL=gateway.url, CHAT_OTP_WEBHOOK_SECRET=SECRET
    )


def assert_signed(posted: Posted, secret: str = SECRET) -> None:
    fields = dict(part.split("=") for part in posted.headers["X-ChatCluster-Signature"].split(","))
    signed = fields["t"].encode() + b"." + posted.body
    assert fields["v1"] == hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert abs(time.time() - int(fields["t"])) < 60


async def test_a_posted_code_signs_in_and_shows_nowhere_else(read_dsn: Callable[[], str]) -> None:
    with Gateway() as gateway, started(read_dsn(), gateway) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            made = await http.post("/api/auth/code", json=BODY)
            assert (made.status_code, made.json().keys()) == (202, {"expires_in", "code_id"})
            (posted,) = await asyncio.to_thread(gateway.wait_for, 1)
            assert_signed(posted)
            assert posted.path == "/codes?key=in-the-url"
            assert posted.headers["Content-Type"] == "application/json"
            assert set(posted.json) == {"phone_number", "code", "expires_in"}
            assert posted.json["phone_number"] == NUMBER
            assert 290 <= posted.json["expires_in"] <= 300
            code = posted.json["code"]
            session = await http.post("/api/auth/session", json={**BODY, "code": code})
            assert session.status_code == 201
            metrics = await metrics_with(server, 'chatserver_codes_total{result="sent"} 1.0')
        assert 'chatserver_codes_total{result="failed"} 0.0' in metrics
        assert "chatserver_code_seconds_count 1.0" in metrics
        log = server.log_text()
        for secret in (f'"{code}"', NUMBER, NUMBER[1:], SECRET, "in-the-url", session.json()["token"]):
            assert secret not in log
        assert "+14*******01" in log


async def metrics_with(server: ServerProcess, line: str) -> str:
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http, asyncio.timeout(30):
        while line not in (text := (await http.get(server.metrics_url)).text):
            await asyncio.sleep(0.05)
    return text


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_only_a_gateway_that_proves_who_it_is_gets_codes(
    read_dsn: Callable[[], str],
    tmp_path: Path,
    trusted: bool,  # noqa: FBT001 - a table
) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    settings = {"SSL_CERT_FILE": str(certificate)} if trusted else {}
    with (
        Gateway(tls=context) as gateway,
        ServerProcess(
            read_dsn(),
            "one",
            CHAT_OTP_SENDER="Webhook",
            CHAT_OTP_WEBHOOK_URL=gateway.url,
            CHAT_OTP_WEBHOOK_SECRET=SECRET,
            **settings,
        ) as server,
    ):
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            assert (await http.post("/api/auth/code", json=BODY)).status_code == 202
        if trusted:
            assert_signed((await asyncio.to_thread(gateway.wait_for, 1))[0])
            return
        server.terminate()
        assert await asyncio.to_thread(server.wait, 60) == 0
        assert gateway.posted == []


def make_certificate(folder: Path) -> Path:
    """Return a file with a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "gateway.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


async def test_failures_of_the_gateway_are_tried_again_as_the_same_message(read_dsn: Callable[[], str]) -> None:
    with Gateway((503, 500, 429, 200)) as gateway, started(read_dsn(), gateway) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            assert (await http.post("/api/auth/code", json=BODY)).status_code == 202
            posted = await asyncio.to_thread(gateway.wait_for, 4)
            await metrics_with(server, 'chatserver_codes_total{result="sent"} 1.0')
        assert len({one.headers["X-ChatCluster-Message-Id"] for one in posted}) == 1
        assert len({one.json["code"] for one in posted}) == 1
        for one in posted:
            assert_signed(one)


@pytest.mark.parametrize("status", [400, 401, 302])
async def test_a_refusal_is_not_tried_again_nor_a_redirect_followed(read_dsn: Callable[[], str], status: int) -> None:
    with Gateway((status,)) as gateway, started(read_dsn(), gateway) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            assert (await http.post("/api/auth/code", json=BODY)).status_code == 202
            await metrics_with(server, 'chatserver_codes_total{result="failed"} 1.0')
        assert len(gateway.posted) == 1
        (event,) = [event for event in server.events() if event["event"] == "code_not_sent"]
        assert (event["reason"], event["tries"], event["phone_number"]) == (f"status {status}", 1, "+14*******01")


async def test_nobody_waits_for_a_gateway_that_hangs(read_dsn: Callable[[], str]) -> None:
    with Gateway((HANG,)) as gateway, started(read_dsn(), gateway) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            # More than are sent at a time, and all of them are answered while none has been sent.
            for number in range(2 * webhook.CONCURRENCY):
                made = await http.post("/api/auth/code", json={"phone_number": f"+1415555{number:04d}"})
                assert made.status_code == 202
            await asyncio.to_thread(gateway.wait_for, webhook.CONCURRENCY)
            metrics = (await http.get(server.metrics_url)).text
        assert 'chatserver_codes_total{result="sent"} 0.0' in metrics
        assert len({posted.json["phone_number"] for posted in gateway.posted}) == webhook.CONCURRENCY


async def test_a_server_that_leaves_sends_what_waits(read_dsn: Callable[[], str]) -> None:
    with Gateway((503, 200)) as gateway, started(read_dsn(), gateway) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            assert (await http.post("/api/auth/code", json=BODY)).status_code == 202
        await asyncio.to_thread(gateway.wait_for, 1)
        server.terminate()
        assert await asyncio.to_thread(server.wait, 60) == 0
        assert len(gateway.posted) == 2


async def test_the_key_can_be_changed_in_place_and_a_missing_one_is_waited_for(tmp_path: Path) -> None:
    secret_file = tmp_path / "secret"
    read = asyncio.Event()
    results: list[str] = []

    def read_secret() -> bytes:
        read.set()
        return secret_file.read_bytes()

    with Gateway() as gateway:
        sender = WebhookSender(gateway.url, read_secret, on_result=results.append)
        running = asyncio.create_task(sender.run())
        with sender.reserve() as send:
            send(CodeMessage(NUMBER, "123456", 300))
        async with asyncio.timeout(30):
            await read.wait()
        secret_file.write_text(SECRET)
        assert_signed((await asyncio.to_thread(gateway.wait_for, 1))[0])
        secret_file.write_text("another key of the gateway")
        with sender.reserve() as send:
            send(CodeMessage(NUMBER, "123456", 300))
        assert_signed((await asyncio.to_thread(gateway.wait_for, 2))[1], "another key of the gateway")
        await sender.finish(timeout_seconds=30)
        assert (results, sender.waiting()) == (["sent", "sent"], 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_cannot_be_sent_in_time_is_given_up_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "GIVE_UP_SECONDS", 1.0)
    results: list[str] = []
    with Gateway((503,)) as gateway:
        sender = WebhookSender(gateway.url, SECRET.encode, on_result=results.append)
        running = asyncio.create_task(sender.run())
        for _ in range(2 * webhook.CONCURRENCY):
            with sender.reserve() as send:
                send(CodeMessage(NUMBER, "123456", 300))
        await sender.finish(timeout_seconds=60)
        assert (set(results), len(results), sender.waiting()) == ({"failed"}, 2 * webhook.CONCURRENCY, 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_webhook_without_a_url_ends_the_start_with_a_sentence(read_dsn: Callable[[], str]) -> None:
    server = ServerProcess(read_dsn(), "one", CHAT_OTP_SENDER="Webhook", CHAT_OTP_WEBHOOK_SECRET=SECRET)
    server.spawn()
    try:
        assert await asyncio.to_thread(server.wait, 30) == 2
        assert "CHAT_OTP_WEBHOOK_URL: the URL to which codes are posted" in server.log_text()
    finally:
        server.__exit__()
