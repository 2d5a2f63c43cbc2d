"""The settings of a session with PostgreSQL, and whether it may write."""

from __future__ import annotations

from typing import Final, LiteralString

SESSION: Final = """
    SET enable_seqscan = off; SET jit = off; SET random_page_cost = 1.1
"""
"""Settings of each pooled connection. Plans are cached for a session that may begin with empty tables, and every
statement here consists of index look-ups: without this, a scan or a hash that was right for ten rows stays for 400,000
(rows_for: 0.6 ms became 37 ms) until the statistics are updated. The cost of a look-up is that of an index in memory or
on a solid-state disk: at the default, 4, a whole index was read to join a user's 300 chats."""

REJECTS_WRITES: Final[LiteralString] = (
    "(pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
    " AND current_setting('chatcluster.volume_full', true) IS DISTINCT FROM 'on')"
)
"""A condition: whether the database is a standby or read-only. One that rejects writes because its volume is nearly
full is neither: it can be read."""
