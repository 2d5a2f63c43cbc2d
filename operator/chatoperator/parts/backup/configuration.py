"""pgBackRest's configuration, and the plan of the backup pod's agent. Pure.

Options are those of pgBackRest 2.55 (https://pgbackrest.org/configuration.html). Nothing here is secret: passphrases
and keys of object stores reach pgBackRest by its environment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.api.backup import AzureRepository, GcsRepository, S3Repository
from chatoperator.metadata import backed_up_name, metadata, part_name, service_host
from chatoperator.parts.backup.access import (
    AUTHORITY_KEY,
    CERTIFICATE_KEY,
    CLIENT_FILE,
    CONFIG_FOLDER,
    HOST_FILE,
    PGDATA,
    PLAN_FILE,
    PORT,
    PRIVATE_KEY_KEY,
    SOCKET_FOLDER,
    STANZA,
    TLS_FOLDER,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatoperator.api.backup import Backup, Stores
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

REPOSITORY_FOLDER = "/repository"

STORE_FOLDER, STORE_AUTHORITY_FOLDER = "/etc/chatcluster/backup-store", "/etc/chatcluster/backup-store-ca"
GCS_KEY = "key.json"

PROCESSES = 2
"""That copy files at once: one compresses while the other waits for the network."""

ARCHIVE_SECONDS = 60
"""For one file of WAL: PostgreSQL waits for the command even when it shuts down."""

CONNECT_SECONDS = 10
"""For an answer of the backup pod: pgBackRest's three tries have to fit into ARCHIVE_SECONDS."""

LOCAL = {
    "lock-path": "/tmp/pgbackrest",  # noqa: S108 - a volume of this pod alone
    "spool-path": "/tmp/pgbackrest",  # noqa: S108 - the package's own folder belongs to its own user
    "log-level-console": "info",
    "log-level-file": "off",
}
"""Where pgBackRest writes in any container: its own folders belong to its package's user."""

COMMON = {
    **LOCAL,
    "compress-type": "zst",
    "process-max": str(PROCESSES),
    "archive-timeout": str(ARCHIVE_SECONDS),
    # Also for the backup pod: it tries a store nine times, and what waits for an unavailable one would pile up.
    "io-timeout": str(CONNECT_SECONDS),
    "tls-server-address": "*",
    "tls-server-port": str(PORT),
    "tls-server-ca-file": f"{TLS_FOLDER}/{AUTHORITY_KEY}",
    "tls-server-cert-file": f"{TLS_FOLDER}/{CERTIFICATE_KEY}",
    "tls-server-key-file": f"{TLS_FOLDER}/{PRIVATE_KEY_KEY}",
}


@dataclass(frozen=True)
class Requests:
    """Values of the annotations by which an admin requests a backup and a restore drill; None where there is none."""

    backup: str | None = None
    drill: str | None = None


def config_map(
    cluster: ChatCluster, spec: Backup, *, instances: Sequence[int], key_type: str | None, requests: Requests
) -> Manifest:
    """The configuration of both sides, and the plan.

    Args:
        cluster: The ChatCluster.
        spec: Its database.backup.
        instances: Numbers of the instances of the database.
        key_type: Of Azure's key, `shared` or `sas`; None where it is not known, or not Azure's.
        requests: What an admin requests now.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, part_name(cluster.name, "backup"), "backup"),
        "data": {
            HOST_FILE: written({"global": _host(cluster, spec, key_type), STANZA: _instances(cluster, instances)}),
            CLIENT_FILE: written({"global": _client(cluster), STANZA: _own_database(1)}),
            PLAN_FILE: json.dumps(plan(spec, requests), indent=2, sort_keys=True) + "\n",
        },
    }


def plan(spec: Backup, requests: Requests) -> Manifest:
    """What the agent of the backup pod does, and when; it re-reads it whenever it changes."""
    made = {
        "schedule": {
            "full": spec.schedule.full,
            "incremental": spec.schedule.incremental,
            "verify": spec.schedule.verify,
        },
        "retention": {"fullBackups": spec.retention.full_backups},
        "archiveTimeoutSeconds": spec.archive_timeout_seconds,
        "suspended": spec.suspended,
        "request": requests.backup,
    }
    if spec.drill is not None:
        made["drill"] = {
            "schedule": spec.drill.schedule,
            "timeoutSeconds": spec.drill.timeout_seconds,
            "request": requests.drill,
        }
    return made


def written(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The file with these sections and options."""
    return "\n".join(
        "".join([f"[{name}]\n", *(f"{option}={value}\n" for option, value in options.items())])
        for name, options in sections.items()
    )


