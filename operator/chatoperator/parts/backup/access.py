"""What PostgreSQL's pods have for backups: parameters, mounts, and the server that hands out their files. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import backup_tls_name, part_name
from chatoperator.parts.pod import container_security, secret_volume

if TYPE_CHECKING:
    from chatoperator.api.backup import Backup
    from chatoperator.metadata import Manifest

PORT = 8432
"""Of `pgbackrest server`, on the backup pod and beside each PostgreSQL: TLS, with certificates of both sides."""

PORT_NAME = "backup"

STANZA = "chat"
"""pgBackRest's name for the database."""

DATA_FOLDER, PGDATA, SOCKET_FOLDER = (
    "/var/lib/postgresql/data",
    "/var/lib/postgresql/data/pgdata",
    "/var/run/postgresql",
)

CONFIG_FOLDER, TLS_FOLDER = "/etc/chatcluster/backup", "/etc/chatcluster/backup-tls"
CLIENT_FILE, HOST_FILE, PLAN_FILE = "client.conf", "pgbackrest.conf", "backup.json"
"""Keys of the ConfigMap, and names of the mounted files: of PostgreSQL's pods, of the backup pod, of its agent."""

AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY = "ca.crt", "tls.crt", "tls.key"

CONFIG_VOLUME, TLS_VOLUME = "backup", "backup-tls"

ARCHIVE_COMMAND, DISCARD_COMMAND = "/opt/postgres/pgbackrest-archive %p", "/bin/true"

SERVER_REQUESTS = {"cpu": "5m", "memory": "16Mi"}
SERVER_LIMITS = {"cpu": "1", "memory": "256Mi"}
"""Idle but for backups, in which each of its two processes compresses one file at a time."""

LIVENESS_FAILURES = 6


def parameters(spec: Backup | None) -> dict[str, str]:
    """Lines of postgresql.conf: only a restart turns archiving on and off, and a reload does all else.

    Args:
        spec: The database's backup; None where there are no backups.
    """
    if spec is None:
        return {}
    return {
        "archive_mode": "on",
        "archive_command": DISCARD_COMMAND if spec.suspended else ARCHIVE_COMMAND,
        "archive_timeout": str(spec.archive_timeout_seconds),
    }


def mounts() -> list[Manifest]:
    """Where the configuration and the certificate are, in each container that runs pgBackRest."""
    return [
        {"name": CONFIG_VOLUME, "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": TLS_VOLUME, "mountPath": TLS_FOLDER, "readOnly": True},
    ]


def volumes(cluster_name: str, *files: str) -> list[Manifest]:
    """Their volumes. Of the Secret without the authority's key.

    Args:
        cluster_name: Of the ChatCluster.
        files: Keys of the ConfigMap.
    """
    items = [{"key": name, "path": name} for name in files]
    keys = {key: key for key in (AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY)}
    return [
        {"name": CONFIG_VOLUME, "configMap": {"name": part_name(cluster_name, "backup"), "items": items}},
        secret_volume(TLS_VOLUME, backup_tls_name(cluster_name), keys),
    ]


def server_container(*, image: str, pull_policy: str) -> Manifest:
    """Beside PostgreSQL: hands its files out to the backup pod, and writes none."""
    return {
        "name": "backup-server",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["backup-server"],
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": "PGDATA", "value": PGDATA}],
        "resources": {"requests": dict(SERVER_REQUESTS), "limits": dict(SERVER_LIMITS)},
        "securityContext": container_security(),
        # Without a probe of readiness: a database whose files cannot be backed up serves all the same.
        "livenessProbe": {
            "tcpSocket": {"port": PORT_NAME},
            "periodSeconds": 10,
            "failureThreshold": LIVENESS_FAILURES,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_FOLDER, "readOnly": True},
            {"name": "run", "mountPath": SOCKET_FOLDER},
            *mounts(),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
