"""One file alone knows Sanic's inside, and the version whose inside it knows is the one that is installed."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import sanic
from sanic.http import Http
from sanic.http.stream import Stream
from sanic.server.async_server import AsyncioServer
from sanic.server.protocols.base_protocol import SanicProtocol
from sanic.server.protocols.http_protocol import HttpProtocol, HttpProtocolMixin

import chatserver
from chatserver.http import sanic_server

SOURCES = Path(chatserver.__file__).parent
# What Sanic documents: https://sanic.dev/api
DOCUMENTED = {"sanic", "sanic.config", "sanic.exceptions", "sanic.handlers", "sanic.response", "sanic.log"}
INSIDE = (Http, Stream, HttpProtocol, HttpProtocolMixin, SanicProtocol, AsyncioServer)
# Of the app, of requests and of handlers.
MARKS = {"get_protocol", "is_websocket", "server_info", "stream"}
# Names of Sanic's classes inside that are asyncio's, or names of our own classes too.
SHARED = {"_send", "abort", "app", "close", "connections", "ctx", "is_serving", "loop", "read", "send", "state"}
SHARED |= {"transport", "version"}
# Where Sanic's objects are in reach.
NEAR = ("http", "socket", "apidocs", "routes.py", "app.py")


def names_inside() -> set[str]:
    names = {name for kind in INSIDE for name in (*vars(kind), *getattr(kind, "__slots__", ()))}
    return {name for name in names | MARKS if not name.startswith("__")} - SHARED - set(dir(asyncio.Protocol))


def other_files() -> list[Path]:
    return [path for path in SOURCES.rglob("*.py") if path != Path(sanic_server.__file__)]


def files_near() -> list[Path]:
    return [path for path in other_files() if path.relative_to(SOURCES).parts[0] in NEAR]


def test_the_installed_sanic_is_the_one_that_was_read() -> None:
    assert f"This relies on Sanic {sanic.__version__}." in (sanic_server.__doc__ or "")


def test_no_other_file_imports_what_sanic_does_not_document() -> None:
    for path in other_files():
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found = {module for module in modules if module.split(".")[0] == "sanic"}
            assert found <= DOCUMENTED, path


def test_no_other_file_uses_or_overrides_what_is_inside() -> None:
    inside = names_inside()
    assert {"recv_buffer", "stage", "check_timeouts", "conn_info", "request_body", "_can_write"} <= inside
    for path in files_near():
        for node in ast.walk(ast.parse(path.read_text())):
            used = node.attr if isinstance(node, ast.Attribute) else ""
            defined = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""
            assert not {used, defined} & inside, (path, used or defined)
