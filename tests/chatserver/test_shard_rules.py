"""Statements keep to the directory or to one shard, so that chats can be sharded (docs/decisions/0064)."""

from __future__ import annotations

from types import ModuleType

import pytest
from pglast import ast
from pglast.stream import RawStream

from chatserver.storage.migrate import parse_migrations, read_migrations
from tests.support.parsedsql import commands, schema_of, separate, uses
from tests.support.shardrules import DIRECTORY, EVERYWHERE, LAST_UNCHECKED_MIGRATION, REFERENCES, SHARD, SPANNING
from tests.support.storagesql import UnreadableError, senders_elsewhere, statements_of, stored_statements

MIGRATIONS = read_migrations()
SCHEMA = schema_of(MIGRATIONS)
STATEMENTS = stored_statements()


def spans(sql: str) -> bool:
    tables = SCHEMA.whole(uses(sql)).tables
    return bool(tables & DIRECTORY) and bool(tables & SHARD)


def test_all_sql_is_sent_by_the_storage_and_is_found() -> None:
    assert not senders_elsewhere()
    assert len(STATEMENTS) > 120


def test_a_statement_uses_the_directory_or_one_shard() -> None:
    spanning = {statement.place for statement in STATEMENTS if spans(statement.sql)}
    assert not spanning - SPANNING.keys(), "Split it: one statement for the directory, and one for each shard."
    assert not SPANNING.keys() - spanning, "It is split: remove it from SPANNING."


def test_every_table_is_declared_to_live_in_one_place() -> None:
    made = {
        command.node.relation.relname for command in commands(MIGRATIONS) if isinstance(command.node, ast.CreateStmt)
    }
    assert made | {"schema_migrations"} == DIRECTORY | SHARD | EVERYWHERE
    assert len(DIRECTORY | SHARD | EVERYWHERE) == len(DIRECTORY) + len(SHARD) + len(EVERYWHERE)


def test_no_table_of_a_shard_and_of_the_directory_reference_each_other() -> None:
    found = {
        pair
        for command in commands(MIGRATIONS)
        for pair in command.references()
        if (pair[0] in DIRECTORY) != (pair[1] in DIRECTORY)
    }
    assert found == REFERENCES


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT FROM messages m JOIN users u ON u.user_id = m.sender_id", {"messages", "users"}),
        ("WITH users AS (SELECT 1) SELECT FROM users, chats", {"chats"}),
        ("SELECT FROM chats c WHERE EXISTS (SELECT FROM blocks) FOR UPDATE OF c", {"chats", "blocks"}),
        ("INSERT INTO receipts SELECT FROM devices", {"receipts", "devices"}),
        ("WITH x AS (DELETE FROM messages USING chats) SELECT 1", {"messages", "chats"}),
        ("SELECT last_seen_of(1, now())", {"presence"}),
        ("SELECT lock_self_chat('a', 1)", {"self_chats", "chats", "chat_members"}),
        ("SELECT role FROM group_members", {"groups", "chat_members"}),
    ],
)
def test_tables_are_found_behind_joins_functions_and_views(sql: str, tables: set[str]) -> None:
    assert SCHEMA.whole(uses(sql)).tables == tables


def texts_of(source: str) -> set[str]:
    module = ModuleType("made.up")
    exec(source, vars(module))  # noqa: S102 - a module of this test
    return {statement.sql for statement in statements_of(module, source)}


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("def f(c): c.fetch('a')", {"a"}),
        ("X = 'x'\ndef f(c, n): c.fetch(f'a {X} ' + ('b' if n else 'c'))", {"a x b", "a x c"}),
        ("def g(x): return 'a' + x\ndef f(c): c.execute(g('b'))", {"ab"}),
        ("XS = ('a', 'b')\ndef f(c):\n    for x in XS: c.execute(x)", {"a", "b"}),
        ("def f(c):\n    x = 'a'\n    c.fetchrow(x)", {"a"}),
    ],
)
def test_statements_are_found_however_they_are_put_together(source: str, texts: set[str]) -> None:
    assert texts_of(source) == texts


@pytest.mark.parametrize(
    "source",
    [
        "def f(c, x): c.fetch(x)",
        "def f(c): c.fetch(str(1))",
        "def f(c): c.fetch('%s' % 1)",
        "def f(c):\n    x = 'a'\n    x += 'b'\n    c.fetch(x)",
    ],
)
def test_a_statement_that_cannot_be_read_fails(source: str) -> None:
    with pytest.raises(UnreadableError):
        texts_of(source)


def test_new_migrations_change_one_thing_with_each_command() -> None:
    many = [
        f"{command.migration.name}: {command.sql[:60]}"
        for command in commands(MIGRATIONS)
        if command.migration.number > LAST_UNCHECKED_MIGRATION
        and isinstance(command.node, ast.AlterTableStmt)
        and len(command.node.cmds) > 1
    ]
    assert not many, "Write one ALTER TABLE for each change."


def test_migrations_are_split_where_postgresql_would() -> None:
    for migration in MIGRATIONS:
        assert [plain(part) for part in migration.commands] == [plain(part) for part in separate(migration.sql)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'a;b'; SELECT 2",
        "SELECT 'it''s; so'; SELECT 2;",
        'SELECT 1 AS "a;b"; SELECT 2;',
        "-- a; b 'c\nSELECT 1; -- $$ ;\nSELECT 2",
        "/* ; ' */ SELECT 1; SELECT $$ ; $$; SELECT $a$ ; $$ ; $a$;",
        "SELECT 1 -- ;",
    ],
)
def test_semicolons_within_texts_and_comments_split_nothing(text: str) -> None:
    (migration,) = parse_migrations({"0001_make_one.sql": f"-- oldest code: 1\n{text}"})
    assert [plain(part) for part in migration.commands] == [plain(part) for part in separate(text)]


def plain(sql: str) -> str:
    """What PostgreSQL's parser makes of a command, without comments and layout."""
    text: str = RawStream()(sql)  # type: ignore[no-untyped-call]
    return text
