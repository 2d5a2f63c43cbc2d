"""What PostgreSQL's own parser (pglast) finds in SQL: the tables and functions that a statement uses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pglast import ast, parse_plpgsql, parse_sql, split
from pglast.visitors import Visitor, referenced_relations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chatserver.storage.migrate import Migration

_EXPRESSION = 2
"""`parseMode` of an expression of PL/pgSQL: what would stand behind SELECT."""

_ASSIGNMENT = 3
"""The lowest `parseMode` of ``name := expression``."""


@dataclass(frozen=True)
class Uses:
    """What a statement uses.

    Attributes:
        tables: tables and views, without its own WITH queries.
        functions: all functions that it calls, PostgreSQL's among them.
        updating: those of them in an UPDATE.
        conflicting: those of them in an ON CONFLICT DO UPDATE.
    """

    tables: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    updating: frozenset[str] = frozenset()
    conflicting: frozenset[str] = frozenset()

    def __or__(self, other: Uses) -> Uses:
        return Uses(
            self.tables | other.tables,
            self.functions | other.functions,
            self.updating | other.updating,
            self.conflicting | other.conflicting,
        )


class _Calls(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def visit_FuncCall(self, _ancestors: object, node: Any) -> None:  # noqa: N802 - as pglast calls it
        self.names.add(node.funcname[-1].sval)


class _Updates(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.updating: set[str] = set()
        self.conflicting: set[str] = set()

    def visit_UpdateStmt(self, _ancestors: object, node: Any) -> None:  # noqa: N802 - as pglast calls it
        self.updating |= _calls(node)

    def visit_OnConflictClause(self, _ancestors: object, node: Any) -> None:  # noqa: N802 - as pglast calls it
        self.conflicting |= _calls(node)


class _References(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.tables: set[str] = set()

    def visit_Constraint(self, _ancestors: object, node: Any) -> None:  # noqa: N802 - as pglast calls it
        if node.pktable is not None:
            self.tables.add(node.pktable.relname)


class _Unlocking(Visitor):
    """Takes away what FOR UPDATE OF names: aliases, which look like tables."""

    def visit_LockingClause(self, _ancestors: object, node: Any) -> None:  # noqa: N802 - as pglast calls it
        node.lockedRels = None


def _calls(node: Any) -> set[str]:
    calls = _Calls()
    calls(node)
    return calls.names


def _tables(node: Any) -> frozenset[str]:
    _Unlocking()(node)
    return frozenset(relation.split(".")[-1] for relation in referenced_relations(node))  # type: ignore[no-untyped-call]


def uses(sql: str) -> Uses:
    """Return what one or several statements use.

    Raises:
        pglast.parser.ParseError: PostgreSQL would not parse them.
    """
    found = Uses()
    for raw in parse_sql(sql):
        updates = _Updates()
        updates(raw.stmt)
        found |= Uses(
            _tables(raw.stmt),
            frozenset(_calls(raw.stmt)),
            frozenset(updates.updating),
            frozenset(updates.conflicting),
        )
    return found


def separate(sql: str) -> list[str]:
    """Return the commands of a text, as PostgreSQL's parser finds them."""
    return [str(command) for command in split(sql)]


@dataclass(frozen=True)
class Command:
    """One command of a migration.

    Attributes:
        node: as PostgreSQL parses it.
    """

    migration: Migration
    sql: str
    node: Any

    def references(self) -> Iterator[tuple[str, str]]:
        """Return the foreign keys that it makes: (the referring table, the other)."""
        found = _References()
        found(self.node)
        return ((self.node.relation.relname, table) for table in found.tables)


def commands(migrations: Iterable[Migration]) -> Iterator[Command]:
    """Return the commands of migrations, in order."""
    for migration in migrations:
        for sql in separate(migration.sql):
            (raw,) = parse_sql(sql)
            yield Command(migration, sql, raw.stmt)


@dataclass
class Schema:
    """The functions, triggers and views that migrations leave.

    Attributes:
        functions: {name: {number of arguments: what it uses itself}}.
        views: {name: what it uses}.
        made_in: {name: number of the migration with its newest definition}.
    """

    functions: dict[str, dict[int, Uses]] = field(default_factory=dict)
    views: dict[str, Uses] = field(default_factory=dict)
    made_in: dict[str, int] = field(default_factory=dict)

    def whole(self, used: Uses) -> Uses:
        """Return what a statement uses with everything behind it: bodies of functions, and tables of views."""
        found, seen = used, frozenset[str]()
        while fresh := (found.tables | found.functions) & (self.functions.keys() | self.views.keys()) - seen:
            seen |= fresh
            for name in fresh:
                found |= self.views.get(name, Uses())
                for body in self.functions.get(name, {}).values():
                    found |= body
        return replace(found, tables=found.tables - self.views.keys())


def schema_of(migrations: Iterable[Migration]) -> Schema:
    """Return what is left of the functions and views of migrations: the newest definition of each."""
    schema = Schema()
    for command in commands(migrations):
        match command.node:
            case ast.CreateFunctionStmt() as made:
                name = made.funcname[-1].sval
                arguments = sum(parameter.mode.name != "FUNC_PARAM_TABLE" for parameter in made.parameters or ())
                schema.functions.setdefault(name, {})[arguments] = _body(command)
                schema.made_in[name] = command.migration.number
            case ast.ViewStmt() as made:
                schema.views[made.view.relname] = Uses(_tables(made.query))
            case ast.DropStmt() as dropped if dropped.removeType.name == "OBJECT_FUNCTION":
                for gone in dropped.objects:
                    name = gone.objname[-1].sval
                    schema.functions.get(name, {}).pop(len(gone.objargs or ()), None)
    return schema


def _body(command: Command) -> Uses:
    options = {option.defname: option.arg for option in command.node.options}
    if options["language"].sval == "sql":
        return uses(options["as"][0].sval)
    found = Uses()
    for expression in _expressions(parse_plpgsql(command.sql)):
        found |= uses(_statement(expression["query"], expression["parseMode"]))
    return found


def _statement(query: str, mode: int) -> str:
    if mode >= _ASSIGNMENT:
        return f"SELECT {query.split(':=', 1)[1]}"
    return f"SELECT {query}" if mode == _EXPRESSION else query


def _expressions(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from [value] if name == "PLpgSQL_expr" else _expressions(value)
    elif isinstance(tree, list):
        yield from itertools.chain.from_iterable(map(_expressions, tree))
