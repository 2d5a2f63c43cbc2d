"""An S3 of its own: versitygw over TLS, whose certificate a private authority signed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support.objectstore import Listener, write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.backups import Authority

HOST, BUCKET, REGION = "s3.example.com", "backups", "us-east-1"

ACCESS, SECRET = "access-of-a-test", "secret-of-a-test"


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
    listener: Listener | None = None

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
        for name in ("root", f"root/{BUCKET}", "sidecar"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        certificate, key = write_certificate(self.folder / "tls", self.authority.files(HOST))
        line = [str(program(self.folder / "build.log")), "--access", ACCESS, "--secret", SECRET, "--region", REGION]
        line += ["--port", f"{self.address}:{self.port}", "--cert", certificate, "--key", key]
        line += ["posix", "--sidecar", str(self.folder / "sidecar"), str(self.folder / "root")]
        self.listener = Listener(line, self.folder / "s3.log", self.address, self.port)
        self.listener.start()

    def stop(self) -> None:
        """End it."""
        if self.listener is not None:
            self.listener.stop()
            self.listener = None


@contextlib.contextmanager
def store(folder: Path, address: str, authority: Authority) -> Iterator[Store]:
    """A store that ends with the block."""
    made = Store(folder, address, authority)
    made.start()
    try:
        yield made
    finally:
        made.stop()
