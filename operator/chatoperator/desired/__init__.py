"""What one ChatCluster should consist of: `decide` makes the record, one pure step a file; `manifests` renders it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatoperator.desired import backup as backup_step
from chatoperator.desired import bus as bus_step
from chatoperator.desired import credentials as credentials_step
from chatoperator.desired import database as database_step
from chatoperator.desired import migration as migration_step
from chatoperator.desired import release as release_step
from chatoperator.desired import replication as replication_step
from chatoperator.desired import restoring as restoring_step
from chatoperator.kube.kinds import CERTIFICATE
from chatoperator.parts.database.configuration import keeps_database
from chatoperator.parts.ingress.address import desired_port
from chatoperator.parts.ingress.tls.serving import serving
from chatoperator.parts.losses import HeldContent, find_losses
from chatoperator.parts.needs import unbegun
from chatoperator.parts.probe.tokens import probe_tokens

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection

    from chatoperator.api.spec import ChatCluster
    from chatoperator.desired.backup import DesiredBackup
    from chatoperator.desired.bus import DesiredBus
    from chatoperator.desired.database import DesiredDatabase
    from chatoperator.desired.migration import SchemaMigration
    from chatoperator.desired.release import Release
    from chatoperator.desired.replication import Replication
    from chatoperator.desired.restoration import Restoration
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.parts.credentials import Credentials
    from chatoperator.parts.ingress.tls.serving import Serving
    from chatoperator.parts.losses import Losses
    from chatoperator.parts.probe.tokens import ProbeTokens
    from chatoperator.settings import Settings


@dataclass(frozen=True)
class Desired:
    """What the spec and the operator's decisions require of one ChatCluster.

    A change of it is a change of the manifests, or of what is reported; it holds nothing that moves all the time, so
    that two reconciles that decide the same are equal and the second one renders nothing.

    Attributes:
        cluster: The parsed spec.
        settings: The operator's own.
        served: Kinds that not every cluster has and this one serves: cert-manager's, the Gateway API's.
        release: The release that runs, with its images.
        losses: Irreplaceable objects that are lost, or about to be.
        credentials: Passwords and keys.
        database: The database that the chatservers use.
        replication: The instances of the database; None where there is one, without Patroni.
        bus: How they send each other hints.
        migration: The migration that the desired image needs, and what the chatservers may run.
        serving: The certificate that HAProxy serves.
        https_port: Port that clients use for HTTPS; None while Kubernetes has not given out a node port.
        replicas: Number of chatservers.
        probe: Tokens of the probe; None where there is none.
        backup: The backups of the database; None where there are none.
        restoration: The restore that is in progress, or was the last; None where there was none.
        leftovers: ConfigMaps of Patroni's whose state is removed, because it runs no longer.
        withheld: (kind, name) of what is not made: somebody else has the name, or its content is lost.
    """

    cluster: ChatCluster
    settings: Settings
    served: frozenset[str]
    release: Release
    losses: Losses
    credentials: Credentials
    database: DesiredDatabase
    bus: DesiredBus
    migration: SchemaMigration
    serving: Serving
    https_port: int | None
    replicas: int
    replication: Replication | None = None
    probe: ProbeTokens | None = None
    backup: DesiredBackup | None = None
    restoration: Restoration | None = None
    leftovers: tuple[str, ...] = ()
    withheld: frozenset[ObjectKey] = frozenset()

    @property
    def rotating(self) -> bool:
        """Whether the passwords of the operator's own PostgreSQL are being rotated."""
        return self.database.revision is not None and self.credentials.logins.stage != "settled"

    @property
    def waiting(self) -> bool:
        """Whether something is in progress that no event reports: a rotation, a check of the parameters, a restore."""
        restores = self.restoration is not None and self.restoration.in_place and self.restoration.under_way
        return not self.database.parameters_checked or self.rotating or restores

    @property
    def holds_servers(self) -> bool:
        """Whether no chatserver may run, because the database is being replaced by an earlier state."""
        return self.restoration is not None and self.restoration.holds_servers

    @property
    def held(self) -> HeldContent:
        """The irreplaceable content, for the case that an object with it is lost before the next reconcile."""
        own = self.serving.self_signed
        passphrase = self.backup.credentials.passphrase if self.backup is not None else None
        authority = own.authority if own else None
        return HeldContent(self.credentials.chatserver_key, authority, self.withheld, passphrase or None)

    def withholding(self, taken: Collection[ObjectKey], observed: Observed) -> Desired:
        """The same without what would be written into somebody else's object, or made on one.

        Args:
            taken: (kind, name) of the others' objects.
            observed: The children.
        """
        if not taken:
            return self
        senders = unbegun(self.cluster.name, taken, observed.children)
        name = self.migration.job_name
        jobs = {("Job", name)} if name and ("Job", "") in senders else set()
        return replace(self, withheld=self.withheld | frozenset(taken) | senders | frozenset(jobs))


