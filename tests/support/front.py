"""The operator's HAProxy configuration in a real HAProxy on this machine's ports, with a server behind it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
import ssl
from typing import TYPE_CHECKING, Any

import httpx
from aiohttp import web
from cryptography import x509

from chatoperator.parts.ingress.haproxy import (
    ADMIN_SOCKET,
    CERTIFICATE_FILE,
    CONFIG_FOLDER,
    FRONT_PORT,
    KEY_FILE,
    SCRIPT,
    SCRIPT_NAME,
    Route,
    render,
)
from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.cluster import until
from tests.support.haproxy import running
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from chatoperator.parts.credentials import Certificate, SelfSigned

ROUTE = Route(
    servers="demo-chatserver.chat.svc.cluster.local",
    servers_port=8080,
    server_connections=12_500,
    https_port=30443,
)

NAMES = ("localhost", "127.0.0.1")

PATIENCE_SECONDS = 20


class Front:
    """A running HAProxy and the server behind it.

    Attributes:
        ready: What the server's /readyz says.
        seen: The requests that reached it, but for its checks.
        let_go: Once it is set, requests to /held are answered.
    """

    def __init__(self, folder: Path, made: SelfSigned) -> None:
        self.folder = folder
        self.made = made
        self.http_port, self.https_port, statistics, self.behind, self.front_port = free_ports(5)
        self.http, self.statistics = f"http://localhost:{self.http_port}", f"http://localhost:{statistics}"
        self.https = f"https://localhost:{self.https_port}"
        self.fronted = f"http://localhost:{self.front_port}"
        self.statistics_port = statistics
        self.client = httpx.AsyncClient(verify=self.trusting(), timeout=10)
        self.ready = True
        self.seen: list[web.Request] = []
        self.let_go = asyncio.Event()
        self.process: subprocess.Popen[bytes]

    @property
    def configuration(self) -> Path:
        return self.folder / "haproxy.cfg"

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.made.authority.certificate)

    def put(self, pair: Certificate) -> None:
        """Write a certificate as kubelet does: both files change at once, for whoever opens them from then on."""
        for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
            (self.folder / f"{name}.new").write_text(text)
            (self.folder / f"{name}.new").rename(self.folder / name)

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
        if request.path == "/held":
            await self.let_go.wait()
        if request.path == "/unavailable":
            return web.Response(status=503)
        return web.Response(text="from the server")

    async def reached(self, path: str) -> None:
        """Wait until a request for this path is at the server: its handshake is done."""

        async def there() -> bool:
            return any(request.path == path for request in self.seen)

        await until(there, f"a request for {path} reaches the server", PATIENCE_SECONDS)

    async def status_is(self, status: int) -> None:
        async def answers() -> bool:
            return (await self.client.get(f"{self.https}/x")).status_code == status

        await until(answers, f"HAProxy answers {status}", PATIENCE_SECONDS)

    async def listens(self) -> None:
        async def healthy() -> bool:
            try:
                return (await self.client.get(f"{self.statistics}/healthz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await until(healthy, "HAProxy listens", PATIENCE_SECONDS, poll_seconds=0.1)

    async def serial(self) -> int:
        """The serial number of the certificate that a new connection gets."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.https_port, ssl=anybody())
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def command(self, *words: str) -> str:
        """HAProxy's answer on its admin socket."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "admin.sock")
        writer.write(" ".join(words).encode() + b"\n")
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        writer.close()
        return answer.decode()

    async def workers(self) -> str:
        """The process that serves and since when: another one after a reload."""
        lines = (await self.command("show info")).splitlines()
        return " ".join(line for line in lines if line.startswith(("Pid:", "Start_time_sec:")))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log's lines of one kind."""
        lines = self.log_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def log_text(self) -> str:
        return self.configuration.with_suffix(".log").read_text()

    def local(self, route: Route) -> str:
        """A route's configuration on this machine's ports and paths, with one fixed server in place of DNS."""
        text = self.at_home(render(route))
        text, count = re.subn(r"server-template chat \d+ \S+", f"server chat1 127.0.0.1:{self.behind}", text)
        assert count == 1
        return text

    def at_home(self, text: str) -> str:
        """A configuration on this machine's ports and paths."""
        for was, now in ((8080, self.http_port), (8443, self.https_port), (8404, self.statistics_port)):
            text, count = re.subn(rf"bind :{was}\b", f"bind 127.0.0.1:{now}", text)
            assert count == 1
            text = re.sub(rf"bind :::{was}\b", f"bind [::1]:{now}", text)
        text = re.sub(rf"bind :{FRONT_PORT}\b", f"bind 127.0.0.1:{self.front_port}", text)
        text = re.sub(rf"bind :::{FRONT_PORT}\b", f"bind [::1]:{self.front_port}", text)
        return at_home(text, self.folder)


