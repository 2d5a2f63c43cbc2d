"""The Secrets: database credentials, the servers' key, the certificate."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from chatoperator.metadata import (
    Part,
    ca_secret_name,
    chatserver_secret_name,
    database_secret_name,
    digest,
    metadata,
    service_host,
    tls_secret_name,
)
from chatoperator.parts.database.logins import (
    OWNER,
    PASSWORD_PREFIX,
    REQUEST_ANNOTATION,
    SINCE_ANNOTATION,
    STAGE_ANNOTATION,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.parts.database.logins import Logins

DATABASE_NAME = "chat"


@dataclass(frozen=True)
class Credentials:
    """What is made once and then kept, but for the database's passwords, which are rotated."""

    logins: Logins
    chatserver_key: str

    def __repr__(self) -> str:
        """Show nothing: secrets never reach logs."""
        return "Credentials(...)"

    @property
    def dsn_digest(self) -> str:
        """Changes with what chatservers read of the database's Secret."""
        return digest(["dsn", self.chatserver_key, self.logins.active, self.logins.password])

    @property
    def revision(self) -> str:
        """Changes with any of the database's passwords; its agent repeats what PostgreSQL has."""
        return self.logins.revision(self.chatserver_key)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, PEM."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        """Show nothing: the key never reaches logs."""
        return "Certificate(...)"


@dataclass(frozen=True)
class Issued:
    """A server certificate that somebody else issued; `authority` is who, as PEM, where that is known."""

    server: Certificate
    authority: str | None


@dataclass(frozen=True)
class SelfSigned:
    """A certificate authority of the operator's own and the server certificate it issued."""

    authority: Certificate
    server: Certificate

    @property
    def issued(self) -> Issued:
        """The server's certificate alone, as clients see it."""
        return Issued(self.server, self.authority.certificate)


def _secret(
    cluster: ChatCluster, name: str, part: Part, data: Mapping[str, str], *, owned: bool, kind: str = "Opaque"
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(cluster, name, part, owned=owned),
        "type": kind,
        # data rather than stringData: the API server keeps only data, so that an apply would always differ.
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def database_secret(cluster: ChatCluster, credentials: Credentials) -> Manifest:
    """Credentials of the database; they share the fate of its volume.

    Admins and chatservers read username, password and dsn, which are the active login's; the rest is for PostgreSQL's
    agent and for the operator itself.
    """
    host = service_host(cluster, "postgres")
    logins = credentials.logins
    made = _secret(
        cluster,
        database_secret_name(cluster.name),
        "postgres",
        {
            "username": logins.active,
            "password": logins.password,
            "database": DATABASE_NAME,
            "dsn": f"postgresql://{logins.active}:{quote(logins.password, safe='')}@{host}:5432/{DATABASE_NAME}",
            "owner": OWNER,
            "revision": credentials.revision,
            **{PASSWORD_PREFIX + role: password for role, password in sorted(logins.passwords.items())},
        },
        owned=not cluster.retain,
    )
    annotations = {
        REQUEST_ANNOTATION: logins.request,
        STAGE_ANNOTATION: logins.stage if logins.stage != "settled" else None,
        SINCE_ANNOTATION: str(logins.since) if logins.stage != "settled" else None,
    }
    given = {name: value for name, value in annotations.items() if value is not None}
    if not given:
        return made
    held = made["metadata"]
    return {**made, "metadata": {**held, "annotations": {**held.get("annotations", {}), **given}}}


def chatserver_secret(cluster: ChatCluster, credentials: Credentials) -> Manifest:
    """The key with which servers protect codes in the database; it shares the fate of the volume too."""
    return _secret(
        cluster,
        chatserver_secret_name(cluster.name),
        "chatserver",
        {"secret-key": credentials.chatserver_key},
        owned=not cluster.retain,
    )


def authority_secret(cluster: ChatCluster, made: SelfSigned) -> Manifest:
    """The authority with its key, so that renewing the server's certificate keeps what clients trust."""
    return _secret(
        cluster,
        ca_secret_name(cluster.name),
        "ingress",
        {"ca.crt": made.authority.certificate, "ca.key": made.authority.key},
        owned=True,
    )


def tls_secret(cluster: ChatCluster, served: Issued) -> Manifest:
    """What HAProxy serves, and the authority's certificate for clients to trust, where it is known."""
    trusted = {"ca.crt": served.authority} if served.authority else {}
    return _secret(
        cluster,
        tls_secret_name(cluster.name),
        "ingress",
        {"tls.crt": served.server.certificate, "tls.key": served.server.key, **trusted},
        owned=True,
        kind="kubernetes.io/tls",
    )
