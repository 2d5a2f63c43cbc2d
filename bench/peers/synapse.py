"""Synapse, the Matrix homeserver, in PostgreSQL.

Durable: PUT .../send is answered when the event is committed; each message is one row in `events`. One process, as its
documentation recommends for one machine: its workers need a Redis and a CPU each.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench.orders import Person, Wire
from bench.peers.process import PeerProcess
from bench.peers.programs import synapse_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresCluster

SERVER = "localhost"
CALLS_AT_ONCE = 4
CALL_SECONDS = 60

_LIMITLESS = "{per_second: 1000000, burst_count: 1000000}"

# Larger caches and no presence are the first two recommendations of its documentation for speed.
_CONFIGURATION = """
server_name: {server}
pid_file: {folder}/pid
report_stats: false
signing_key_path: {folder}/signing.key
macaroon_secret_key: bench
form_secret: bench
suppress_key_server_warning: true
trusted_key_servers: []
media_store_path: {folder}/media
log_config: {folder}/log.yaml
presence: {{enabled: false}}
caches: {{global_factor: 4.0}}
database:
  name: psycopg2
  allow_unsafe_locale: true
  args: {{user: chat, host: 127.0.0.1, port: {sql_port}, database: {database}, cp_min: 5, cp_max: 10}}
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, tls: false, resources: [{{names: [client]}}]}}
rc_message: {limitless}
rc_joins: {{local: {limitless}}}
rc_invites: {{per_room: {limitless}, per_user: {limitless}, per_issuer: {limitless}}}
"""

_LOG = """
version: 1
handlers: {{file: {{class: logging.FileHandler, filename: {folder}/log}}}}
root: {{level: ERROR, handlers: [file]}}
"""

_ACCOUNTS = """
WITH made AS (
    INSERT INTO users (name, creation_ts, admin, is_guest)
    SELECT '@p' || n || ':{server}', 0, 0, 0 FROM generate_series({first}, {last}) AS n RETURNING name
), named AS (
    INSERT INTO devices (user_id, device_id, hidden) SELECT name, 'BENCH', false FROM made
)
INSERT INTO access_tokens (id, user_id, device_id, token, used)
SELECT n, '@p' || n || ':{server}', 'BENCH', 'bench' || n, false FROM generate_series({first}, {last}) AS n
"""


@dataclass(slots=True)
class Synapse:
    """A running Synapse, as a subject."""

    postgres: PostgresCluster
    database: str
    process: PeerProcess
    name: str = "Synapse"
    wire: Wire = "matrix"
    authority: str = ""
    _accounts: int = field(default=0, init=False)

    @property
    def urls(self) -> list[str]:
        """The URL of its only listener."""
        return [f"http://127.0.0.1:{self.process.port}"]

    def pairs(self, count: int) -> list[list[Person]]:
        """Create accounts, and a room for each pair."""
        first = self._make_accounts(2 * count)

        def pair(n: int) -> list[Person]:
            sender, recipient = first + 2 * n, first + 2 * n + 1
            options = {"preset": "trusted_private_chat", "is_direct": True, "invite": [f"@p{recipient}:{SERVER}"]}
            room = str(self._post(f"bench{sender}", "createRoom", options)["room_id"])
            self._post(f"bench{recipient}", f"join/{quote(room)}", {})
            return [Person(f"bench{sender}", room), Person(f"bench{recipient}")]

        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            return list(pool.map(pair, range(count)))

    def users(self, count: int) -> list[Person]:
        """Create accounts that only receive."""
        first = self._make_accounts(count)
        return [Person(f"bench{n}") for n in range(first, first + count)]

    def _make_accounts(self, count: int) -> int:
        # Synapse numbers its tokens from 2 on; ours are far above.
        first = self._accounts + 1_000_001
        self._accounts += count
        self.postgres.sql(_ACCOUNTS.format(server=SERVER, first=first, last=first + count - 1), self.database)
        return first

    def _post(self, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.urls[0]}/_matrix/client/v3/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=CALL_SECONDS) as answer:
            answered: dict[str, Any] = json.load(answer)
        return answered

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of the processes by kind."""
        return {"server": [self.process.pid], "database": self.postgres.processes()}

    def stored(self) -> int:
        """Return how many messages are in the database."""
        return int(self.postgres.sql("SELECT count(*) FROM events WHERE type = 'm.room.message'", self.database))


@contextlib.contextmanager
def running(postgres: PostgresCluster) -> Iterator[Synapse]:
    """Run Synapse on a database of its own, and stop it.

    Raises:
        NotHereError: its venv is not on this machine.
    """
    python = synapse_python()
    database = postgres.create_database()
    with PeerProcess("synapse") as process:
        configuration = process.write(
            "homeserver.yaml",
            _CONFIGURATION.format(
                server=SERVER,
                folder=process.folder,
                sql_port=postgres.port,
                database=database,
                port=process.port,
                limitless=_LIMITLESS,
            ),
        )
        process.write("log.yaml", _LOG.format(folder=process.folder))
        process.write("signing.key", "ed25519 a_bench 1CZ0MkX0bBo3/8GWlJVBHtsMWbpiAuTHfzMVJW4mHZI\n")
        process.start(
            [str(python), "-m", "synapse.app.homeserver", "--config-path", str(configuration)],
            {"PATH": os.environ["PATH"], "HOME": str(process.folder)},
        )
        yield Synapse(postgres, database, process)