def at_home(text: str, folder: Path) -> str:
    """A configuration with all its files in one folder."""
    for path in (CERTIFICATE_FILE, KEY_FILE, ADMIN_SOCKET, f"{CONFIG_FOLDER}/{SCRIPT_NAME}"):
        assert path in text
        text = text.replace(path, str(folder / path.rsplit("/", 1)[1]))
    return text


def write_files(folder: Path, made: SelfSigned | None = None) -> SelfSigned:
    """What a HAProxy pod has mounted beside its configuration: a certificate, and the script."""
    made = made or ensure(None, None, NAMES, dt.datetime.now(dt.UTC))
    (folder / "tls.crt").write_text(made.server.certificate)
    (folder / "tls.key").write_text(made.server.key)
    (folder / SCRIPT_NAME).write_text(SCRIPT)
    return made


@contextlib.asynccontextmanager
async def in_front(
    folder: Path,
    route: Route = ROUTE,
    *,
    made: SelfSigned | None = None,
    plain: bool = True,
    dead: bool = False,
    behind: int | None = None,
    times: Mapping[str, str] | None = None,
    **sooner: str,
) -> AsyncIterator[Front]:
    """HAProxy with the configuration of a route, and the server behind it.

    Args:
        folder: For its files.
        route: What the configuration is made from.
        made: The certificate; one like the operator's otherwise.
        plain: Whether it answers this machine without a header of the PROXY protocol.
        dead: Whether there is another server, at which nobody listens and which the checks call good.
        behind: Port of a chatserver in the place of its own server.
        times: Times to put in the place of the configuration's, such as `{"client-hs": "1s"}`.
        sooner: The same of names without a hyphen, such as `queue="1s"`.
    """
    front = Front(folder, write_files(folder, made))
    front.behind, own = behind or front.behind, front.behind
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", own).start()
    text = front.local(route)
    for name, value in {**(times or {}), **sooner}.items():
        text, count = re.subn(rf"timeout {name} \w+", f"timeout {name} {value}", text)
        assert count == 1
    if dead:
        another = rf"\g<0>\1 dead 127.0.0.2:{front.behind} no-check\n"
        text, count = re.subn(r"( +server) chat1 .*\n", another, text)
        assert count == 1
    front.configuration.write_text(text)
    with running(front.configuration) as front.process:
        await front.listens()
        if plain:
            await front.status_is(200 if behind is None else 404)
        front.seen.clear()
        yield front
    await front.client.aclose()
    await runner.cleanup()


def anybody() -> ssl.SSLContext:
    """Trusts any certificate."""
    # Without the authorities of the machine, which take a default context 20 ms to read.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def open_websocket(front: Front) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """By hand: the one thing that matters is whether the bytes still pass."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.https_port, ssl=anybody())
    writer.write(
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """Send one text frame with a mask of zeros, and return what comes back."""
    writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    head = await asyncio.wait_for(reader.readexactly(2), PATIENCE_SECONDS)
    return await asyncio.wait_for(reader.readexactly(head[1]), PATIENCE_SECONDS)
