"""Every SQL text that the chatserver's storage sends, found in its sources without running them."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING

import chatserver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

SENDING = frozenset({"fetch", "fetchrow", "fetchval", "fetch_sized", "fetchmany", "execute", "executemany", "prepare"})
"""Methods of a pool or a connection whose first argument is SQL."""

PASSES_ON = frozenset({"database", "migrate"})
"""Modules of the storage that send what others give them."""

_FOLDER = Path(chatserver.__file__).parent

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_Names = defaultdict[str, list[ast.expr]]


class UnreadableError(Exception):
    """The SQL of a call depends on more than literals; the text says where."""


@dataclass(frozen=True)
class Statement:
    """One text that may be sent.

    Attributes:
        place: module and function, such as ``chats.listed``.
        sql: the text, with each alternative of a conditional expression as a statement of its own.
    """

    place: str
    sql: str


def stored_statements() -> list[Statement]:
    """Return the statements of all modules of the storage.

    Raises:
        UnreadableError: one of them is not put together from literals, constants and functions of its module.
    """
    found = []
    for path in sorted((_FOLDER / "storage").glob("*.py")):
        if path.stem not in PASSES_ON:
            module = importlib.import_module(f"chatserver.storage.{path.stem.removesuffix('__init__')}".rstrip("."))
            found += statements_of(module, path.read_text(encoding="utf-8"))
    return found


def statements_of(module: ModuleType, source: str) -> list[Statement]:
    """Return the statements of one module; raises as of `stored_statements`."""
    return list(_Module(module, ast.parse(source)).statements())


def senders_elsewhere() -> list[str]:
    """Return the modules outside of the storage that call a method that sends SQL."""
    return [
        str(path.relative_to(_FOLDER))
        for path in sorted(_FOLDER.rglob("*.py"))
        if path.parent.name != "storage"
        and any(_is_sending(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    ]


def _is_sending(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SENDING


class _Module:
    """The texts of one module: names are looked up in the module as it was imported."""

    def __init__(self, module: ModuleType, tree: ast.Module) -> None:
        self._module = module
        self._name = module.__name__.rsplit(".", 1)[1]
        self._tree = tree
        self._functions = {node.name: node for node in ast.walk(tree) if isinstance(node, _Function)}

    def statements(self) -> Iterator[Statement]:
        for function in self._functions.values():
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and _is_sending(call):
                    texts = self._texts(call.args[0], self._names_of(function))
                    yield from (Statement(f"{self._name}.{function.name}", text) for text in sorted(texts))

    def _names_of(self, function: _Function) -> _Names:
        """Return what a function's own names stand for: what is assigned to them, or looped over."""
        names: _Names = defaultdict(list)
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    names[name].append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    names[name].append(value)
                case ast.For(target=ast.Name(id=name), iter=items):
                    names[name].append(ast.Starred(items))
                case ast.AugAssign(target=ast.Name(id=name), value=value):
                    # Nothing that is known here: it fails where the name is used.
                    names[name].append(ast.Yield(value))
        return names

    def _texts(self, node: ast.expr, names: _Names) -> frozenset[str]:
        """Return every text that an expression can be."""
        found: Iterable[str]
        match node:
            case ast.Constant(value=str(text)):
                found = [text]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = self._joined([left, right], names)
            case ast.JoinedStr(values=values):
                found = self._joined(values, names)
            case ast.FormattedValue(value=value):
                found = self._texts(value, names)
            case ast.IfExp(body=body, orelse=other):
                found = self._texts(body, names) | self._texts(other, names)
            case ast.Call(func=ast.Name(id=called), args=given) if called in self._functions:
                found = self._returned(self._functions[called], given, names)
            case ast.Name(id=name) if name in names:
                found = chain.from_iterable(self._texts(value, names) for value in names[name])
            case ast.Name(id=name) if isinstance(getattr(self._module, name, None), str):
                found = [getattr(self._module, name)]
            case ast.Starred(value=ast.Name(id=name)) if isinstance(getattr(self._module, name, None), tuple):
                found = getattr(self._module, name)
            case _:
                raise UnreadableError(f"{self._module.__name__}: {ast.unparse(node)} is not made of literals")
        return frozenset(found)

    def _joined(self, parts: list[ast.expr], names: _Names) -> Iterator[str]:
        return map("".join, product(*(self._texts(part, names) for part in parts)))

    def _returned(self, function: _Function, given: list[ast.expr], outer: _Names) -> Iterator[str]:
        """Return what a function of the module returns for these arguments."""
        parameters = [argument.arg for argument in function.args.args]
        for texts in product(*(self._texts(argument, outer) for argument in given)):
            names = self._names_of(function)
            names |= {name: [ast.Constant(text)] for name, text in zip(parameters, texts, strict=True)}
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from self._texts(node.value, names)
