"""What a container needs to reach an object store: secret variables, and mounted files. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.backup import AzureRepository, GcsRepository, S3Repository
from chatoperator.parts.backup.access import AUTHORITY_KEY
from chatoperator.parts.backup.configuration import GCS_KEY, STORE_AUTHORITY_FOLDER, STORE_FOLDER
from chatoperator.parts.backup.usersecrets import AZURE_KEY_TYPES, S3_KEYS
from chatoperator.parts.pod import secret_volume
from chatoperator.parts.remembered import PASSPHRASE_KEY

if TYPE_CHECKING:
    from chatoperator.api.backup import Stores
    from chatoperator.metadata import Manifest

VARIABLE = "PGBACKREST_REPO1_"
"""Beginning of the variables from which pgBackRest reads options of the repository."""


SIGNATURE_VARIABLE = "AZURE_SAS_TOKEN"
"""Of a container that restores: what the image gives pgBackRest instead of an account's key, where it is there."""


def environment(repository: Stores, key_name: str, key_type: str | None) -> list[Manifest]:
    """What is secret, as pgBackRest reads it.

    Args:
        repository: Where the backups are.
        key_name: Secret with the passphrase.
        key_type: Of Azure's key, `shared` or `sas`; None where it is not known, or not Azure's.
    """
    store = repository.store
    made = [_variable("CIPHER_PASS", key_name, PASSPHRASE_KEY)]
    match store:
        case S3Repository():
            made += [_variable("S3_KEY", store.secret_name, S3_KEYS[0])]
            made += [_variable("S3_KEY_SECRET", store.secret_name, S3_KEYS[1])]
        case AzureRepository():
            key = next((key for key, kind in AZURE_KEY_TYPES.items() if kind == key_type), next(iter(AZURE_KEY_TYPES)))
            made.append(_variable("AZURE_KEY", store.secret_name, key))
    return made


def environment_of_restore(repository: Stores, key_name: str) -> list[Manifest]:
    """The same for a restore, whose container stays as it is for as long as the database: whichever key there is."""
    store = repository.store
    if not isinstance(store, AzureRepository):
        return environment(repository, key_name, None)
    names = {"shared": f"{VARIABLE}AZURE_KEY", "sas": SIGNATURE_VARIABLE}
    keys = [_reference(names[kind], store.secret_name, key, optional=True) for key, kind in AZURE_KEY_TYPES.items()]
    return [_variable("CIPHER_PASS", key_name, PASSPHRASE_KEY), *keys]


def _variable(option: str, secret_name: str, key: str) -> Manifest:
    return _reference(VARIABLE + option, secret_name, key)


def _reference(name: str, secret_name: str, key: str, **more: bool) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret_name, "key": key, **more}}}


def store_volumes(repository: Stores) -> list[Manifest]:
    """The files: Google's key, and the authority of S3."""
    store = repository.store
    if isinstance(store, GcsRepository):
        return [secret_volume("store", store.secret_name, {GCS_KEY: GCS_KEY})]
    if isinstance(store, S3Repository) and store.ca_secret_name is not None:
        return [secret_volume("store-ca", store.ca_secret_name, {AUTHORITY_KEY: AUTHORITY_KEY})]
    return []


def store_mounts(repository: Stores) -> list[Manifest]:
    """Their mounts."""
    folders = {"store": STORE_FOLDER, "store-ca": STORE_AUTHORITY_FOLDER}
    return [
        {"name": volume["name"], "mountPath": folders[volume["name"]], "readOnly": True}
        for volume in store_volumes(repository)
    ]
