"""H: the whole chain as the operator deploys it: TLS, HAProxy with the operator's configuration, one chatserver.

The proxies are plain processes: the same program, the same text, fixed addresses in place of DNS.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import latencies, machine
from bench.fleet import Fleet
from bench.measure import GENERATORS, check, loaded, ordered, since, used
from bench.usage import resident_kib
from chatoperator.parts.ingress.haproxy import (
    ADMIN_SOCKET,
    CERTIFICATE_FILE,
    CONFIG_FOLDER,
    HTTP_PORT,
    HTTPS_PORT,
    KEY_FILE,
    SCRIPT,
    SCRIPT_NAME,
    STATISTICS_PORT,
    Route,
)
from chatoperator.parts.ingress.haproxy import render as render_haproxy
from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.haproxy import program, wait_listening
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.machine import Chat, Start
    from bench.measure import Row
    from bench.orders import Person, Wire
    from bench.sizes import Sizes

PROXIES = 2
"""HAProxy processes, as many as a ChatCluster has; each connection needs two of a process's 20,000 files."""

START_SECONDS = 20

CHAIN_GENERATORS = 4
"""Generator processes: TLS also costs the generator CPU."""

CHAIN_RATE = 1000.0
"""Messages per second among the pairs while all the others are connected."""


@dataclass(slots=True)
class Chain:
    """Our chat behind proxies, as a subject."""

    chat: Chat
    proxies: list[subprocess.Popen[bytes]]
    urls: list[str]
    authority: str
    name: str = "ChatCluster behind HAProxy with TLS"
    wire: Wire = field(default="chat", init=False)

    def pairs(self, count: int) -> list[list[Person]]:
        """The same as that of the chat."""
        return self.chat.pairs(count)

    def users(self, count: int) -> list[Person]:
        """The same as that of the chat."""
        return self.chat.users(count)

    def processes(self) -> dict[str, list[int]]:
        """The processes of the chat, and the proxies with their workers."""
        workers = [
            int(pid)
            for proxy in self.proxies
            for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
        ]
        return {**self.chat.processes(), "proxy": [*(proxy.pid for proxy in self.proxies), *workers]}

    def stored(self) -> int:
        """The same as that of the chat."""
        return self.chat.stored()


@contextlib.contextmanager
def behind_haproxy(chat: Chat) -> Iterator[Chain]:
    """Run proxies in front of a chat, and stop them.

    Raises:
        FileNotFoundError: HAProxy is neither here nor to be had.
    """
    binary = program()
    made = ensure(None, None, ("localhost", "127.0.0.1"), dt.datetime.now(dt.UTC))
    behind = [server.url.removeprefix("http://") for server in chat.servers]
    with tempfile.TemporaryDirectory(prefix="bench-haproxy-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        authority = folder / "authority.crt"
        authority.write_text(made.authority.certificate)
        (folder / "tls.crt").write_text(made.server.certificate)
        (folder / "tls.key").write_text(made.server.key)
        (folder / SCRIPT_NAME).write_text(SCRIPT)
        route = Route(
            "chat.invalid",
            servers_port=HTTP_PORT,
            server_connections=machine.MAX_CONNECTIONS // PROXIES,
            https_port=HTTPS_PORT,
        )
        text = render_haproxy(route)
        proxies, urls = [], []
        for place in range(PROXIES):
            configuration = folder / f"haproxy-{place}.cfg"
            https = free_port()
            ports = {HTTP_PORT: free_port(), HTTPS_PORT: https, STATISTICS_PORT: free_port()}
            configuration.write_text(local(text, folder, place, ports, behind))
            log = stack.enter_context((folder / f"haproxy-{place}.log").open("wb"))
            proxy = stack.enter_context(
                subprocess.Popen([str(binary), "-W", "-db", "-f", str(configuration)], stdout=log, stderr=log)
            )
            stack.callback(proxy.terminate)
            proxies.append(proxy)
            urls.append(f"wss://localhost:{https}")
            wait_listening(https, Path(log.name), START_SECONDS)
        yield Chain(chat, proxies, urls, str(authority))


def local(text: str, folder: Path, place: int, ports: dict[int, int], behind: list[str]) -> str:
    """Return the operator's configuration on this machine's ports and paths, with fixed servers in place of DNS."""
    paths = {
        CERTIFICATE_FILE: folder / "tls.crt",
        KEY_FILE: folder / "tls.key",
        ADMIN_SOCKET: folder / f"admin-{place}.sock",
        f"{CONFIG_FOLDER}/{SCRIPT_NAME}": folder / SCRIPT_NAME,
    }
    for path, here in paths.items():
        text = text.replace(path, str(here))
    for was, now in ports.items():
        text = re.sub(rf"bind :{was}\b", f"bind 127.0.0.1:{now}", text)
    servers = "\n    ".join(f"server chat{number} {address}" for number, address in enumerate(behind, 1))
    return re.sub(r"server-template chat \d+ \S+", servers, text)


def whole_chain(start: Start, sizes: Sizes) -> list[Row]:
    """H: latencies through the chain, then again while thousands of others are connected to the one chatserver."""
    with start() as chat, behind_haproxy(chat) as chain:
        pairs = chain.pairs(sizes.pairs)
        idle = chain.users(max(0, sizes.chain - 2 * sizes.pairs))
        straight = loaded(chat, ordered(chat, pairs, mode="open", seconds=sizes.seconds, rate=CHAIN_RATE))
        alone = loaded(chain, ordered(chain, pairs, mode="open", seconds=sizes.seconds, rate=CHAIN_RATE))
        servers, proxies = chain.processes()["server"], chain.processes()["proxy"]
        empty = resident_kib(servers), resident_kib(proxies)
        before = used(chain)
        stored = chain.stored()
        order = ordered(chain, pairs, mode="open", seconds=sizes.seconds, rate=CHAIN_RATE)
        with Fleet(ordered(chain, [[one] for one in idle], mode="hold"), CHAIN_GENERATORS) as clients:
            cpu = since(before, chain)
            held = resident_kib(servers) - empty[0], resident_kib(proxies) - empty[1]
            connections = int(chat.servers[0].metric("chatserver_connections"))
            with Fleet(order, GENERATORS) as fleet:
                fleet.go()
                full = fleet.result()
            check(order, full, chain.stored() - stored)
    count = clients.connections
    return [
        {"through": "nothing", "connections": 2 * len(pairs), **straight.times(), **straight.costs()},
        {"through": "HAProxy with TLS", "connections": 2 * len(pairs), **alone.times(), **alone.costs()},
        {
            "connections": connections + 2 * len(pairs),
            "acked": latencies.percentiles(full.acked_us),
            "delivered": latencies.percentiles(full.delivered_us),
            "connected/s": round(count / clients.connect_seconds),
            "tried again": clients.retries,
            "cpu us a connection": {who: round(1e6 * seconds / count) for who, seconds in cpu.items()},
            "KiB each": {"server": round(held[0] / count, 1), "proxy": round(held[1] / count, 1)},
        },
    ]
