"""Checks of the Secrets of an external database: its URL and its certificate authority. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.api import dsn
from chatoperator.kube.objects import secret_text
from chatoperator.metadata import digest
from chatoperator.parts.chatserver.database_access import AUTHORITY_KEY, ROOT_CERTIFICATE_VARIABLE
from chatoperator.parts.database.trouble import DatabaseTrouble
from chatoperator.parts.ingress.tls.self_signed import holds_certificates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.database import ExternalDatabase
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest


@dataclass(frozen=True)
class Judged:
    """What the user's Secrets say of the database.

    Attributes:
        identity: Changes with where the database is, not with user or password; None where chatservers cannot use it.
        ports: TCP ports; empty where the URL cannot be read.
        trouble: What is wrong; None where nothing is.
    """

    identity: str | None
    ports: tuple[int, ...]
    trouble: DatabaseTrouble | None


def judge(cluster: ChatCluster, spec: ExternalDatabase, named: Mapping[str, Manifest | None]) -> Judged:
    """What the Secrets of `database.external` say.

    Args:
        cluster: The ChatCluster.
        spec: Its database.external.
        named: The user's Secrets by name.
    """
    where = f"Key {spec.secret_key} of Secret {spec.secret_name} (database.external)"
    text = secret_text(named.get(spec.secret_name), spec.secret_key)
    if text is None:
        message = (
            f"Secret {spec.secret_name} of database.external.secretName is missing or has no key "
            f"{spec.secret_key}; create it, or name its key in database.external.secretKey"
        )
        return Judged(None, (), DatabaseTrouble("SecretMissing", message))
    try:
        read = dsn.read(text)
    except dsn.DsnError as error:
        return Judged(None, (), DatabaseTrouble("InvalidDsn", f"{where} is not a valid URL: {error}"))
    identity = f"external:{digest([read.hosts, read.database])}"
    mismatch = _mismatch(cluster, spec, read)
    if mismatch is not None:
        return Judged(None, read.ports, DatabaseTrouble("InvalidDsn", f"{where} cannot be used: {mismatch}"))
    trouble = _authority_trouble(spec, named)
    return Judged(identity if trouble is None else None, read.ports, trouble)


def _mismatch(cluster: ChatCluster, spec: ExternalDatabase, read: dsn.Dsn) -> str | None:
    """Where the URL and the fields contradict each other about the certificate authority."""
    mode = read.ssl_mode
    if spec.ca_secret_name is not None:
        if mode is not None and mode not in {"require", *dsn.VERIFYING_MODES}:
            return (
                f"sslmode={mode} does not verify the server although database.external.caSecretName is set; "
                "remove sslmode from the URL (the default is then verify-full)"
            )
        if read.root_certificate is not None:
            return (
                "sslrootcert and database.external.caSecretName both name a certificate authority; "
                "remove sslrootcert from the URL"
            )
        return None
    # An image of the user's own may bring one.
    elsewhere = ROOT_CERTIFICATE_VARIABLE in cluster.chatserver.env or cluster.chatserver.image is not None
    if mode in dsn.VERIFYING_MODES and read.root_certificate is None and not elsewhere:
        return (
            f"sslmode={mode} needs a certificate authority; name a Secret with its ca.crt in "
            "database.external.caSecretName"
        )
    return None


def _authority_trouble(spec: ExternalDatabase, named: Mapping[str, Manifest | None]) -> DatabaseTrouble | None:
    name = spec.ca_secret_name
    if name is None:
        return None
    text = secret_text(named.get(name), AUTHORITY_KEY)
    if text is None:
        message = f"Secret {name} of database.external.caSecretName is missing or has no key {AUTHORITY_KEY}; create it"
        return DatabaseTrouble("SecretMissing", message)
    if not holds_certificates(text):
        message = (
            f"Key {AUTHORITY_KEY} of Secret {name} (database.external.caSecretName) holds no PEM certificates; "
            "store the certificate of the authority that issued the certificate of the database"
        )
        return DatabaseTrouble("CertificateInvalid", message)
    return None
