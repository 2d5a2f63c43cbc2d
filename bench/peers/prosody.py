"""Prosody with message archives (XEP-0313) in PostgreSQL.

Durable: one process handles one stanza after the other and waits for each statement's commit, the archives' of sender
and recipient among them. The sender's `<r/>` comes after the message, so its answer says that both rows are committed.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.peers.process import PeerProcess
from bench.peers.programs import debian_root
from bench.peers.xmppserver import XmppServer
from bench.wires.xmpp import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresCluster

# The epoll backend is the default and the fastest. Any password is right: signing in is not what is compared.
_CONFIGURATION = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}"
certificates = "{folder}"
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "insecure"
insecure_open_authentication = "Yes please, I know what I'm doing!"
storage = "sql"
sql = {{
    driver = "PostgreSQL", host = "127.0.0.1", port = {sql_port}, database = "{database}", username = "chat",
    password = "unused"
}}
modules_enabled = {{ "saslauth", "mam", "smacks" }}
modules_disabled = {{ "s2s", "offline", "tls" }}
default_archive_policy = true
archive_expires_after = "never"
network_settings = {{ tcp_backlog = 4096 }}
log = {{ error = "*console" }}
VirtualHost "{domain}"
"""


@dataclass(slots=True)
class Prosody(XmppServer):
    """A running Prosody, as a subject."""

    name: str = "Prosody"

    def stored(self) -> int:
        """Return how many messages are in both archives, the sender's and the recipient's."""
        # Prosody makes its tables when it first needs them.
        if not self.postgres.sql("SELECT to_regclass('prosodyarchive')", self.database):
            return 0
        counts = self.postgres.sql(
            """SELECT count(*) FILTER (WHERE "user" LIKE 's%') || ' ' || count(*) FILTER (WHERE "user" LIKE 'r%')
            FROM prosodyarchive WHERE store = 'archive'""",
            self.database,
        )
        return min(map(int, counts.split()))


@contextlib.contextmanager
def running(postgres: PostgresCluster) -> Iterator[Prosody]:
    """Run Prosody on a database of its own, and stop it.

    Raises:
        NotHereError: its programs are not on this machine.
    """
    root = debian_root()
    database = postgres.create_database()
    with PeerProcess("prosody") as process:
        configuration = process.write(
            "prosody.cfg.lua",
            _CONFIGURATION.format(
                folder=process.folder, port=process.port, sql_port=postgres.port, database=database, domain=DOMAIN
            ),
        )
        # The program names Debian's folders; it says itself that a configure script may change them.
        source = root / "usr" / "lib" / "prosody"
        program = process.write(
            "prosody.lua", (root / "usr" / "bin" / "prosody").read_text().replace("/usr/lib/prosody", str(source))
        )
        lua = max((root / "usr" / "bin").glob("lua5.?"))
        version = lua.name.removeprefix("lua")
        shared, libraries = root / "usr" / "share" / "lua" / version, next((root / "usr" / "lib").glob("*-linux-gnu"))
        process.start(
            [str(lua), str(program), "--config", str(configuration), "-F"],
            {
                "PATH": os.environ["PATH"],
                "HOME": str(process.folder),
                "LUA_PATH": f"{source}/?.lua;{shared}/?.lua;{shared}/?/init.lua",
                "LUA_CPATH": f"{source}/?.so;{libraries}/lua/{version}/?.so",
                "LD_LIBRARY_PATH": str(libraries),
            },
        )
        yield Prosody(postgres, database, process)
