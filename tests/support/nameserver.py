"""A real name server for tests: CoreDNS, as in the cluster, with one headless Service whose addresses a test sets."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support.ports import free_port

CACHE_SECONDS = 5
"""As long as kubeadm's CoreDNS gives answers about Services from its cache at most."""


class NameServer:
    """A running CoreDNS.

    Args:
        folder: For its files.
        host: The Service's whole name, `chat.namespace.svc.cluster.local`.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._host = host
        self._serial = 0

    def publish(self, addresses: Sequence[str]) -> None:
        """From now on, but for what is cached, these are the Service's ready pods."""
        self._serial += 1
        name = self._host.removesuffix(".cluster.local")
        lines = [
            "$ORIGIN cluster.local.",
            f"@ {CACHE_SECONDS} IN SOA ns.dns hostmaster {self._serial} 7200 1800 86400 {CACHE_SECONDS}",
            f"@ {CACHE_SECONDS} IN NS ns.dns",
            "ns.dns IN A 127.0.0.1",
            *(f"{name} {CACHE_SECONDS} IN A {address}" for address in addresses),
        ]
        (self._folder / "zone.new").write_text("\n".join([*lines, ""]))
        (self._folder / "zone.new").rename(self._folder / "zone")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer, until the end of the block."""
        log = self._folder / "coredns.log"
        program = toolchain.ensure("coredns", Stage("coredns"), log) / "coredns"
        (self._folder / "Corefile").write_text(
            f"cluster.local:{self.port} {{\n  bind 127.0.0.1\n  file zone cluster.local {{\n    reload 200ms\n  }}\n"
            f"  cache {CACHE_SECONDS}\n  loadbalance\n}}\n"
        )
        with log.open("wb") as out:
            process = subprocess.Popen([str(program), "-conf", "Corefile"], cwd=self._folder, stdout=out, stderr=out)
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)
