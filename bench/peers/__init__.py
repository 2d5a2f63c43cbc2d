"""Other chat servers for comparison: each a plain process on loopback, with a database in the same PostgreSQL."""

from __future__ import annotations
