"""The command ``chatserver dev``: a server with its own database, for developers of clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from chatserver.app import serve
from chatserver.dev.postgres import embedded_postgres
from chatserver.dev.programs import EmbeddedPostgresError
from chatserver.environment import PREFIX, SettingsError
from chatserver.logs import configure_logs
from chatserver.settings import read_settings
from chatserver.storage.migrate import MigrationBlocked, SchemaRefused, migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chatserver.settings import Settings

MIGRATE_SECONDS = 10
"""Seconds the database may take to answer; it has said that it is ready."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""As shells report a command that Ctrl-C ended."""

# What differs from a server in a cluster; variables of the environment come before these.
_DEFAULTS: Mapping[str, str] = {
    "HTTP_HOST": "127.0.0.1",
    "METRICS_PORT": "0",
    "SERVER_NAME": "dev",
    "LOG_LEVEL": "WARNING",
    # No proxy has to notice, and clients under development should reconnect at once.
    "READINESS_NOTICE_SECONDS": "0",
    "DRAIN_SECONDS": "1",
    "TRUSTED_PROXY_HOPS": "0",
    "PAGE_SCHEME": "http",
}


def secret_key(data: Path | None) -> str:
    """Return the key of the chat in a folder, a new one for None: with it, session cookies outlive the server.

    A development server needs no secret, because its answers have the codes.
    """
    return secrets.token_hex(32) if data is None else hashlib.sha256(str(data.resolve()).encode()).hexdigest()


def environment(
    environ: Mapping[str, str], dsn: str, *, port: int | None, web_root: Path | None, key: str
) -> dict[str, str]:
    """Return the settings of a development server as variables.

    Args:
        environ: the process's own; its CHAT_* count, but for the database, the key and how codes are sent.
        dsn: of the embedded database.
        port: of the API; None: CHAT_HTTP_PORT or 8080.
        web_root: the page's folder, if there is one; CHAT_WEB_ROOT comes first.
        key: of the chat.
    """
    fixed = {"DATABASE_DSN": dsn, "SECRET_KEY": key, "OTP_SENDER": "Log"}
    replaced = (*fixed, "DATABASE_DSN_FILE", "SECRET_KEY_FILE")
    page = {"WEB_ROOT": str(web_root)} if web_root is not None else {}
    chosen = {"HTTP_PORT": str(port)} if port is not None else {}
    own = {name: value for name, value in environ.items() if name.removeprefix(PREFIX) not in replaced}
    return {
        **{PREFIX + name: value for name, value in {**_DEFAULTS, **page}.items()},
        **own,
        **{PREFIX + name: value for name, value in {**fixed, **chosen}.items()},
    }


def checkout_web_root() -> Path | None:
    """Return the folder of the page when this runs from a checkout."""
    folder = Path(__file__).resolve().parents[3] / "web"
    return folder if (folder / "index.html").is_file() else None


def greeting(url: str, data: Path | None, *, has_page: bool) -> str:
    """Return what is printed once the server answers: its address, and a command that signs somebody in."""
    page = ", with a page in the browser" if has_page else ""
    kept = f"kept in {data}" if data is not None else "gone when this ends (--data DIR keeps them)"
    return (
        f"Chat is ready: {url}/ (API{page}). Messages are {kept}. Ctrl-C ends it.\n"
        f"""Try: curl -s {url}/api/auth/code --json '{{"phone_number": "+14155550101"}}'"""
    )


def run(*, data: Path | None, port: int | None, binaries: Path | None) -> int:
    """Run a development server until Ctrl-C or SIGTERM, and return the process's exit code.

    Args:
        data: folder that keeps the database; None: a temporary one.
        port: of the API; None: CHAT_HTTP_PORT or 8080; 0 picks a free one.
        binaries: folder with PostgreSQL's programs; None: found.
    """
    try:
        # Checked before anything is made.
        made = partial(environment, port=port, web_root=checkout_web_root(), key=secret_key(data))
        read_settings(made(os.environ, "postgresql://"))
    except SettingsError as error:
        return _fail(str(error), EXIT_USAGE)
    try:
        with _ended_by_sigterm(), embedded_postgres(data, binaries) as dsn:
            settings = read_settings(made(os.environ, dsn))
            configure_logs(settings.log_level, settings.server_name)
            asyncio.run(migrate(settings.read_database_dsn, MIGRATE_SECONDS))
            return _serve(settings, data)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (EmbeddedPostgresError, MigrationBlocked, SchemaRefused) as error:
        return _fail(str(error), EXIT_FAILED)


def _serve(settings: Settings, data: Path | None) -> int:
    def say(port: int) -> None:
        host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
        text = greeting(f"http://{host}:{port}", data, has_page=settings.web_root is not None)
        print(text, flush=True)  # noqa: T201 - a command's answer to its user

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, on_serving=say))
    except OSError as error:
        return _fail(f"cannot listen on port {settings.http_port}: {error.strerror}. Choose another with --port.", 1)
    finally:
        # What is left is the database's end, which a second Ctrl-C must not cut short.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C, until the server has its own way to end."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: Callable[..., object] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(reason: str, code: int) -> int:
    print(f"chatserver dev: {reason}", file=sys.stderr)  # noqa: T201 - for the one who typed the command
    return code
