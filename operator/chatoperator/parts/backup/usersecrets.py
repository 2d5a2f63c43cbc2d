"""Checks of the Secrets that database.backup names: credentials and authority of a store, a passphrase. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.api.backup import AzureRepository, GcsRepository, S3Repository
from chatoperator.kube.objects import secret_text
from chatoperator.metadata import digest
from chatoperator.parts.backup.access import AUTHORITY_KEY
from chatoperator.parts.backup.configuration import GCS_KEY
from chatoperator.parts.ingress.tls.self_signed import holds_certificates
from chatoperator.parts.remembered import PASSPHRASE_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.backup import Backup, Restore, Store
    from chatoperator.metadata import Manifest
    from chatoperator.observed import RestoreSource

S3_KEYS = ("access-key-id", "secret-access-key")
AZURE_KEY_TYPES = {"account-key": "shared", "sas-token": "sas"}
"""pgBackRest's word for each key of the Secret."""

VALUE_BYTES_MAX = 8 * 1024
"""Of a credential; the longest, Google's, has 2.4 KB."""

PASSPHRASE_LENGTH_MIN = 16
"""Characters."""

FIELD, RESTORE_FIELD = "database.backup", "database.restore.from"

SECRET_MISSING, SOURCE_MISSING, NO_BACKUPS = "secret_missing", "source_missing", "no_backups"
"""Words for programs: why a chat cannot begin with another one's data, beside those of the container that restores."""


@dataclass(frozen=True)
class UserSecrets:
    """What the Secrets say.

    Attributes:
        digest: Changes with their content.
        key_type: Of Azure's key; None where it is not known, or not Azure's.
        fault: What is wrong with the credentials of the store, and what to do; None where nothing is.
        key_fault: What is wrong with the passphrase, likewise.
    """

    digest: str
    key_type: str | None = None
    fault: str | None = None
    key_fault: str | None = None


def store_keys(store: Store) -> tuple[str, ...]:
    """Keys that a store's Secret may have."""
    match store:
        case S3Repository():
            return S3_KEYS
        case GcsRepository():
            return (GCS_KEY,)
        case AzureRepository():
            return tuple(AZURE_KEY_TYPES)


def judge(spec: Backup, named: Mapping[str, Manifest | None], *, salt: str) -> UserSecrets:
    """What the Secrets of `database.backup` say.

    Args:
        spec: The database's backup.
        named: The user's Secrets by name, each with the keys that are read.
        salt: Keeps the digest from being compared with that of a guess.
    """
    store, content = spec.repository.store, dict[str, str | None]()
    for name in spec.secret_names:
        data = (named.get(name) or {}).get("data") or {}
        content |= {f"{name}/{key}": str(value) for key, value in data.items()}
    key_type = None
    if isinstance(store, AzureRepository):
        present = [key for key in AZURE_KEY_TYPES if secret_text(named.get(store.secret_name), key) is not None]
        key_type = AZURE_KEY_TYPES[present[0]] if present else None
    return UserSecrets(
        digest=digest(["backup", salt, content]),
        key_type=key_type,
        fault=_store_fault(store, named, f"{FIELD}.repository") if store is not None else None,
        key_fault=_passphrase_fault(spec.encryption.secret_name, named),
    )


def restore_fault(
    spec: Restore, named: Mapping[str, Manifest | None], chat: RestoreSource | None
) -> tuple[str, str] | None:
    """Why a new chat cannot begin with what database.restore names: a word for programs, and a message; None if it can.

    Args:
        spec: The database's restore.
        named: The user's Secrets by name, each with the keys that are read.
        chat: The ChatCluster that it names; None where it names a repository.
    """
    repository, source = spec.source.repository, spec.source.chat_cluster
    if source is not None:
        return _chat_fault(source.name, chat)
    if repository is None or repository.store is None:
        return None
    fault = _store_fault(repository.store, named, f"{RESTORE_FIELD}.repository")
    key = repository.encryption.secret_name
    if fault is None and secret_text(named.get(key or ""), PASSPHRASE_KEY) is None:
        fault = (
            f"Secret {key} of {RESTORE_FIELD}.repository.encryption.secretName is missing or has no key "
            f"{PASSPHRASE_KEY}; store the passphrase of that repository there"
        )
    return None if fault is None else (SECRET_MISSING, fault)


def _chat_fault(name: str, chat: RestoreSource | None) -> tuple[str, str] | None:
    where = f"ChatCluster {name} of {RESTORE_FIELD}.chatCluster"
    other = "name its repository instead, with the Secret of its passphrase"
    if chat is None or not chat.exists:
        return SOURCE_MISSING, f"{where} does not exist in this namespace: recreate this ChatCluster, and {other}"
    if not chat.backed_up:
        return NO_BACKUPS, f"{where} has no database.backup: set it there, or recreate this ChatCluster, and {other}"
    if not chat.certificate:
        return NO_BACKUPS, f"{where} has no backup pod yet: wait until its condition BackedUp is True"
    return None


def _store_fault(store: Store, named: Mapping[str, Manifest | None], field: str) -> str | None:
    name, kind = store.secret_name, type(store).__name__.removesuffix("Repository").lower()
    where = f"{field}.{kind}"
    secret, keys = named.get(name), store_keys(store)
    missing = [key for key in keys if secret_text(secret, key) is None]
    if isinstance(store, AzureRepository):
        missing = [" or ".join(keys)] if len(missing) == len(keys) else []
    if missing:
        return f"Secret {name} of {where}.secretName is missing or has no key {' and '.join(missing)}; store it there"
    authority = store.ca_secret_name if isinstance(store, S3Repository) else None
    if authority is None:
        return None
    text = secret_text(named.get(authority), AUTHORITY_KEY)
    if text is None or not holds_certificates(text):
        return (
            f"Secret {authority} of {where}.caSecretName has no PEM certificates in key {AUTHORITY_KEY}; store that of "
            "the authority which issued the endpoint's certificate"
        )
    return None


def _passphrase_fault(name: str | None, named: Mapping[str, Manifest | None]) -> str | None:
    if name is None:
        return None
    where = f"Secret {name} of {FIELD}.encryption.secretName"
    text = secret_text(named.get(name), PASSPHRASE_KEY)
    if text is None:
        return (
            f"{where} is missing or has no key {PASSPHRASE_KEY}. Without it no backup is made, and none can be read: "
            "restore the passphrase with which the repository was made"
        )
    if len(text) < PASSPHRASE_LENGTH_MIN or not text.isprintable():
        return (
            f"Key {PASSPHRASE_KEY} of {where} must be one line of at least {PASSPHRASE_LENGTH_MIN} characters; if the "
            "repository has no backups yet, store a longer one"
        )
    return None
