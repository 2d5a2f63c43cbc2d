"""An S3 of its own: versitygw over TLS, whose certificate a private authority signed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcluster import toolchain
from localcluster.progress import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.backups import Authority

HOST, BUCKET, REGION = "s3.example.com", "backups", "us-east-1"

ACCESS, SECRET = "access-of-a-test", "secret-of-a-test"

START_SECONDS = 30


def program(log: Path) -> Path:
    """The program, which is built once."""
    return toolchain.ensure_all(["versitygw"], Stage("S3"), log)["versitygw"] / "versitygw"


@dataclass
class Store:
    """A store on a folder.

    Args:
        folder: An empty one.
        address: Where it listens.
        authority: Signs its certificate.
    """

    folder: Path
    address: str
    authority: Authority
    port: int = 7443
    process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> dict[str, str]:
        """Its address, by its name."""
        return {HOST: self.address}

    def repository(self, path: str) -> dict[str, Any]:
        """The field `database.backup.repository` of a chat whose backups are in it."""
        fields = {"bucket": BUCKET, "region": REGION, "endpoint": f"{HOST}:{self.port}", "uriStyle": "Path"}
        return {"s3": {**fields, "path": path, "secretName": "store", "caSecretName": "store-ca"}}

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """The Secrets that the field names."""
        keys = {"access-key-id": ACCESS, "secret-access-key": SECRET}
        return {"store": keys, "store-ca": {"ca.crt": self.authority.pair.certificate}}

    def start(self) -> None:
        """Start it, and wait until it listens."""
        for name in ("root", f"root/{BUCKET}", "sidecar", "tls"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name, text in self.authority.files(HOST).items():
            (self.folder / "tls" / name).write_text(text)
        line = [str(program(self.folder / "build.log")), "--access", ACCESS, "--secret", SECRET, "--region", REGION]
        line += ["--port", f"{self.address}:{self.port}"]
        line += ["--cert", str(self.folder / "tls" / "tls.crt"), "--key", str(self.folder / "tls" / "tls.key")]
        line += ["posix", "--sidecar", str(self.folder / "sidecar"), str(self.folder / "root")]
        with (self.folder / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "s3.log").read_text()[-2000:])

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def store(folder: Path, address: str, authority: Authority) -> Iterator[Store]:
    """A store that ends with the block."""
    made = Store(folder, address, authority)
    made.start()
    try:
        yield made
    finally:
        made.stop()
