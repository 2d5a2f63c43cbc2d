"""A connection on which a commit counts only once it is replicated, where the database replicates synchronously.

PostgreSQL ends the wait for a synchronous replica when the statement is cancelled or the session is terminated. The
transaction is then committed on this instance alone, and a failover may lose it; but the statement succeeds, with a
warning. Here such a statement fails instead, so that nothing is acknowledged that may be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

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
