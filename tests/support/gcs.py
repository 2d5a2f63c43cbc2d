"""A Google Cloud Storage of its own: fake-gcs-server over TLS, and a server of tokens that checks who asks.

pgBackRest proves by the key of a service account who it is, and uses the token that it gets: the emulator takes any.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support.objectstore import Listener, listening, write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.backups import Authority

HOST, TOKEN_HOST, BUCKET = "storage.googleapis.com", "oauth2.googleapis.com", "chats"

TOKEN_URI = f"https://{TOKEN_HOST}/token"

ACCOUNT = "backups@example.iam.gserviceaccount.com"

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

HTTPS_PORT = 443


def program(log: Path) -> Path:
    """The program, which is built once."""
    return toolchain.ensure_all(["fake-gcs-server"], Stage("GCS"), log)["fake-gcs-server"] / "fake-gcs-server"


@dataclass
class Gcs:
    """The store of one bucket.

    Args:
        address: Where it listens.
        token_address: Where the server of tokens listens.
        key: Of the service account.
        granted: The scopes for which a token was given.
        refused: Why others were not.
    """

    address: str
    token_address: str
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    granted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> dict[str, str]:
        """Addresses, by name."""
        return {HOST: self.address, TOKEN_HOST: self.token_address}

    @property
    def repository(self) -> dict[str, Any]:
        """The field `database.backup.repository`."""
        return {"gcs": {"bucket": BUCKET, "secretName": "store"}}

    @property
    def private_key(self) -> str:
        """As it is in the key of a service account."""
        plain = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """The Secret that the field names."""
        account = {"type": "service_account", "client_email": ACCOUNT, "token_uri": TOKEN_URI}
        return {"store": {"key.json": json.dumps({**account, "private_key": self.private_key})}}

    @property
    def secret_texts(self) -> list[str]:
        """What no log may contain: a line of the key, and the token."""
        return [self.private_key.splitlines()[1], self.token]

    @property
    def token(self) -> str:
        """Which the server of tokens gives."""
        return "a-token-of-a-test"

    def judge(self, form: str) -> str | None:
        """Why a request of a token is refused; None if it is granted."""
        fields = parse_qs(form)
        if fields.get("grant_type") != [GRANT]:
            return f"grant_type {fields.get('grant_type')}"
        signed, _, signature = fields["assertion"][0].rpartition(".")
        try:
            self.key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except ValueError as error:
            return f"signature: {error}"
        claim = json.loads(_decoded(signed.partition(".")[2]))
        if claim["iss"] != ACCOUNT or claim["aud"] != TOKEN_URI or claim["exp"] < time.time():
            return f"claim {claim}"
        self.granted.append(claim["scope"])
        return None


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextlib.contextmanager
def store(folder: Path, authority: Authority, address: str, token_address: str) -> Iterator[Gcs]:
    """A store that ends with the block."""
    (folder / "root" / BUCKET).mkdir(parents=True)
    made = Gcs(address, token_address)
    certificate, key = write_certificate(folder / "tls", authority.files(HOST, TOKEN_HOST))
    line = [str(program(folder / "build.log")), "-address", f"{address}:{HTTPS_PORT}", "-public-host", HOST]
    line += ["-root", str(folder / "root"), "-certificate", certificate, "-key", key]
    with listening(Listener(line, folder / "gcs.log", address, HTTPS_PORT)), _tokens(made, certificate, key):
        yield made


@contextlib.contextmanager
def _tokens(made: Gcs, certificate: str, key: str) -> Iterator[None]:
    """The server of tokens."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            reason = made.judge(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if reason is not None:
                made.refused.append(reason)
            answer: dict[str, Any] = {"error": "invalid_grant", "error_description": reason}
            if reason is None:
                answer = {"access_token": made.token, "token_type": "Bearer", "expires_in": 3600}
            body = json.dumps(answer).encode()
            self.send_response(200 if reason is None else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((made.token_address, HTTPS_PORT), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
