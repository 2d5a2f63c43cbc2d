"""Backups in Google Cloud Storage and Azure Blob Storage, by their emulators over TLS, and restores from them.

S3 is in test_backup.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from chatserver.storage.migrate import migrate
from tests.integration.test_backup import ANOTHER_KEY, EPOCH, archived, has_backups, holds
from tests.support import azure, gcs
from tests.support.backups import PASSPHRASE, Authority, Chat, closing
from tests.support.findings import tell
from tests.support.gcs import Gcs
from tests.support.network import private_network
from tests.support.postgresimage import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.objectstore import ObjectStore

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(1800)]

KINDS = ("gcs", "azure", "azure by a signature")


def _prepare(kind: str, folder: Path) -> None:
    """Have what is downloaded or built: the private network leads to no mirror."""
    unpacked()
    folder.chmod(0o755)
    if kind == "gcs":
        gcs.program(folder / "build.log")
    else:
        azure.program()


@contextlib.contextmanager
def _store(kind: str, folder: Path, authority: Authority) -> Iterator[ObjectStore]:
    if kind == "gcs":
        with gcs.store(folder, authority, "127.0.3.2", "127.0.3.3") as google:
            yield google
    else:
        with azure.store(folder, authority, "127.0.3.4", by_signature=kind != "azure") as made:
            yield made


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chat_is_backed_up_and_restored(kind: str, tmp_path: Path) -> None:
    _prepare(kind, tmp_path)
    authority = Authority()
    with private_network(), _store(kind, tmp_path / "store", authority) as store:
        secrets = {**store.secrets, PASSPHRASE: {"passphrase": ANOTHER_KEY}}
        source = Chat(tmp_path, 1, authority, store.repository, secrets, store.hosts)
        restored = Chat(tmp_path, 2, authority, hosts=store.hosts)
        for pod in (source.host, restored.database):
            # As the package ca-certificates makes it of the authorities that every system knows.
            pod.write("authorities", {"ca-certificates.crt": authority.pair.certificate})
        with closing(source, restored):
            await _begin(source)
            await _is_restored(source, restored)
            for text in (*store.secret_texts, ANOTHER_KEY):
                assert text not in source.log("backup")
                assert text not in restored.log("restore")
        if isinstance(store, Gcs):
            assert store.granted, "pgBackRest proved who it is"
            assert not store.refused
        tell(f"{kind}: backups, WAL and a restore")


async def _begin(source: Chat) -> None:
    source.start_database()
    source.start_host()
    await holds(lambda: source.psql("SELECT 1") == "1", "PostgreSQL answers", source)
    await migrate(source.dsn, wait_seconds=60)
    (first,) = await has_backups(source, 1)
    assert first["type"] == "full"
    source.psql("CREATE TABLE ledger AS SELECT n FROM generate_series(1, 1000) n")
    # 10 MB that no compression makes smaller: more than pgBackRest sends at once.
    source.psql("CREATE TABLE noise AS SELECT sha512(n::text::bytea) AS bytes FROM generate_series(1, 150000) n")
    source.write_settings(request="second", schedule={"full": "", "incremental": "", "verify": "* * * * *"})
    second = (await has_backups(source, 2))[-1]
    assert second["type"] == "incremental"
    await holds(lambda: (source.status()["last_verify"] or {}).get("ok"), "all of it was read", source)
    source.write_settings(request="second")
    source.psql("INSERT INTO ledger VALUES (-1)")
    await archived(source)


SAME = (
    "SELECT count(*), min(n), max(n) FROM ledger",
    "SELECT md5(string_agg(bytes::text, '' ORDER BY bytes)) FROM noise",
)


async def _is_restored(source: Chat, restored: Chat) -> None:
    restored.prepare_restore(source, direct=True)
    assert await asyncio.to_thread(restored.restore, 600) == 0, restored.described()
    restored.start_database()
    await holds(lambda: restored.psql("SELECT 1") == "1", "the restored chat answers", restored)
    for statement in SAME:
        assert restored.psql(statement) == source.psql(statement)
    assert restored.psql(EPOCH) != source.psql(EPOCH)
