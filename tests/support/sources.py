"""The prose and the names in a source file: comments, docstrings, texts, and the identifiers that it defines. Pure."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_TWO_WORDS = re.compile(r"[A-Za-z,;:'] +[a-z]")
_SQL = re.compile(r"\b(SELECT|WITH|INSERT|UPDATE|FROM)\b")


@functools.lru_cache(maxsize=1)
def _nodes(source: str) -> list[ast.AST]:
    """All nodes of a module, parsed once for both functions below."""
    return list(ast.walk(ast.parse(source)))


class Found(NamedTuple):
    """A piece of prose, or a name.

    Attributes:
        line: where it begins.
        text: the prose, or the name.
    """

    line: int
    text: str


def python_prose(source: str) -> Iterator[Found]:
    """Yield comments, docstrings, and string literals of at least two words that are not SQL."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Found(token.start[0], token.string.lstrip("# "))
    for node in _nodes(source):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _TWO_WORDS.search(node.value)
            and not _SQL.search(node.value)
        ):
            yield Found(node.lineno, node.value)


def python_names(source: str) -> Iterator[Found]:
    """Yield the names that a module defines: functions, classes, arguments, variables, attributes."""
    for node in _nodes(source):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield Found(node.lineno, name)
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield Found(node.lineno, name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield Found(node.lineno, name)
            case _:
                pass
