"""Backups: whether they can be made, with which credentials, and what an admin requests now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.desired.database import claimed
from chatoperator.desired.restoration import backup_request
from chatoperator.kube.objects import annotation
from chatoperator.metadata import BACKUP_ANNOTATION, DRILL_ANNOTATION, backup_claim_name, digest
from chatoperator.parts.backup import credentials as backup_credentials
from chatoperator.parts.backup.configuration import Requests
from chatoperator.parts.backup.usersecrets import judge

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.desired.database import Volume
    from chatoperator.desired.restoration import Restoration
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.backup.credentials import BackupCredentials
    from chatoperator.parts.backup.usersecrets import UserSecrets
    from chatoperator.parts.losses import Losses

REQUEST_LENGTH_MAX = 128
"""Characters of a request; a longer value is none."""


@dataclass(frozen=True)
class DesiredBackup:
    """The backups of a ChatCluster.

    Attributes:
        credentials: Passphrase and certificate.
        secrets: What the user's Secrets say.
        volume: The claim of a repository on a volume, as it is.
        requests: What an admin requests by annotations.
    """

    credentials: BackupCredentials
    secrets: UserSecrets
    volume: Volume
    requests: Requests

    def pod_digest(self, salt: str) -> str:
        """Changes with what the backup pod reads of Secrets when it starts."""
        made = self.credentials
        return digest([salt, made.passphrase, made.certificate_digest(salt), self.secrets.digest])


def decide(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    losses: Losses,
    restoration: Restoration | None = None,
    *,
    salt: str,
    now: dt.datetime,
    new_secret: Callable[[], str],
) -> DesiredBackup | None:
    """Decide it; None where the spec has no backups.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster; annotations request a backup and a drill.
        observed: Its children and the user's Secrets.
        losses: A passphrase that is lost is restored, or not replaced.
        restoration: After a restore in place a backup is due.
        salt: Keeps digests of Secrets from being compared with those of a guess.
        now: The time with its zone.
        new_secret: Makes a passphrase.
    """
    spec = cluster.database.backup
    if spec is None:
        return None
    return DesiredBackup(
        credentials=backup_credentials.decide(
            cluster,
            observed,
            losses,
            own_key=spec.encryption.secret_name is None,
            now=now,
            new_secret=new_secret,
        ),
        secrets=judge(spec, observed.user_secrets, salt=salt),
        volume=claimed(observed.child("PersistentVolumeClaim", backup_claim_name(cluster.name)), cluster.uid),
        requests=Requests(
            backup_request(_request(body, BACKUP_ANNOTATION), restoration), _request(body, DRILL_ANNOTATION)
        ),
    )


def _request(body: Manifest, name: str) -> str | None:
    value = annotation(body, name)
    return value if value and len(value) <= REQUEST_LENGTH_MAX and value.isprintable() else None
