"""What to do about what cannot be made twice and is gone: put it back from memory, or make nothing in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.metadata import (
    backup_claim_name,
    backup_key_name,
    ca_secret_name,
    chatserver_secret_name,
    claim_name,
    issued_secret_name,
)
from chatoperator.parts.database.replication.patroni import leading_claim
from chatoperator.parts.remembered import allowed, losses

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.parts.credentials import Certificate
    from chatoperator.parts.irreplaceable import Loss


@dataclass(frozen=True)
class HeldContent:
    """Irreplaceable content that the last reconcile had: what is lost meanwhile can be restored.

    Attributes:
        key: The chatservers' key.
        authority: The operator's own certificate authority; None where it has made none.
        withheld: (kind, name) of what that reconcile did not make.
        passphrase: Of the backups' repository; None where the operator has made none.
    """

    key: str
    authority: Certificate | None
    withheld: frozenset[ObjectKey]
    passphrase: str | None = None

    def __repr__(self) -> str:
        """Show nothing: secrets never reach logs."""
        return "HeldContent(...)"


@dataclass(frozen=True)
class Losses:
    """What of a ChatCluster is lost.

    Attributes:
        reported: Losses about which somebody has to do something.
        restored: What is restored unchanged.
        copied: Volumes that are recreated, on which the database is copied from another instance.
        key: The chatservers' key, to be restored; None where it is not lost or not known.
        authority: The certificate authority, likewise.
        withheld: (kind, name) of what is not recreated.
        passphrase: Of the backups' repository, likewise.
    """

    reported: tuple[Loss, ...] = ()
    restored: tuple[Loss, ...] = ()
    copied: tuple[Loss, ...] = ()
    key: str | None = None
    authority: Certificate | None = None
    withheld: frozenset[ObjectKey] = frozenset()
    passphrase: str | None = None

    def __repr__(self) -> str:
        """Show no key: secrets never reach logs."""
        return f"Losses(reported={self.reported}, restored={self.restored})"


NOTHING_LOST = Losses()


def irreplaceables(cluster: ChatCluster, observed: Observed) -> frozenset[ObjectKey]:
    """(kind, name) of the children whose content is made once, as far as the spec needs them."""
    names: list[ObjectKey] = [("Secret", chatserver_secret_name(cluster.name))]
    if cluster.database.external_secret_name is None:
        instances = range(1, cluster.database.instances + 1)
        names += [("PersistentVolumeClaim", claim_name(cluster.name, number)) for number in instances]
    backup = cluster.database.backup
    if backup is not None and backup.encryption.secret_name is None:
        names.append(("Secret", backup_key_name(cluster.name)))
    if backup is not None and backup.repository.volume is not None:
        names.append(("PersistentVolumeClaim", backup_claim_name(cluster.name)))
    # An authority of its own is not made where there is a certificate by cert-manager.
    issued = ("Secret", issued_secret_name(cluster.name)) in observed.children
    if cluster.ingress.tls_secret_name is None and not issued:
        names.append(("Secret", ca_secret_name(cluster.name)))
    return frozenset(names)


def find_losses(cluster: ChatCluster, body: Manifest, observed: Observed, held: HeldContent | None) -> Losses:
    """Decide it.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster; its status remembers what it has had.
        observed: Its children, as the API server itself has confirmed.
        held: What the last reconcile had; None after a start of the operator.
    """
    needed, may = irreplaceables(cluster, observed), allowed(body)
    whole = leading_claim(cluster.name, observed)
    lost = [loss for loss in losses(body, observed) if loss.key in needed and loss.uid not in may]
    # Patroni copies the database again while another instance leads.
    copied = [loss for loss in lost if loss.subject == "volume" and whole not in (None, loss.name)]
    lost = [loss for loss in lost if loss not in copied]
    gone = {loss.key: loss for loss in lost if not loss.leaving}
    known = frozenset[tuple[str, str]]() if held is None else gone.keys() - held.withheld
    ca, servers = ("Secret", ca_secret_name(cluster.name)), ("Secret", chatserver_secret_name(cluster.name))
    key = held.key if held is not None and servers in known else None
    pair = held.authority if held is not None and ca in known else None
    backups = ("Secret", backup_key_name(cluster.name))
    passphrase = held.passphrase if held is not None and backups in known else None
    known_again = ((servers, key), (ca, pair), (backups, passphrase))
    back = {place for place, content in known_again if content is not None}
    return Losses(
        reported=tuple(loss for loss in lost if loss.key not in back),
        restored=tuple(loss for loss in lost if loss.key in back),
        copied=tuple(loss for loss in copied if not loss.leaving),
        key=key,
        authority=pair,
        withheld=frozenset(gone.keys() - back),
        passphrase=passphrase,
    )
