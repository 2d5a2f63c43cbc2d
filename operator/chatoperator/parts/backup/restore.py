"""What a new database begins with, and what one returns to: containers that restore it before PostgreSQL starts. Pure.

They end at once where that is done. They stay in the template, since removing one would restart PostgreSQL.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chatoperator.metadata import COMPONENT_LABEL, backup_tls_name, metadata, part_name, restore_name, selector
from chatoperator.parts.backup.access import (
    AUTHORITY_KEY,
    CERTIFICATE_KEY,
    HOST_FILE,
    PGDATA,
    PRIVATE_KEY_KEY,
    SOCKET_FOLDER,
    STANZA,
)
from chatoperator.parts.backup.configuration import LOCAL, PROCESSES, remote, repository_options, written
from chatoperator.parts.backup.stores import environment_of_restore, store_mounts, store_volumes
from chatoperator.parts.pod import container_security, secret_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.backup import Restore
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

FOLDER, TLS_FOLDER = "/etc/chatcluster/restore", "/etc/chatcluster/restore-tls"

PLAN_FILE = "restore.json"

STATE_KEY = "restore"
"""Of PostgreSQL's ConfigMap: `ID pending` or `ID done`. A restore in place that is done is never made again, whatever
becomes of the data."""

VOLUME, TLS_VOLUME = "restore", "restore-tls"


def config_map(cluster: ChatCluster, spec: Restore, *, begin: bool) -> Manifest:
    """Where the source is, and whether the database may begin with it.

    Args:
        cluster: The ChatCluster.
        spec: Its database.restore.
        begin: This ChatCluster has never had a database. Otherwise nothing old takes the place of a volume that is
            lost.
    """
    everywhere = {
        **LOCAL,
        "process-max": str(PROCESSES),
        **_source(cluster, spec),
    }
    stanza = {"pg1-path": f"{PGDATA}.new", "pg1-socket-path": SOCKET_FOLDER}
    plan = {"target_time": spec.target_time or "", "begin": begin}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, restore_name(cluster.name), "postgres"),
        "data": {
            HOST_FILE: written({"global": everywhere, STANZA: stanza}),
            PLAN_FILE: json.dumps(plan, indent=2, sort_keys=True) + "\n",
        },
    }


def _source(cluster: ChatCluster, spec: Restore) -> dict[str, str]:
    repository, chat = spec.source.repository, spec.source.chat_cluster
    if repository is not None:
        return {"repo1-cipher-type": "aes-256-cbc", **repository_options(cluster, repository, None)}
    host = f"{part_name(chat.name if chat else '', 'backup')}.{cluster.namespace}.svc"
    return remote("repo1", host, HOST_FILE, TLS_FOLDER)


def container(spec: Restore, database: Manifest) -> Manifest:
    """The init container.

    Args:
        spec: The database's restore.
        database: PostgreSQL's container, whose image, resources and mounts it has: recovery is PostgreSQL's own.
    """
    repository, chat = spec.source.repository, spec.source.chat_cluster
    key_name = repository.encryption.secret_name or "" if repository is not None else ""
    secrets = [] if repository is None else environment_of_restore(repository, key_name)
    own = [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}]
    if chat is not None:
        own.append({"name": TLS_VOLUME, "mountPath": TLS_FOLDER, "readOnly": True})
    return {
        "name": "restore",
        "image": database["image"],
        "imagePullPolicy": database["imagePullPolicy"],
        "args": ["restore"],
        "env": [*database["env"], *secrets],
        "resources": database["resources"],
        "securityContext": container_security(),
        "volumeMounts": [
            *database["volumeMounts"],
            *own,
            *(store_mounts(repository) if repository is not None else []),
        ],
    }


def in_place(variables: Mapping[str, str], database: Manifest) -> Manifest:
    """The init container of a restore in place. It reads the chat's own repository, as PostgreSQL's container can.

    Args:
        variables: What it is to do.
        database: PostgreSQL's container, as of `container`.
    """
    return {
        "name": "restore-in-place",
        "image": database["image"],
        "imagePullPolicy": database["imagePullPolicy"],
        "args": ["restore-in-place"],
        "env": [*database["env"], *({"name": name, "value": value} for name, value in variables.items())],
        "resources": database["resources"],
        "securityContext": container_security(),
        "volumeMounts": [*database["volumeMounts"]],
    }


def volumes(cluster: ChatCluster, spec: Restore) -> list[Manifest]:
    """What it mounts beside PostgreSQL's own; of another chat the certificate by which that lets its own pods in."""
    repository, chat = spec.source.repository, spec.source.chat_cluster
    made: list[Manifest] = [{"name": VOLUME, "configMap": {"name": restore_name(cluster.name)}}]
    if chat is not None:
        keys = {key: key for key in (AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY)}
        made.append(secret_volume(TLS_VOLUME, backup_tls_name(chat.name), keys))
    return [*made, *(store_volumes(repository) if repository is not None else [])]


def databases() -> dict[str, str]:
    """Labels of the pods of the databases of all chats of a namespace, of which any may be restored from this one."""
    chosen = selector("", "postgres")
    return {name: chosen[name] for name in ("app.kubernetes.io/name", COMPONENT_LABEL)}
