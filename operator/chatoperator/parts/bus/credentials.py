"""Passwords and certificate of the Valkey pods: in one Secret, which can be made again at any time. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import secret_text
from chatoperator.metadata import bus_secret_name, digest, metadata
from chatoperator.parts.bus.access import AUTHORITY_KEY, PASSWORD_KEY, USERNAME
from chatoperator.parts.credentials import Certificate, SelfSigned
from chatoperator.parts.ingress.tls import self_signed

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

METRICS_PASSWORD_KEY = "metrics-password"  # noqa: S105 - the name of a key
ACL_KEY = "users.acl"
CERTIFICATE_KEY, PRIVATE_KEY_KEY, AUTHORITY_PRIVATE_KEY_KEY = "tls.crt", "tls.key", "ca.key"

METRICS_USER = "metrics"

RIGHTS = "-@all +@connection +@pubsub +eval +sadd +srem +smembers +sunion +expire +incr +del +info +pttl +set"
"""Of the chatservers: what their scripts call (docs/operations/bus.md), and no command of an admin."""

METRICS_RIGHTS = "-@all +ping +info"

CHANNELS = "chat:*"
"""Keys and channels of the chatservers, which begin with their default prefix."""


@dataclass(frozen=True)
class BusCredentials:
    """What the Secret holds.

    Attributes:
        password: Of the chatservers.
        metrics_password: Of the exporter, which may only count.
        pair: The authority, and the certificate of all Valkey pods.
    """

    password: str
    metrics_password: str
    pair: SelfSigned

    def __repr__(self) -> str:
        """Show nothing: secrets never reach logs."""
        return "BusCredentials(...)"

    def server_digest(self, salt: str) -> str:
        """Changes with what Valkey reads when it starts."""
        pair = self.pair.server
        return digest(["bus", salt, self.password, self.metrics_password, pair.certificate, pair.key])

    def client_digest(self, salt: str) -> str:
        """Changes with what chatservers read when they connect."""
        return digest(["bus", salt, self.password, self.pair.authority.certificate])


def decide(
    cluster: ChatCluster, observed: Observed, *, host: str, now: dt.datetime, new_secret: Callable[[], str]
) -> BusCredentials:
    """What the Secret has; what it lacks, and a certificate that expires, is made.

    Args:
        cluster: The parsed spec.
        observed: Its children, as the API server itself has confirmed.
        host: DNS name of the Service, below which each pod has its own.
        now: The time with its zone.
        new_secret: Makes a password.
    """
    secret = observed.child("Secret", bus_secret_name(cluster.name))

    def held(certificate_key: str, private_key: str) -> Certificate | None:
        texts = secret_text(secret, certificate_key), secret_text(secret, private_key)
        return Certificate(texts[0], texts[1]) if texts[0] and texts[1] else None

    return BusCredentials(
        password=secret_text(secret, PASSWORD_KEY) or new_secret(),
        metrics_password=secret_text(secret, METRICS_PASSWORD_KEY) or new_secret(),
        pair=self_signed.ensure(
            held(AUTHORITY_KEY, AUTHORITY_PRIVATE_KEY_KEY), held(CERTIFICATE_KEY, PRIVATE_KEY_KEY), [f"*.{host}"], now
        ),
    )


def secret(cluster: ChatCluster, made: BusCredentials) -> Manifest:
    """The Secret. A deleted one is recreated with other content: Valkey restarts, and chatservers read it again."""
    content = {
        PASSWORD_KEY: made.password,
        METRICS_PASSWORD_KEY: made.metrics_password,
        ACL_KEY: _users(made),
        CERTIFICATE_KEY: made.pair.server.certificate,
        PRIVATE_KEY_KEY: made.pair.server.key,
        AUTHORITY_KEY: made.pair.authority.certificate,
        AUTHORITY_PRIVATE_KEY_KEY: made.pair.authority.key,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(cluster, bus_secret_name(cluster.name), "bus"),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def _users(made: BusCredentials) -> str:
    """Valkey's users, which knows their passwords by hashes alone. The default one is off."""
    chat, metrics = (hashlib.sha256(one.encode()).hexdigest() for one in (made.password, made.metrics_password))
    return (
        "user default off\n"
        f"user {USERNAME} on #{chat} resetkeys ~{CHANNELS} resetchannels &{CHANNELS} {RIGHTS}\n"
        f"user {METRICS_USER} on #{metrics} resetkeys resetchannels {METRICS_RIGHTS}\n"
    )
