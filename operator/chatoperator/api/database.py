"""spec.database: PostgreSQL, or one that the user runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.api import pods
from chatoperator.api.fields import integer, mapping
from chatoperator.api.spec import MAX_CONNECTIONS_DEFAULT, RESERVED_CONNECTIONS, Database, ExternalDatabase
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def parse_database(raw: Mapping[str, Any]) -> Database:
    """The fields of spec.database.

    Raises:
        SpecError: A value cannot work.
    """
    storage = mapping(raw, "storage")
    external = raw.get("external")
    parameters = {str(name): str(value) for name, value in mapping(raw, "parameters").items()}
    for name, value in parameters.items():
        if name in POSTGRES_OWNED_PARAMETERS:
            raise SpecError(f"database.parameters.{name}", "the operator sets it itself; remove it")
        if "\n" in value or "\r" in value:
            raise SpecError(f"database.parameters.{name}", "it must be one line")
    return Database(
        image=raw.get("image"),
        storage_size=str(storage.get("size", "10Gi")),
        storage_class_name=storage.get("storageClassName"),
        resources=pods.resources(raw, "database"),
        pod_template=pods.pod_template(raw),
        parameters=parameters,
        external=_external(external) if external is not None else None,
        connection_budget=(
            _max_connections(parameters) - RESERVED_CONNECTIONS
            if external is None
            else integer(external, "connectionBudget", 80, "database.external.connectionBudget", 1)
        ),
    )


def _external(raw: Mapping[str, Any]) -> ExternalDatabase:
    if not raw.get("secretName"):
        raise SpecError("database.external.secretName", "name the Secret that holds the database's URL")
    return ExternalDatabase(
        secret_name=raw["secretName"],
        secret_key=str(raw.get("secretKey") or "dsn"),
        ca_secret_name=raw.get("caSecretName"),
    )


def _max_connections(parameters: Mapping[str, str]) -> int:
    raw = parameters.get("max_connections", str(MAX_CONNECTIONS_DEFAULT))
    if not raw.isdecimal():
        raise SpecError("database.parameters.max_connections", "it must be a whole number, such as 300")
    return int(raw)
