"""spec.database.backup and spec.database.restore: where backups go, when they are made, and what a chat begins with."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta, field

from chatoperator.api import cron
from chatoperator.api.fields import (
    BucketName,
    Fields,
    Moment,
    ObjectName,
    RuleBroken,
    Schedule,
    StorageClassName,
    StoreEndpoint,
    StoreName,
    StorePath,
    VolumeSize,
)
from chatoperator.api.pods import Resources

HTTPS_PORT = 443
"""Of an endpoint without a port."""

PORT_MAX = 65_535

LEAP_CYCLE_BEGINS = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""From when on a schedule has to name a time. Fixed, so that a spec is valid whenever it is read."""


class VolumeRepository(Fields, frozen=True):
    """Backups on a volume that only the backup pod mounts. A class name of None is the cluster's default class."""

    size: VolumeSize = "20Gi"
    storage_class_name: StorageClassName | None = None


class S3Repository(Fields, frozen=True):
    """Backups in a bucket of S3, or of what speaks its protocol.

    Attributes:
        path: In the bucket; None for /NAMESPACE/NAME of the ChatCluster.
        uri_style: Whether the bucket is part of the host name or of the path.
        secret_name: Secret with the keys access-key-id and secret-access-key.
        ca_secret_name: Secret whose key ca.crt holds the authority that issued the endpoint's certificate; None for
            one that every system knows.
    """

    bucket: BucketName
    region: StoreName
    endpoint: StoreEndpoint
    secret_name: ObjectName
    path: StorePath | None = None
    uri_style: Literal["Host", "Path"] = "Host"
    ca_secret_name: ObjectName | None = None

    def __post_init__(self) -> None:
        """Check the port.

        Raises:
            RuleBroken: There is no such port.
        """
        check_port(self.endpoint)


class GcsRepository(Fields, frozen=True):
    """Backups in a bucket of Google Cloud Storage; the Secret's key key.json is that of a service account."""

    bucket: BucketName
    secret_name: ObjectName
    path: StorePath | None = None


class AzureRepository(Fields, frozen=True):
    """Backups in a container of Azure Blob Storage; the Secret has the key account-key or sas-token."""

    account: StoreName
    container: BucketName
    secret_name: ObjectName
    path: StorePath | None = None
    endpoint: StoreEndpoint = "blob.core.windows.net"

    def __post_init__(self) -> None:
        """Check the port.

        Raises:
            RuleBroken: There is no such port.
        """
        check_port(self.endpoint)


Store = S3Repository | GcsRepository | AzureRepository


class Stores(Fields, frozen=True):
    """The object stores, of which at most one is given."""

    s3: S3Repository | None = None
    gcs: GcsRepository | None = None
    azure: AzureRepository | None = None

    @property
    def store(self) -> Store | None:
        """The object store; None where there is none."""
        return self.s3 or self.gcs or self.azure

    @property
    def port(self) -> int | None:
        """TCP port of the object store; None where there is none."""
        if self.store is None:
            return None
        return HTTPS_PORT if isinstance(self.store, GcsRepository) else check_port(self.store.endpoint)


class Repository(Stores, frozen=True):
    """Where backups are kept: exactly one of the four."""

    volume: VolumeRepository | None = None

    def __post_init__(self) -> None:
        """Check that there is one, and one only.

        Raises:
            RuleBroken: There is none, or are several.
        """
        check_one(self, ("volume", "s3", "gcs", "azure"))


def check_one(stores: Stores, names: tuple[str, ...]) -> None:
    """Check that exactly one of these fields is set.

    Raises:
        RuleBroken: None is, or several are.
    """
    given = [name for name in names if getattr(stores, name) is not None]
    among = f"{', '.join(names[:-1])} and {names[-1]}"
    if not given:
        raise RuleBroken(names[0], f"a repository needs one of {among}; set it")
    if len(given) > 1:
        raise RuleBroken(given[1], f"a repository is one of {among}; remove it, or {given[0]}")


def check_port(endpoint: str) -> int:
    """The port of an endpoint.

    Raises:
        RuleBroken: There is no such port.
    """
    port = int(endpoint.rpartition(":")[2]) if ":" in endpoint else HTTPS_PORT
    if not 1 <= port <= PORT_MAX:
        raise RuleBroken("endpoint", f"its port must be from 1 to {PORT_MAX}")
    return port


class BackupSchedule(Fields, frozen=True):
    """When backups begin and are verified, as cron expressions in UTC."""

    full: Schedule = "0 1 * * 0"
    incremental: Schedule = "0 1 * * 1-6"
    verify: Schedule = "0 4 * * *"

    def __post_init__(self) -> None:
        """Check that each names times.

        Raises:
            RuleBroken: One does not.
        """
        for name in ("full", "incremental", "verify"):
            check_schedule(name, getattr(self, name))


