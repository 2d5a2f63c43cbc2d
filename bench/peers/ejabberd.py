"""ejabberd with message archives (XEP-0313) in PostgreSQL.

Durable: `mod_mam` archives a message for its sender before it is routed and for its recipient before it is delivered,
each by a separate statement that is committed before the stanza is routed. The sender's `<r/>` is answered after that,
so an acknowledged message is in the sender's archive, and a delivered one in both. Each is two rows.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.peers.process import PeerProcess
from bench.peers.programs import debian_root
from bench.peers.xmppserver import XmppServer
from bench.wires.xmpp import DOMAIN, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresCluster

SQL_CONNECTIONS = 32
"""Connections of the pool: the number with which pgbench commits the most; the default is 10."""

PROCESSES = 250_000
"""Limit of Erlang's ports: the documentation's figure for many connections."""

# Costs that are not compared are off: TLS on loopback, SCRAM's thousands of hashes per login, shapers.
# Prepared statements are the default and stay on.
_CONFIGURATION = """
hosts: [{domain}]
loglevel: error
default_db: sql
sql_type: pgsql
sql_server: 127.0.0.1
sql_port: {sql_port}
sql_database: {database}
sql_username: chat
sql_password: unused
sql_pool_size: {connections}
sql_prepared_statements: true
auth_method: [sql]
auth_password_format: plain
disable_sasl_mechanisms: [digest-md5, scram-sha-1, scram-sha-256, scram-sha-512, x-oauth2]
listen:
  - port: {port}
    ip: 127.0.0.1
    module: ejabberd_c2s
    shaper: none
    backlog: 4096
    starttls: false
modules:
  mod_mam:
    db_type: sql
    default: always
    assume_mam_usage: true
  mod_stream_mgmt:
    resend_on_timeout: false
"""


@dataclass(slots=True)
class Ejabberd(XmppServer):
    """A running ejabberd, as a subject."""

    name: str = "ejabberd"

    def _make_accounts(self, first: int, last: int) -> None:
        numbers = f"generate_series({first}, {last}) AS n"
        for letter in "sr":
            self.postgres.sql(
                f"INSERT INTO users (username, password) SELECT '{letter}' || n, '{PASSWORD}' FROM {numbers}",  # noqa: S608 - numbers and letters of ours
                self.database,
            )

    def stored(self) -> int:
        """Return how many messages are in both archives, the sender's and the recipient's."""
        counts = self.postgres.sql(
            "SELECT count(*) FILTER (WHERE username LIKE 's%') || ' ' || count(*) FILTER (WHERE username LIKE 'r%') "
            "FROM archive",
            self.database,
        )
        return min(map(int, counts.split()))


@contextlib.contextmanager
def running(postgres: PostgresCluster) -> Iterator[Ejabberd]:
    """Run ejabberd on a database of its own, and stop it.

    Raises:
        NotHereError: its programs are not on this machine.
    """
    root = debian_root()
    database = postgres.create_database()
    _make_tables(root, postgres, database)
    with PeerProcess("ejabberd") as process:
        configuration = process.write(
            "ejabberd.yml",
            _CONFIGURATION.format(
                domain=DOMAIN,
                sql_port=postgres.port,
                database=database,
                connections=SQL_CONNECTIONS,
                port=process.port,
            ),
        )
        erlang = root / "usr" / "lib" / "erlang"
        programs = next(erlang.glob("erts-*")) / "bin"
        libraries = next((root / "usr" / "lib").glob("*-linux-gnu"))
        process.start(
            [
                *(str(programs / "erlexec"), "+K", "true", "+P", str(PROCESSES), "-noinput"),
                *("-mnesia", "dir", f'"{process.folder / "spool"}"', "-s", "ejabberd"),
            ],
            {
                "PATH": os.environ["PATH"],
                "HOME": str(process.folder),
                "ROOTDIR": str(erlang),
                "BINDIR": str(programs),
                "EMU": "beam",
                "PROGNAME": "erl",
                "ERL_LIBS": str(libraries),
                "LD_LIBRARY_PATH": str(libraries),
                "EJABBERD_CONFIG_PATH": str(configuration),
                "EJABBERD_LOG_PATH": str(process.folder / "ejabberd.log"),
            },
        )
        yield Ejabberd(postgres, database, process)


def _make_tables(root: Path, postgres: PostgresCluster, database: str) -> None:
    subprocess.run(
        [
            *(str(postgres.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", postgres.dsn(database)),
            *("--file", str(root / "usr" / "share" / "ejabberd" / "sql" / "pg.sql")),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
