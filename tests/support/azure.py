"""An Azure Blob Storage of its own: Azurite over TLS, by the key of an account or by a shared access signature."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from localcluster.paths import cache_root
from tests.support.caching import building
from tests.support.objectstore import Listener, listening, write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.backups import Authority

ACCOUNT, CONTAINER = "chats", "demo"

HOST = f"{ACCOUNT}.blob.core.windows.net"

PACKAGE, VERSION = "azurite", "3.37.0"

HTTPS_PORT = 443

INSTALL_SECONDS = 900
"""Of 450 packages."""


def program() -> Path:
    """The program, which npm installs into the cache once.

    Raises:
        AssertionError: There is no npm, or it failed.
    """
    folder = cache_root() / f"{PACKAGE}-{VERSION}"
    if not folder.exists():
        npm = shutil.which("npm")
        assert npm is not None, "no npm here: install Debian's packages 'nodejs' and 'npm'"
        with building(folder) as made:
            line = (npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}")
            done = subprocess.run(line, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
    return folder / "node_modules" / PACKAGE / "dist" / "src" / "blob" / "main.js"


@dataclass
class Azure:
    """The store of one account.

    Args:
        address: Where it listens.
        by_signature: Whether chats get a signature instead of the account's key.
        key: Of the account, 64 bytes as base64.
    """

    address: str
    by_signature: bool
    key: str

    @property
    def hosts(self) -> dict[str, str]:
        """Its address, by its name."""
        return {HOST: self.address}

    @property
    def repository(self) -> dict[str, Any]:
        """The field `database.backup.repository`."""
        return {"azure": {"account": ACCOUNT, "container": CONTAINER, "secretName": "store"}}

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """The Secret that the field names."""
        return {"store": {"sas-token": self.signature()} if self.by_signature else {"account-key": self.key}}

    @property
    def secret_texts(self) -> list[str]:
        """What no log may contain."""
        return [self.key, *parse_qs(self.signature())["sig"]]

    def signature(self) -> str:
        """A shared access signature for all that is in the account, for a day.

        Source: https://learn.microsoft.com/rest/api/storageservices/create-account-sas
        """
        expires = (dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0) + dt.timedelta(days=2)).strftime(
            "%FT%TZ"
        )
        fields = {"sp": "rwdlac", "ss": "b", "srt": "sco", "se": expires, "spr": "https", "sv": "2019-12-12"}
        order = (ACCOUNT, "rwdlac", "b", "sco", "", expires, "", "https", "2019-12-12", "")
        signed = hmac.new(base64.b64decode(self.key), "\n".join(order).encode(), hashlib.sha256).digest()
        return urlencode({**fields, "sig": base64.b64encode(signed).decode()})

    def create_container(self, authority: str) -> None:
        """Make the container, as an admin does."""
        context = ssl.create_default_context(cadata=authority)
        # Reached by its address, and not by the name in its certificate.
        context.check_hostname = False
        # The certificates of tests have only what PostgreSQL's and pgBackRest's TLS asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(self.address, HTTPS_PORT, context=context, timeout=30)
        path = f"/{CONTAINER}?restype=container&{self.signature()}"
        connection.request("PUT", path, headers={"Host": HOST, "x-ms-version": "2019-12-12", "Content-Length": "0"})
        answer = connection.getresponse()
        assert answer.status == http.client.CREATED, answer.read()
        connection.close()


@contextlib.contextmanager
def store(folder: Path, authority: Authority, address: str, *, by_signature: bool) -> Iterator[Azure]:
    """A store that ends with the block."""
    folder.mkdir(parents=True)
    made = Azure(address, by_signature, base64.b64encode(os.urandom(64)).decode())
    certificate, key = write_certificate(folder / "tls", authority.files(HOST))
    line = ["node", str(program()), "--blobHost", address, "--blobPort", str(HTTPS_PORT)]
    line += ["--cert", certificate, "--key", key, "--location", str(folder / "data"), "--silent"]
    # pgBackRest's version of the protocol may be newer than the emulator's.
    line += ["--skipApiVersionCheck", "--disableTelemetry"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{made.key}"}
    with listening(Listener(line, folder / "azure.log", address, HTTPS_PORT, environment)):
        made.create_container(authority.pair.certificate)
        yield made
