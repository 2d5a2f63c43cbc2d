"""Decides which statements make the role with which instances replicate from each other. Pure."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from postgresagent import verifiers
from postgresagent.roles import REPLICATION as ROLE

if TYPE_CHECKING:
    from postgresagent.roles import Found

_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What pg_rewind calls, by which a former leader becomes a replica again; in the database to which it connects."""


def statements(password: str, have: Found) -> list[str]:
    """Return the statements that make the role; none if it is as it should be.

    Args:
        password: Its password.
        have: The observed state.
    """
    live = have.roles.get(ROLE)
    made = [] if live else [f"CREATE ROLE {ROLE} REPLICATION"]
    if live and not live["replication"]:
        made.append(f"ALTER ROLE {ROLE} REPLICATION")
    if not have.rewinds:
        made += [f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {ROLE}" for function in _FUNCTIONS]
    # The password last: a role that can log in has everything else.
    if not (live and live["login"] and verifiers.matches(live["verifier"], password)):
        verifier = verifiers.make(password, secrets.token_bytes(verifiers.SALT_BYTES))
        made.append(f"ALTER ROLE {ROLE} LOGIN PASSWORD '{verifier}'")
    return made
