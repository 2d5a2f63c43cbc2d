"""A PostgreSQL as users run it: TLS by a private authority, a password with all kinds of characters."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from chatoperator.api import dsn
from chatoperator.parts.chatserver.database_access import AUTHORITY_FOLDER, environment
from chatoperator.parts.ingress.tls.self_signed import ensure
from chatserver.storage.connecting import connect
from tests.support.chatclusters import cluster
from tests.support.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chatoperator.parts.credentials import SelfSigned

pytestmark = pytest.mark.integration

PASSWORD = "p@ss/w#rd?%:[]& +"


@pytest.fixture(scope="module")
def private() -> SelfSigned:
    """An authority and a certificate of localhost."""
    return _issued()


@pytest.fixture(scope="module")
def served(private: SelfSigned) -> Iterator[PostgresCluster]:
    with PostgresCluster() as made:
        made.sql(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        made.use_tls(private.server.certificate, private.server.key)
        yield made


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chatserver's environment with a CA's Secret, and the folder that stands for its mount."""
    made = cluster(database={"external": {"secretName": "mine", "caSecretName": "its-ca"}})
    for variable in environment(made):
        monkeypatch.setenv(variable["name"], variable["value"].replace(AUTHORITY_FOLDER, str(tmp_path)))
    return tmp_path


def _issued() -> SelfSigned:
    return ensure(None, None, ["localhost"], dt.datetime.now(dt.UTC))


async def _ask(url: str) -> dict[str, Any]:
    dsn.read(url)
    connection = await connect(url, application_name="test")
    try:
        row = await connection.fetchrow(
            "SELECT ssl, current_user AS name FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        return dict(row or {})
    finally:
        await connection.close()


@pytest.mark.parametrize("parameters", ["", "?sslmode=verify-full", "?sslmode=verify-ca", "?sslmode=require"])
async def test_a_private_authority_is_trusted_and_every_character_arrives(
    served: PostgresCluster, private: SelfSigned, pod: Path, parameters: str
) -> None:
    (pod / "ca.crt").write_text(private.authority.certificate)
    url = f"postgresql://app:{quote(PASSWORD, safe='')}@localhost:{served.port}/postgres{parameters}"
    assert await _ask(url) == {"ssl": True, "name": "app"}


async def test_another_authority_is_not(served: PostgresCluster, pod: Path) -> None:
    (pod / "ca.crt").write_text(_issued().authority.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        await _ask(f"postgresql://app:{quote(PASSWORD, safe='')}@localhost:{served.port}/postgres")


async def test_the_servers_name_is_checked_unless_the_url_says_otherwise(
    served: PostgresCluster, private: SelfSigned, pod: Path
) -> None:
    (pod / "ca.crt").write_text(private.authority.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        await _ask(f"postgresql://app:{quote(PASSWORD, safe='')}@127.0.0.1:{served.port}/postgres")