def decide(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    *,
    settings: Settings,
    now: dt.datetime,
    held: HeldContent | None,
    replicas: int,
    new_secret: Callable[[], str],
) -> Desired:
    """Decide everything that one ChatCluster should consist of.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster; its status pins what runs.
        observed: Its children, the user's Secrets, and what the running parts report.
        settings: The operator's own.
        now: The time with its zone.
        held: Irreplaceable content that the last reconcile had; None after a start of the operator.
        replicas: Number of chatservers.
        new_secret: Makes a password or key.

    Raises:
        SpecError: The spec cannot work on what there is; the error names the field and the remedy.
    """
    release = release_step.decide(cluster, body, settings)
    losses = find_losses(cluster, body, observed, held)
    served = serving(
        cluster,
        observed,
        observed.user_secrets,
        settings,
        now,
        losses,
        certificates_known=CERTIFICATE in observed.served,
    )
    credentials = credentials_step.decide(
        cluster, body, observed, losses, unix_time=int(now.timestamp()), new_secret=new_secret
    )
    replicated = replication_step.is_replicated(cluster, observed)
    database = database_step.decide(cluster, observed, replicated=replicated)
    restoration = restoring_step.decide(cluster, body, observed, now=now)
    if restoration is not None and restoration.identity and database.identity is not None:
        database = replace(database, identity=f"{database.identity}:{restoration.identity}")
    database = replace(database, begins=not database_step.had_database(cluster.name, body, observed))
    tokens = probe_tokens(cluster, observed, new_secret)
    migration = migration_step.decide(
        cluster,
        observed,
        image=release.images.chatserver,
        pull_policy=settings.image_pull_policy,
        database_identity=database.identity,
        probe_hashes=tokens.hashes if tokens is not None else (),
        suspended=restoration is not None and restoration.holds_servers and not restoration.identity,
    )
    restoration = restoring_step.migrated(restoration, done=migration.done)
    kept = not migration.done and keeps_database(cluster, observed, observed.agent, release.images.postgres)
    replication = None
    if replicated:
        replication = replication_step.decide(
            cluster,
            body,
            observed,
            config_digest=database.config_digest or "",
            image=release.images.postgres,
            pull_policy=settings.image_pull_policy,
            held=kept,
        )
    elif kept or (restoration is not None and restoration.keeps_database):
        database = replace(database, config_digest=None)
    return Desired(
        cluster=cluster,
        settings=settings,
        served=observed.served,
        release=release,
        losses=losses,
        credentials=credentials,
        database=database,
        bus=bus_step.decide(cluster, observed, cluster_domain=settings.cluster_domain, now=now, new_secret=new_secret),
        migration=migration,
        serving=served,
        https_port=desired_port(cluster, observed),
        replicas=replicas,
        replication=replication,
        probe=tokens,
        backup=backup_step.decide(
            cluster,
            body,
            observed,
            losses,
            restoration,
            salt=credentials.chatserver_key,
            now=now,
            new_secret=new_secret,
        ),
        restoration=restoration,
        leftovers=() if replicated else replication_step.leftovers(cluster, observed),
        withheld=losses.withheld,
    )
