"""Decides which statements make the role that reads PostgreSQL's statistics; the script with which it does.

The role has no password, so that only the agent's user gets in, over the unix socket (pg_hba.conf, pg_ident.conf).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postgresagent.roles import Found

ROLE = "chat_monitor"

MEMBER_OF = ("pg_monitor", "pg_use_reserved_connections")
"""The second one, which PostgreSQL has from 16 on, lets it connect when clients have taken all other connections."""

SETTINGS = (
    "default_transaction_read_only=on",
    "lock_timeout=1000",
    # Functions and operators that somebody made in the chat's schema are never called.
    "search_path=pg_catalog, pg_temp",
    "statement_timeout=4000",
    "log_min_duration_statement=-1",
    "log_statement=none",
)
"""As pg_db_role_setting has them, times in milliseconds. The script never waits behind the chat, and is not logged."""


def statements(database: str, have: Found) -> list[str]:
    """Return the statements that make the role; none if it is as it should be."""
    live = have.roles.get(ROLE)
    made = [] if live else [f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT 3"]
    if live and (not live["login"] or live["verifier"]):
        made.append(f"ALTER ROLE {ROLE} LOGIN PASSWORD NULL")
    there = [role for role in MEMBER_OF if role in have.roles]
    made += [f"GRANT {role} TO {ROLE}" for role in there if (ROLE, role) not in have.memberships]
    for setting in SETTINGS:
        if setting not in (live or {}).get("settings", ()):
            name, _, value = setting.partition("=")
            made.append(f"ALTER ROLE {ROLE} SET {name} = {value}")
    if database not in have.monitored:
        made.append(f'GRANT CONNECT ON DATABASE "{database.replace(chr(34), chr(34) * 2)}" TO {ROLE}')
    return made


SCRIPT = Path(__file__).with_name("statistics.sql").read_text(encoding="utf-8")
