"""The SQL of the runbooks on a real PostgreSQL with the whole schema: the queries only read, the changes work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.runbooks import CHANGE, READ, runbooks

if TYPE_CHECKING:
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

PLACEHOLDERS = {"$CHAT_ID": "1", "(PID)": "(0)"}


def statements(kind: str) -> list[str]:
    """The different statements that pages pass to psql in blocks of a kind."""
    blocks = "\n".join(block for book in runbooks() for block in book.blocks(kind))
    found = dict.fromkeys(re.findall(r'psql -U postgres chat -(?:At)?c "([^"]+)"', blocks))
    for name, value in PLACEHOLDERS.items():
        found = {statement.replace(name, value): None for statement in found}
    return list(found)


@pytest.mark.parametrize("statement", statements(READ))
def test_a_query_of_diagnosis_works_and_only_reads(
    statement: str, postgres: PostgresCluster, migrated_template: str
) -> None:
    postgres.sql(f"SET default_transaction_read_only = on; {statement}", migrated_template)


def test_the_changes_of_mitigation_work(postgres: PostgresCluster, migrated_template: str) -> None:
    database = postgres.create_database(migrated_template)
    changes = statements(CHANGE)
    assert len(changes) > 4
    for statement in changes:
        # A slot and a session would have to exist; it is enough that the function and its arguments do.
        postgres.sql(f"EXPLAIN {statement}" if statement.startswith("SELECT") else statement, database)
