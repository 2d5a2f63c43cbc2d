"""spec.database: PostgreSQL, or one that the user runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from chatoperator.api.backup import Backup, Restore
from chatoperator.api.fields import Fields, Image, ObjectName, RuleBroken, SecretKey, StorageClassName, VolumeSize
from chatoperator.api.pods import PodTemplate, Resources

MAX_CONNECTIONS_DEFAULT = 300
"""PostgreSQL's max_connections unless database.parameters sets it: enough for 10 servers with full pools. Fixed,
because following the number of servers would restart the database whenever the chat grows."""

RESERVED_CONNECTIONS = 20
"""PostgreSQL connections that no chatserver may use: migrations, superusers, monitoring."""

POSTGRES_OWNED_PARAMETERS = frozenset(
    {
        "listen_addresses",
        "port",
        "data_directory",
        "config_file",
        "hba_file",
        "ident_file",
        "external_pid_file",
        "unix_socket_directories",
        "include",
        "include_dir",
        "include_if_exists",
        "archive_command",
        "archive_library",
        "restore_command",
        "ssl_passphrase_command",
        "password_encryption",
        # Without them what was acknowledged can be lost.
        "synchronous_commit",
        "fsync",
        "full_page_writes",
    }
)
"""Parameters that would break what the operator or the chat relies on, or run commands in the database's container."""

_PARAMETER = re.compile(r"[a-z][a-z0-9_.]*")


class Storage(Fields, frozen=True):
    """The volume. A class name of None is the cluster's default class, an empty one none."""

    size: VolumeSize = "10Gi"
    storage_class_name: StorageClassName | None = None


class ExternalDatabase(Fields, frozen=True):
    """A PostgreSQL that the user runs.

    Attributes:
        secret_name: Secret with its URL.
        secret_key: The URL's key in it.
        ca_secret_name: Secret whose key ca.crt holds the authority that issued the server's certificate; None where the
            certificate is not checked.
        connection_budget: Connections that all chatservers together may open.
    """

    secret_name: ObjectName
    secret_key: SecretKey = "dsn"  # noqa: S105 - the name of a key
    ca_secret_name: ObjectName | None = None
    connection_budget: Annotated[int, Meta(ge=4, le=10_000)] = 80


REPLICATION_OWNED_PARAMETERS = frozenset(
    {
        "cluster_name",
        "hot_standby",
        "primary_conninfo",
        "primary_slot_name",
        "promote_trigger_file",
        "recovery_min_apply_delay",
        "synchronous_standby_names",
        "wal_log_hints",
    }
)
"""Parameters that Patroni sets where there are several instances; those that begin with recovery_target, too."""

STRICT_FROM_INSTANCES = 3
"""With two, the replacement of the replica would stop all writes."""

BACKUP_OWNED_PARAMETERS = frozenset({"archive_mode", "archive_timeout", "archive_cleanup_command", "wal_level"})
"""Parameters that database.backup sets, or relies on the default of."""

LOGICAL = ("wal_level", "logical")
"""More WAL than archiving needs: by it a database is moved to another server (docs/operations/major-upgrade.md)."""


class Database(Fields, frozen=True):
    """PostgreSQL. `external` is None where the operator runs it.

    Attributes:
        instances: PostgreSQL servers, of which one takes writes and the others have a copy.
        stated_strict: The field `strict`; None where it is not set.
        backup: None where there are no backups.
        restore: Where the first content of the database comes from; None for an empty one.
    """

    instances: Literal[1, 2, 3, 5] = 1
    stated_strict: bool | None = field(default=None, name="strict")
    image: Image | None = None
    storage: Storage = Storage()
    resources: Resources = Resources()
    pod_template: PodTemplate = PodTemplate()
    parameters: Annotated[Mapping[str, Annotated[str, Meta(max_length=256)]], Meta(max_length=64)] = {}
    external: ExternalDatabase | None = None
    backup: Backup | None = None
    restore: Restore | None = None

    def __post_init__(self) -> None:
        """Check the parameters, each of which becomes a line of postgresql.conf.

        Raises:
            RuleBroken: One is the operator's, or cannot be written.
        """
        for name, value in self.parameters.items():
            where = f"parameters.{name}"
            if name in POSTGRES_OWNED_PARAMETERS:
                raise RuleBroken(where, "the operator sets it itself; remove it")
            if self.instances > 1 and (name in REPLICATION_OWNED_PARAMETERS or name.startswith("recovery_target")):
                raise RuleBroken(where, "with several instances Patroni sets it; remove it")
            if self.backup is not None and name in BACKUP_OWNED_PARAMETERS and (name, value) != LOGICAL:
                raise RuleBroken(where, "database.backup relies on the operator's value; remove one of the two")
            if not _PARAMETER.fullmatch(name):
                remedy = "names of PostgreSQL parameters are lower-case letters, digits, '_' and '.', such as work_mem"
                raise RuleBroken(where, remedy)
            if "\n" in value or "\r" in value:
                raise RuleBroken(where, "it must be one line")
        if not self._max_connections.isdecimal():
            raise RuleBroken("parameters.max_connections", "it must be a whole number, such as 300")

        if self.external is not None and self.instances > 1:
            raise RuleBroken("instances", "the database is external; remove instances or external")
        if self.external is not None and (self.backup is not None or self.restore is not None):
            field = "backup" if self.backup is not None else "restore"
            raise RuleBroken(
                field, f"the database is external, and who runs it backs it up; remove {field} or external"
            )

    @property
    def strict(self) -> bool:
        """Whether a write waits until a second instance has it, however long that takes."""
        if self.instances == 1:
            return False
        return self.stated_strict if self.stated_strict is not None else self.instances >= STRICT_FROM_INSTANCES

    @property
    def _max_connections(self) -> str:
        return self.parameters.get("max_connections", str(MAX_CONNECTIONS_DEFAULT))

    @property
    def connection_budget(self) -> int:
        """Connections that all chatservers together may open."""
        if self.external is not None:
            return self.external.connection_budget
        return int(self._max_connections) - RESERVED_CONNECTIONS

    @property
    def external_secret_name(self) -> str | None:
        """The Secret with the URL of a database that the user runs; None where the operator runs it."""
        return self.external.secret_name if self.external is not None else None
