"""haproxy.cfg in a real HAProxy: what clients see of it. Servers by DNS are e2e's part; here they are fixed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
import socket
import ssl
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web

from chatoperator.certificates import ensure
from chatoperator.manifests.haproxy import ADMIN_SOCKET, CERTIFICATE_FILE, Limits, Route, render
from tests.support.cluster import until
from tests.support.haproxy import program, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.integration

ROUTE = Route(servers="demo-chatserver.chat.svc.cluster.local", https_port=30443, hsts=False)

PATIENCE_SECONDS = 20


class Front:
    """A running HAProxy and the server behind it."""

    def __init__(self, http: int, https: int, statistics: int, context: ssl.SSLContext) -> None:
        self.http, self.statistics = f"http://localhost:{http}", f"http://localhost:{statistics}"
        self.https = f"https://localhost:{https}"
        self.client = httpx.AsyncClient(verify=context, timeout=10)
        self.ready = True
        self.seen: list[web.Request] = []
        self.log: Path

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(status=200 if self.ready else 503)
        self.seen.append(request)
        if request.path == "/socket":
            live = web.WebSocketResponse()
            await live.prepare(request)
            async for message in live:
                await live.send_str(message.data)
            return live
        return web.Response(text="from the server")

    async def status_is(self, status: int) -> None:
        async def answers() -> bool:
            return (await self.client.get(f"{self.https}/x")).status_code == status

        await until(answers, f"HAProxy answers {status}", PATIENCE_SECONDS)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with _running(tmp_path, ROUTE) as made:
        yield made


@contextlib.asynccontextmanager
async def _running(tmp_path: Path, route: Route) -> AsyncIterator[Front]:
    """HAProxy with the configuration of a route, and the server behind it."""
    made = ensure(None, None, ("localhost", "127.0.0.1"), dt.datetime.now(dt.UTC))
    (tmp_path / "tls.crt").write_text(made.server.certificate)
    (tmp_path / "tls.key").write_text(made.server.key)
    http, https, statistics, behind = _free_ports(4)
    context = ssl.create_default_context(cadata=made.authority.certificate)
    front = Front(http, https, statistics, context)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", behind).start()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(_local(render(route), tmp_path, http, https, statistics, behind))
    front.log = configuration.with_suffix(".log")
    with running(configuration):

        async def listens() -> bool:
            try:
                return (await front.client.get(f"{front.statistics}/healthz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await until(listens, f"HAProxy listens: {front.log.read_text()}", PATIENCE_SECONDS)
        await front.status_is(200)
        front.seen.clear()
        yield front
    await front.client.aclose()
    await runner.cleanup()


def _local(text: str, folder: Path, http: int, https: int, statistics: int, behind: int) -> str:
    """The same configuration on this machine's ports and paths, with one fixed server in place of DNS."""
    text = text.replace(CERTIFICATE_FILE, str(folder / "tls.crt")).replace(ADMIN_SOCKET, str(folder / "admin.sock"))
    for was, now in ((8080, http), (8443, https), (8404, statistics)):
        text, count = re.subn(rf"bind :{was}\b", f"bind 127.0.0.1:{now}", text)
        assert count == 1
    text, count = re.subn(r"server-template chat \d+ \S+", f"server chat1 127.0.0.1:{behind}", text)
    assert count == 1
    return text


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.parametrize(
    "route",
    [
        Route(ROUTE.servers, 443, hsts=True),
        Route(ROUTE.servers, 30443, hsts=False),
        Route(ROUTE.servers, 443, hsts=True, limits=Limits(100, None)),
        Route(ROUTE.servers, 443, hsts=True, limits=Limits(None, 5), trusted_proxies=("10.0.0.0/8", "2001:db8::/32")),
    ],
)
def test_haproxy_accepts_the_configuration_as_it_is(tmp_path: Path, route: Route) -> None:
    made = ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC))
    (tmp_path / "tls.crt").write_text(made.server.certificate)
    (tmp_path / "tls.key").write_text(made.server.key)
    configuration = tmp_path / "haproxy.cfg"
    text = render(route)
    configuration.write_text(text.replace(CERTIFICATE_FILE, str(tmp_path / "tls.crt")))
    binary, environment = program()
    done = subprocess.run(
        [str(binary), "-c", "-f", str(configuration)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("Strict-Transport-Security" in text) is route.hsts


async def test_clients_cannot_choose_their_address_and_every_answer_has_a_request_id(front: Front) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}
    answer = await front.client.get(f"{front.https}/x", headers=forged)
    (seen,) = front.seen
    assert seen.headers.getall("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.headers["X-Forwarded-Proto"] == "https"
    assert not {"Forwarded", "X-Real-IP"} & set(seen.headers)
    assert answer.headers["X-Request-Id"] == seen.headers["X-Request-Id"]
    assert "Strict-Transport-Security" not in answer.headers


async def test_a_request_id_is_passed_on_unless_it_is_nonsense(front: Front) -> None:
    await front.client.get(f"{front.https}/x", headers={"X-Request-Id": "mine-1"})
    await front.client.get(f"{front.https}/x", headers={"X-Request-Id": 'no"thing"'})
    assert front.seen[0].headers["X-Request-Id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f-]{36}", front.seen[1].headers["X-Request-Id"])


async def test_http_is_sent_to_the_port_that_serves_https(front: Front) -> None:
    answer = await front.client.get(f"{front.http}/a/b?c=d", headers={"Host": "chat.example.com:30080"})
    assert answer.status_code == httpx.codes.PERMANENT_REDIRECT
    assert answer.headers["Location"] == "https://chat.example.com:30443/a/b?c=d"


async def test_metrics_never_pass(front: Front) -> None:
    for path in ("/metrics", "/metrics/", "/metrics?x=1"):
        answer = await front.client.get(front.https + path)
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert front.seen == []
    own = await front.client.get(f"{front.statistics}/metrics")
    assert "haproxy_backend_active_servers" in own.text


async def test_without_a_server_clients_get_a_problem_and_open_sockets_live_on(front: Front) -> None:
    """As in a database outage: every /readyz is 503 at once."""
    reader, writer = await _open_websocket(front)
    front.ready = False
    await front.status_is(503)
    answer = await front.client.get(f"{front.https}/x")
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["X-Request-Id"]
    assert await _echo(reader, writer, b"still here") == b"still here"
    front.ready = True
    await front.status_is(200)
    assert await _echo(reader, writer, b"and now") == b"and now"
    writer.close()


async def test_the_log_is_json_without_queries(front: Front) -> None:
    await front.client.get(f"{front.https}/find?ticket=secret")

    async def logged() -> bool:
        return "/find" in front.log.read_text().replace("\\/", "/")

    await until(logged, "the request is logged", PATIENCE_SECONDS)
    lines = [json.loads(line) for line in front.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["path"] == "/find"]
    assert (line["event"], line["method"], line["status"], line["server"]) == ("request", "GET", 200, "chat1")
    assert "secret" not in front.log.read_text()


TRUSTING = replace(ROUTE, trusted_proxies=("127.0.0.0/8",))


def _from(client: str) -> dict[str, str]:
    """The header of a request that a proxy on this machine passes on; its client claimed another address before."""
    return {"X-Forwarded-For": f"192.0.2.66, {client}"}


async def test_a_trusted_proxy_names_the_client_by_the_last_entry_that_it_added(tmp_path: Path) -> None:
    async with _running(tmp_path, TRUSTING) as front:
        for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1"):
            # Over one connection, as proxies do.
            await front.client.get(f"{front.https}/x", headers=_from(client))
        await front.client.get(f"{front.https}/x")
        seen = [request.headers["X-Forwarded-For"] for request in front.seen]
    assert seen == ["203.0.113.1", "203.0.113.2", "2001:db8::1", "127.0.0.1"]


async def test_too_many_requests_of_one_address_are_refused_and_others_pass(tmp_path: Path) -> None:
    async with _running(tmp_path, replace(TRUSTING, limits=Limits(requests_per_second=2))) as front:
        answers = [await front.client.get(f"{front.https}/x", headers=_from("203.0.113.1")) for _ in range(25)]
        other = await front.client.get(f"{front.https}/x", headers=_from("203.0.113.2"))
    statuses = [answer.status_code for answer in answers]
    # Twenty in ten seconds are two a second.
    assert statuses[:20] == [200] * 20
    assert set(statuses[20:]) == {429}
    assert other.status_code == httpx.codes.OK
    refused = answers[-1]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "5"
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["X-Request-Id"]
    assert len(front.seen) == 21, "what is refused never reaches a server"


async def test_open_sockets_of_one_address_are_counted_until_they_end(tmp_path: Path) -> None:
    async with _running(tmp_path, replace(ROUTE, limits=Limits(connections=3))) as front:
        sockets = [await _open_websocket(front) for _ in range(3)]
        answer = await front.client.get(f"{front.https}/x")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        for reader, writer in sockets:
            assert await _echo(reader, writer, b"open ones live on") == b"open ones live on"
        sockets[0][1].close()
        await front.status_is(200)
        for _, writer in sockets[1:]:
            writer.close()


async def _open_websocket(front: Front) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """By hand: the one thing that matters is whether the bytes still pass."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = int(front.https.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """Send one text frame with a mask of zeros, and return what comes back."""
    writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    head = await asyncio.wait_for(reader.readexactly(2), PATIENCE_SECONDS)
    return await asyncio.wait_for(reader.readexactly(head[1]), PATIENCE_SECONDS)
