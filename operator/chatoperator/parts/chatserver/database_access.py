"""What chatservers and migrations need to reach the database: the files they read, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import chatserver_secret_name, database_secret_name
from chatoperator.parts.pod import secret_volume

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

DSN_KEY = "dsn"
"""Key of the operator's own Secret, and name of the mounted file."""

AUTHORITY_KEY = "ca.crt"
AUTHORITY_FOLDER = "/etc/chatcluster/database-ca"

ROOT_CERTIFICATE_VARIABLE = "PGSSLROOTCERT"
SSL_MODE_VARIABLE = "PGSSLMODE"
"""Read by the driver at each new connection; what the URL says goes before."""


def environment(cluster: ChatCluster) -> list[Manifest]:
    """Variables of every container that reaches the database."""
    made = {
        "CHAT_DATABASE_DSN_FILE": f"/etc/chatcluster/database/{DSN_KEY}",
        "CHAT_SECRET_KEY_FILE": "/etc/chatcluster/chatserver/secret-key",
    }
    if _authority(cluster) is not None:
        made |= {SSL_MODE_VARIABLE: "verify-full", ROOT_CERTIFICATE_VARIABLE: f"{AUTHORITY_FOLDER}/{AUTHORITY_KEY}"}
    return [{"name": name, "value": value} for name, value in made.items()]


def mounts(cluster: ChatCluster) -> list[Manifest]:
    """Their mounts, and the one of `/tmp`."""
    made: list[Manifest] = [
        {"name": "database", "mountPath": "/etc/chatcluster/database", "readOnly": True},
        {"name": "chatserver", "mountPath": "/etc/chatcluster/chatserver", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
    ]
    if _authority(cluster) is not None:
        made.append({"name": "database-ca", "mountPath": AUTHORITY_FOLDER, "readOnly": True})
    return made


def volumes(cluster: ChatCluster) -> list[Manifest]:
    """Their volumes. Of each Secret only the key that is needed: a CA's Secret may hold its private key."""
    external = cluster.database.external
    if external is None:
        dsn = secret_volume("database", database_secret_name(cluster.name), {DSN_KEY: DSN_KEY})
    else:
        dsn = secret_volume("database", external.secret_name, {external.secret_key: DSN_KEY})
    made = [dsn, secret_volume("chatserver", chatserver_secret_name(cluster.name))]
    authority = _authority(cluster)
    if authority is not None:
        made.append(secret_volume("database-ca", authority, {AUTHORITY_KEY: AUTHORITY_KEY}))
    return made


def _authority(cluster: ChatCluster) -> str | None:
    return cluster.database.external.ca_secret_name if cluster.database.external is not None else None