def _host(cluster: ChatCluster, spec: Backup, key_type: str | None) -> dict[str, str]:
    made = {
        **COMMON,
        "tls-server-auth": f"{cluster.name}={STANZA}",
        # A checkpoint at once instead of within a quarter of an hour, which a backup would wait for.
        "start-fast": "y",
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-retention-full": str(spec.retention.full_backups),
        # Small files in one object, and of large ones only the blocks that changed.
        "repo1-bundle": "y",
        "repo1-block": "y",
        **repository_options(cluster, spec.repository, key_type),
    }
    if cluster.database.instances > 1:
        made["backup-standby"] = "prefer"
    return made


def repository_options(cluster: ChatCluster, repository: Stores, key_type: str | None) -> dict[str, str]:
    """Options that say where the repository is."""
    store = repository.store
    if store is None:
        return {"repo1-type": "posix", "repo1-path": REPOSITORY_FOLDER}
    path = {"repo1-path": store.path or f"/{cluster.namespace}/{cluster.name}"}
    match store:
        case S3Repository():
            authority = {"repo1-storage-ca-file": f"{STORE_AUTHORITY_FOLDER}/{AUTHORITY_KEY}"}
            return {
                "repo1-type": "s3",
                "repo1-s3-bucket": store.bucket,
                "repo1-s3-endpoint": store.endpoint,
                "repo1-s3-region": store.region,
                "repo1-s3-uri-style": store.uri_style.lower(),
                **(authority if store.ca_secret_name is not None else {}),
                **path,
            }
        case GcsRepository():
            return {
                "repo1-type": "gcs",
                "repo1-gcs-bucket": store.bucket,
                "repo1-gcs-key": f"{STORE_FOLDER}/{GCS_KEY}",
                **path,
            }
        case AzureRepository():
            return {
                "repo1-type": "azure",
                "repo1-azure-account": store.account,
                "repo1-azure-container": store.container,
                "repo1-azure-endpoint": store.endpoint,
                "repo1-azure-key-type": key_type or "shared",
                **path,
            }


def _client(cluster: ChatCluster) -> dict[str, str]:
    return {
        **COMMON,
        "tls-server-auth": f"{cluster.name}={STANZA}",
        **remote("repo1", service_host(cluster, "backup"), HOST_FILE),
    }


def _own_database(number: int) -> dict[str, str]:
    return {
        f"pg{number}-path": PGDATA,
        f"pg{number}-socket-path": SOCKET_FOLDER,
        f"pg{number}-user": "postgres",
        f"pg{number}-database": "postgres",
    }


def _instances(cluster: ChatCluster, instances: Sequence[int]) -> dict[str, str]:
    """All instances; pgBackRest itself finds the one that leads."""
    made: dict[str, str] = {}
    for place, number in enumerate(instances, 1):
        made |= remote(f"pg{place}", instance_host(cluster, number), CLIENT_FILE)
        made |= _own_database(place)
    return made


def instance_host(cluster: ChatCluster, instance: int) -> str:
    """DNS name of one instance's server of files."""
    return f"{backed_up_name(cluster.name, instance)}.{cluster.namespace}.svc"


def remote(prefix: str, host: str, config_file: str, tls_folder: str = TLS_FOLDER) -> dict[str, str]:
    """Options of a host that runs `pgbackrest server`, which reads its own configuration.

    Args:
        prefix: Of the options, such as `repo1`.
        host: Its name.
        config_file: That it reads.
        tls_folder: Where the certificate is by which it lets a pod in.
    """
    return {
        f"{prefix}-host": host,
        f"{prefix}-host-type": "tls",
        f"{prefix}-host-port": str(PORT),
        f"{prefix}-host-config": f"{CONFIG_FOLDER}/{config_file}",
        f"{prefix}-host-ca-file": f"{tls_folder}/{AUTHORITY_KEY}",
        f"{prefix}-host-cert-file": f"{tls_folder}/{CERTIFICATE_KEY}",
        f"{prefix}-host-key-file": f"{tls_folder}/{PRIVATE_KEY_KEY}",
    }
