"""The settings of a session with PostgreSQL."""

from __future__ import annotations

from typing import Final

SESSION: Final = """
    SET enable_seqscan = off; SET jit = off; SET random_page_cost = 1.1
"""
"""Settings of each pooled connection. Plans are cached for a session that may begin with empty tables, and every
statement here consists of index look-ups: without this, a scan or a hash that was right for ten rows stays for 400,000
(rows_for: 0.6 ms became 37 ms) until the statistics are updated. The cost of a look-up is that of an index in memory or
on a solid-state disk: at the default, 4, a whole index was read to join a user's 300 chats."""
