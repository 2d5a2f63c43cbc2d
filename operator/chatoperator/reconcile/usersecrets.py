"""The user's own Secrets, which carry no label of ours: of each the keys that the spec needs, up to their bounds."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from chatoperator.api.backup import S3Repository
from chatoperator.api.busurls import BYTES_MAX as URLS_BYTES_MAX
from chatoperator.api.dsn import BYTES_MAX as DSN_BYTES_MAX
from chatoperator.parts.backup.usersecrets import VALUE_BYTES_MAX as STORE_BYTES_MAX
from chatoperator.parts.backup.usersecrets import store_keys
from chatoperator.parts.bus.access import PASSWORD_KEY
from chatoperator.parts.bus.external import PREFIX_KEY, URLS_KEY, USERNAME_KEY, VALUE_BYTES_MAX
from chatoperator.parts.chatserver.database_access import AUTHORITY_KEY
from chatoperator.parts.chatserver.deployment import WEBHOOK_KEY
from chatoperator.parts.ingress.tls.faults import CERTIFICATE_BYTES_MAX
from chatoperator.parts.remembered import PASSPHRASE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest

AUTHORITY_BYTES_MAX = 512 * 1024
"""Of the ca.crt of an external database or bus: all authorities that browsers trust have 220 KB."""

WEBHOOK_KEY_BYTES_MAX = 4 * 1024
"""Of the webhook's key that is looked at: whether it is there, and long enough."""


async def named_secrets(kube: Kube, cluster: ChatCluster, *, begins: bool = False) -> Mapping[str, Manifest | None]:
    """The Secrets that the spec names, by name; None where one does not exist.

    A Secret has up to a megabyte, and a ChatCluster names up to eleven: each is reduced as soon as it has been read.

    Args:
        kube: The API server.
        cluster: The parsed spec.
        begins: The database has not been restored yet, so that the Secrets of database.restore count.

    Raises:
        KubeError: The API server did not answer.
    """

    async def read(name: str, keys: Mapping[str, int]) -> Manifest | None:
        secret = await kube.get("Secret", cluster.namespace, name)
        return None if secret is None else reduced(secret, keys)

    keys = needed(cluster, begins=begins)
    found = await asyncio.gather(*(read(name, bounds) for name, bounds in keys.items()))
    return dict(zip(keys, found, strict=True))


def needed(cluster: ChatCluster, *, begins: bool = False) -> Mapping[str, Mapping[str, int]]:
    """By the name of a Secret its keys that are read, with the bytes of each that are looked at.

    Args:
        cluster: The parsed spec.
        begins: As of `named_secrets`.
    """
    certificate = {"tls.crt": CERTIFICATE_BYTES_MAX, "tls.key": CERTIFICATE_BYTES_MAX, "ca.crt": CERTIFICATE_BYTES_MAX}
    external, webhook = cluster.database.external, cluster.auth.webhook
    bus = {
        URLS_KEY: URLS_BYTES_MAX,
        **dict.fromkeys((PASSWORD_KEY, USERNAME_KEY, PREFIX_KEY), VALUE_BYTES_MAX),
        AUTHORITY_KEY: AUTHORITY_BYTES_MAX,
    }
    made: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, keys in (
        (cluster.ingress.tls_secret_name, certificate),
        (cluster.ingress.front.tls_secret_name if cluster.ingress.front else None, certificate),
        (webhook.secret_name if webhook else None, {WEBHOOK_KEY: WEBHOOK_KEY_BYTES_MAX}),
        (external.secret_name if external else None, {external.secret_key: DSN_BYTES_MAX} if external else {}),
        (external.ca_secret_name if external else None, {AUTHORITY_KEY: AUTHORITY_BYTES_MAX}),
        (cluster.bus.external_secret_name, bus),
        *_of_backups(cluster),
        *(_of_restore(cluster) if begins else ()),
    ):
        for key, most in keys.items() if name else ():
            # One Secret may serve for several of them.
            made[str(name)][key] = max(most, made[str(name)].get(key, 0))
    return dict(sorted(made.items()))


def _of_backups(cluster: ChatCluster) -> Iterable[tuple[str | None, Mapping[str, int]]]:
    spec = cluster.database.backup
    if spec is None:
        return
    store = spec.repository.store
    yield spec.encryption.secret_name, {PASSPHRASE_KEY: STORE_BYTES_MAX}
    if store is not None:
        yield store.secret_name, dict.fromkeys(store_keys(store), STORE_BYTES_MAX)
    if isinstance(store, S3Repository):
        yield store.ca_secret_name, {AUTHORITY_KEY: AUTHORITY_BYTES_MAX}


def _of_restore(cluster: ChatCluster) -> Iterable[tuple[str | None, Mapping[str, int]]]:
    spec = cluster.database.restore
    repository = spec.source.repository if spec is not None else None
    if repository is None or repository.store is None:
        return
    store = repository.store
    yield repository.encryption.secret_name, {PASSPHRASE_KEY: STORE_BYTES_MAX}
    yield store.secret_name, dict.fromkeys(store_keys(store), STORE_BYTES_MAX)
    if isinstance(store, S3Repository):
        yield store.ca_secret_name, {AUTHORITY_KEY: AUTHORITY_BYTES_MAX}


def reduced(secret: Manifest, keys: Mapping[str, int]) -> Manifest:
    """A Secret with these keys alone; what is longer than its bound is cut a little above it, to be found too long."""
    data = secret.get("data") or {}
    # Base64: four characters for three bytes.
    kept = {key: str(data[key])[: (most // 3 + 1) * 4] for key, most in keys.items() if data.get(key)}
    return {"metadata": {"name": secret["metadata"]["name"]}, "data": kept}
