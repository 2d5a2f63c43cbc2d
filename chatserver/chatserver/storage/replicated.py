"""Commits that count only once they are replicated, where the database replicates synchronously.

PostgreSQL ends the wait for a synchronous replica when the statement is cancelled or the session is terminated. The
transaction is then committed on this instance alone, and a failover may lose it; but the statement succeeds, with a
warning. Here such a statement fails instead, so that nothing is acknowledged that may be lost.

The client then tries again, and the second try finds that all is done. Its transaction has nothing to commit, and
PostgreSQL would not wait for a replica; `confirm` makes it wait (docs/decisions/0078).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.storage.database import Connection as AnyConnection

    Connection = asyncpg.Connection[asyncpg.Record]
else:
    # A type with parameters only for type checkers.
    Connection = asyncpg.Connection

WAIT_CANCELLED: Final = "SyncRepWaitForLSN"
"""The function of PostgreSQL that warns, and of nothing but this; unlike the text, it is in no language."""


class NotReplicatedError(ConnectionError):
    """A transaction is committed on one instance only; whether it lasts is not known."""


class ReplicatedConnection(Connection):
    """A connection whose statements fail with NotReplicatedError when their commit was not replicated."""

    def _process_log_message(self, fields: Mapping[str, Any], last_query: str) -> None:
        # Not documented, but what a listener of add_log_listener() does comes too late: the result is there by then.
        # What is raised here becomes the result of the statement that PostgreSQL is working on.
        if fields.get("R") == WAIT_CANCELLED:
            raise NotReplicatedError("PostgreSQL no longer waits for a replica: the commit may be lost by a failover")
        super()._process_log_message(fields, last_query)  # type: ignore[misc] # not in the stubs


CONFIRM: Final[LiteralString] = """
SELECT require_durable_commit(), CASE WHEN current_setting('synchronous_standby_names') <> '' THEN
    pg_logical_emit_message(true, 'chatserver', ''::text) END
"""
"""A record of WAL that says nothing. An xid alone, as of pg_current_xact_id(), does not suffice: PostgreSQL waits only
for transactions that have written WAL before their commit. A lock on a row would do too, but everybody would need the
same row."""


async def confirm(connection: AnyConnection) -> None:
    """Have the commit of this transaction wait until replicas have everything that it has read.

    For the answer to a request that an earlier one may have carried out: that one may be committed on this instance
    only. Where no replica is waited for, it costs a round trip and no write.

    Args:
        connection: in a transaction, or outside, where the statement is one and fails as its commit would.
    """
    await connection.execute(CONFIRM)
