"""The repository's passphrase, which is made once, and the certificate of both sides, which can be made again. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import secret_text
from chatoperator.metadata import (
    INSTANCES_MAX,
    backup_key_name,
    backup_tls_name,
    digest,
    metadata,
    service_host,
)
from chatoperator.parts.backup.access import AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY
from chatoperator.parts.backup.configuration import instance_host
from chatoperator.parts.credentials import Certificate, SelfSigned
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.remembered import PASSPHRASE_KEY

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.losses import Losses

AUTHORITY_PRIVATE_KEY_KEY = "ca.key"


@dataclass(frozen=True)
class BackupCredentials:
    """What the Secrets hold.

    Attributes:
        passphrase: Of the repository; empty where it is lost, None where the admin's own Secret has it.
        pair: The authority, and the one certificate of the backup pod and of PostgreSQL's pods.
    """

    passphrase: str | None
    pair: SelfSigned

    def __repr__(self) -> str:
        """Show nothing: secrets never reach logs."""
        return "BackupCredentials(...)"

    def certificate_digest(self, salt: str) -> str:
        """Changes with the certificate."""
        return digest(["backup", salt, self.pair.server.certificate, self.pair.server.key])


def decide(
    cluster: ChatCluster,
    observed: Observed,
    losses: Losses,
    *,
    own_key: bool,
    now: dt.datetime,
    new_secret: Callable[[], str],
) -> BackupCredentials:
    """What the Secrets have; what they lack is made, but for a passphrase that is lost.

    Args:
        cluster: The parsed spec.
        observed: Its children, as the API server itself has confirmed.
        losses: A passphrase that is lost is restored, or not replaced: without it no backup can be read.
        own_key: The operator makes the passphrase.
        now: The time with its zone.
        new_secret: Makes a passphrase.
    """
    tls, key = observed.child("Secret", backup_tls_name(cluster.name)), ("Secret", backup_key_name(cluster.name))

    def held(certificate_key: str, private_key: str) -> Certificate | None:
        texts = secret_text(tls, certificate_key), secret_text(tls, private_key)
        return Certificate(texts[0], texts[1]) if texts[0] and texts[1] else None

    passphrase = None
    if own_key:
        known = secret_text(observed.child(*key), PASSPHRASE_KEY) or losses.passphrase
        passphrase = known or ("" if key in losses.withheld else new_secret())
    hosts = [service_host(cluster, "backup")]
    # Of as many instances as there may be, so that their number changes no certificate.
    hosts += [instance_host(cluster, number) for number in range(1, INSTANCES_MAX + 1)]
    pair = self_signed.ensure(
        held(AUTHORITY_KEY, AUTHORITY_PRIVATE_KEY_KEY),
        held(CERTIFICATE_KEY, PRIVATE_KEY_KEY),
        hosts,
        now,
        client_name=cluster.name,
    )
    return BackupCredentials(passphrase, pair)


def key_secret(cluster: ChatCluster, passphrase: str) -> Manifest:
    """The passphrase, which shares the fate of the repository."""
    return _secret(cluster, backup_key_name(cluster.name), {PASSPHRASE_KEY: passphrase}, owned=not cluster.retain)


def tls_secret(cluster: ChatCluster, pair: SelfSigned) -> Manifest:
    """The certificate; a deleted one is recreated with another authority, which both sides read again."""
    content = {
        CERTIFICATE_KEY: pair.server.certificate,
        PRIVATE_KEY_KEY: pair.server.key,
        AUTHORITY_KEY: pair.authority.certificate,
        AUTHORITY_PRIVATE_KEY_KEY: pair.authority.key,
    }
    return _secret(cluster, backup_tls_name(cluster.name), content, owned=True)


def _secret(cluster: ChatCluster, name: str, content: Mapping[str, str], *, owned: bool) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(cluster, name, "backup", owned=owned),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }
