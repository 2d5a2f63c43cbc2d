"""Decides patroni.yml, the part of Patroni's configuration that is an instance's own. Pure.

What all instances share is in the annotation `config` of Patroni's ConfigMap, which the operator owns. There is no
section `bootstrap`: Patroni never begins a database (docs/decisions/0072).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postgresagent import roles
from postgresagent.labels import LEADERS_LABEL, REPLICAS_LABEL, ROLE_LABEL
from postgresagent.takeover import callback

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT, DATABASE_PORT = 8008, 5432
"""Of Patroni's REST API, which the other members and the agent use, and of PostgreSQL."""

IMAGE, SOCKETS = "/opt/postgres", "/var/run/postgresql"


KEPT_PART = 4
"""Of the volume, one in so many parts is the most WAL that the leader keeps for a replica that does not follow: hours
of much traffic. Beyond, the replica has to be copied again, and users still write."""


def settings(
    environment: Mapping[str, str], folder: str, passwords: Mapping[str, str], *, volume_bytes: int
) -> dict[str, Any]:
    """Return patroni.yml as an object.

    Args:
        environment: Of the container, whose PATRONI_* Patroni itself reads, too.
        folder: Where Patroni writes its files, outside of PGDATA.
        passwords: By roles.OF_INSTANCES: of the role with which instances replicate, and of Patroni's REST API, which
            requires one for whatever changes something.
        volume_bytes: Size of the volume that PGDATA is on.
    """
    address = environment["POD_IP"]
    listen, reachable = environment.get("LISTEN_ADDRESS", "*"), f"[{address}]" if ":" in address else address
    login = {"username": roles.REPLICATION, "password": passwords[roles.REPLICATION]}
    return {
        "scope": environment["PATRONI_SCOPE"],
        "name": environment["PATRONI_NAME"],
        "log": {
            "type": "json",
            "format": [{"asctime": "timestamp"}, {"levelname": "level"}, {"message": "event"}],
            "dateformat": "%Y-%m-%dT%H:%M:%SZ",
            "static_fields": {"logger": "patroni"},
        },
        "kubernetes": {
            "use_endpoints": False,
            "role_label": ROLE_LABEL,
            "leader_label_value": LEADERS_LABEL,
            "follower_label_value": REPLICAS_LABEL,
            "standby_leader_label_value": LEADERS_LABEL,
        },
        "restapi": {
            "listen": f"{listen}:{PORT}",
            "connect_address": f"{reachable}:{PORT}",
            "authentication": {"username": roles.REST, "password": passwords[roles.REST]},
        },
        "postgresql": {
            "listen": f"{listen}:{DATABASE_PORT}",
            "connect_address": f"{reachable}:{DATABASE_PORT}",
            "data_dir": environment["PGDATA"],
            # So that what Patroni writes for PostgreSQL, synchronous_standby_names above all, is not in PGDATA.
            "config_dir": folder,
            "custom_conf": f"{IMAGE}/postgresql.conf",
            "pgpass": f"{folder}/pgpass",
            "use_unix_socket": True,
            "create_replica_methods": ["clone"],
            "clone": {"command": f"{IMAGE}/clone"},
            "callbacks": {"on_role_change": callback(environment)},
            "authentication": {"superuser": {"username": "postgres"}, "replication": login, "rewind": login},
            "parameters": {
                "unix_socket_directories": SOCKETS,
                "hba_file": f"{IMAGE}/pg_hba.conf",
                "ident_file": f"{IMAGE}/pg_ident.conf",
                # A leader that crashes leaves its place to another instance: each life of a leader is a timeline.
                "restart_after_crash": "off",
                "max_slot_wal_keep_size": f"{volume_bytes // KEPT_PART // 2**20}MB",
            },
        },
    }
