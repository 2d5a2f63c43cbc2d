"""Other chats, to compare with: each as a plain process on loopback, with a database in the same PostgreSQL."""

from __future__ import annotations