def check_schedule(field: str, expression: str) -> None:
    """Check that an expression can be read and occurs.

    Raises:
        RuleBroken: It cannot, or does not.
    """
    fault = cron.fault(expression, LEAP_CYCLE_BEGINS)
    if fault is not None:
        remedy = "it must be five fields of cron (minute hour day month weekday), such as 0 1 * * 0"
        raise RuleBroken(field, f"{remedy}: {fault}")


class Retention(Fields, frozen=True):
    """How many full backups are kept, with all that depends on them; older ones and their WAL are deleted."""

    full_backups: Annotated[int, Meta(ge=1, le=1000)] = 2


class Encryption(Fields, frozen=True):
    """The admin's own Secret with the key passphrase; None where the operator makes one."""

    secret_name: ObjectName | None = None


class Drill(Fields, frozen=True):
    """Restore drills: the newest backup is restored into a scratch volume of the backup pod, and checked.

    Attributes:
        schedule: When, as a cron expression in UTC.
        size: Of the scratch volume; None for the size of the database's volume.
        storage_class_name: None is the cluster's default class.
        timeout_seconds: A drill that takes longer has failed; no backup is made while one runs.
    """

    schedule: Schedule = "0 5 1 * *"
    size: VolumeSize | None = None
    storage_class_name: StorageClassName | None = None
    timeout_seconds: Annotated[int, Meta(ge=60, le=86_400)] = 14_400

    def __post_init__(self) -> None:
        """Check that the schedule names times.

        Raises:
            RuleBroken: It does not.
        """
        check_schedule("schedule", self.schedule)


class Backup(Fields, frozen=True):
    """Backups of the operator's own PostgreSQL.

    Attributes:
        archive_timeout_seconds: After this time also a WAL file that is not full is archived: at most so much is lost
            with all volumes of the database.
        suspended: WAL is discarded instead of archived: what is written meanwhile cannot be restored.
        drill: None where no drills are made.
        resources: Of the backup pod.
    """

    repository: Repository
    schedule: BackupSchedule = BackupSchedule()
    retention: Retention = Retention()
    archive_timeout_seconds: Annotated[int, Meta(ge=10, le=3600)] = 60
    suspended: bool = False
    drill: Drill | None = None
    encryption: Encryption = Encryption()
    resources: Resources = Resources()

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Secrets of the user's that the backup pod reads."""
        store = self.repository.store
        authority = store.ca_secret_name if isinstance(store, S3Repository) else None
        names = (store.secret_name if store is not None else None, authority, self.encryption.secret_name)
        return tuple(sorted({name for name in names if name is not None}))


class SourceChat(Fields, frozen=True):
    """Another ChatCluster of the same namespace, whose repository is read."""

    name: ObjectName


class SourceRepository(Stores, frozen=True):
    """An object store that another chat has written to, which may be gone; a volume is reached by its chat alone."""

    encryption: Encryption = Encryption()

    def __post_init__(self) -> None:
        """Check that there is one, and the passphrase.

        Raises:
            RuleBroken: There is no store, or are several, or no passphrase is named.
        """
        check_one(self, ("s3", "gcs", "azure"))
        if self.encryption.secret_name is None:
            remedy = "name the Secret with the key passphrase, a copy of Secret NAME-backup-key of that chat"
            raise RuleBroken("encryption.secretName", remedy)


class Source(Fields, frozen=True):
    """What is restored: exactly one of the two."""

    chat_cluster: SourceChat | None = None
    repository: SourceRepository | None = None

    def __post_init__(self) -> None:
        """Check that there is one, and one only.

        Raises:
            RuleBroken: There is none, or are two.
        """
        if (self.chat_cluster is None) == (self.repository is None):
            raise RuleBroken("chatCluster", "a source is either chatCluster or repository; set exactly one of them")


class Restore(Fields, frozen=True):
    """What a new ChatCluster begins with.

    Attributes:
        source: The field `from`.
        target_time: The last moment that is restored; None for the latest that was archived.
    """

    source: Source = field(name="from")
    target_time: Moment | None = None

    def __post_init__(self) -> None:
        """Check that the calendar has the time.

        Raises:
            RuleBroken: It has not.
        """
        if self.target_time is None:
            return
        try:
            dt.datetime.fromisoformat(self.target_time)
        except ValueError:
            raise RuleBroken("targetTime", "there is no such time; write it like 2026-11-30T10:15:00Z") from None
