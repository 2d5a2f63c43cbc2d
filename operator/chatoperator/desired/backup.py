"""Backups: whether they can be made, with which credentials, and which of them an admin requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.desired.database import claimed
from chatoperator.desired.restoration import backup_request
from chatoperator.kube.objects import annotation
from chatoperator.metadata import BACKUP_ANNOTATION, backup_claim_name, digest
from chatoperator.parts.backup import credentials as backup_credentials
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
        request: Value of the annotation that requests a backup; None where there is none.
    """

    credentials: BackupCredentials
    secrets: UserSecrets
    volume: Volume
    request: str | None

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
        body: The whole ChatCluster; an annotation requests a backup.
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
    request = annotation(body, BACKUP_ANNOTATION)
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
        request=backup_request(
            request if request and len(request) <= REQUEST_LENGTH_MAX and request.isprintable() else None, restoration
        ),
    )
