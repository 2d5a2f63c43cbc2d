"""Several HAProxies with the operator's configuration in front of several chatservers, as a ChatCluster has them."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chain import local
from chatoperator.parts.ingress.haproxy import (
    HTTP_PORT,
    HTTPS_PORT,
    SCRIPT,
    SCRIPT_NAME,
    STATISTICS_PORT,
    Route,
    render,
)
from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.haproxy import running, wait_listening
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from chatoperator.parts.credentials import Certificate

START_SECONDS = 30


@dataclass(slots=True)
class ProxyFarm:
    """Running proxies.

    Attributes:
        doors: host and port of each for TLS.
        masters: the processes that start the workers.
    """

    doors: list[tuple[str, int]] = field(default_factory=list)
    masters: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pids(self) -> list[int]:
        """The processes, the masters first."""
        workers = [
            int(pid)
            for master in self.masters
            for pid in Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        ]
        return [*(master.pid for master in self.masters), *workers]

    def reload(self) -> None:
        """Start new workers; the old ones end, with all their connections, after `hard-stop-after`."""
        for master in self.masters:
            master.send_signal(signal.SIGUSR2)


@contextlib.contextmanager
def proxy_farm(
    count: int,
    servers: Sequence[str],
    *,
    server_connections: int,
    certificate: Certificate | None = None,
    changes: Sequence[tuple[str, str]] = (),
) -> Iterator[ProxyFarm]:
    """Run proxies, and stop them.

    Args:
        count: of HAProxy processes.
        servers: host and port of each chatserver.
        server_connections: that each proxy has open at one server at most.
        certificate: that they serve; None: one like the operator's.
        changes: to make to the configuration: a pattern and what takes its place.
    """
    certificate = certificate or ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC)).server
    farm = ProxyFarm()
    text = render(Route("chat.invalid", HTTP_PORT, server_connections, HTTPS_PORT))
    for pattern, replacement in changes:
        text, found = re.subn(pattern, replacement, text)
        assert found == 1, pattern
    with tempfile.TemporaryDirectory(prefix="chat-farm-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "tls.crt").write_text(certificate.certificate)
        (folder / "tls.key").write_text(certificate.key)
        (folder / SCRIPT_NAME).write_text(SCRIPT)
        for place in range(count):
            ports = dict(zip((HTTP_PORT, HTTPS_PORT, STATISTICS_PORT), free_ports(3), strict=True))
            configuration = folder / f"haproxy-{place}.cfg"
            configuration.write_text(local(text, folder, place, ports, list(servers)))
            farm.masters.append(stack.enter_context(running(configuration)))
            farm.doors.append(("127.0.0.1", ports[HTTPS_PORT]))
            wait_listening(ports[HTTPS_PORT], configuration.with_suffix(".log"), START_SECONDS)
        yield farm
