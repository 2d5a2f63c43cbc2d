"""docs/operations/logs.md: its commands, run as they stand there on lines of the real programs, and its parser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from chatcluster_client import Problem
from chatoperator.parts.ingress.telemetry import LOG_FORMAT
from postgresagent.logs import log
from tests.support.cluster import ROOT, run, until
from tests.support.front import PATIENCE_SECONDS, ROUTE, in_front
from tests.support.ledger import sign_in
from tests.support.pages import OPERATIONS, commands
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

PAGE = OPERATIONS / "logs.md"

IMAGE = ROOT / "images" / "postgres"

KUBECTL = """#!/bin/sh
case "$*" in
  logs*component=ingress*) cat {folder}/haproxy.log ;;
  logs*component=chatserver*) cat {folder}/chatserver.log ;;
  logs*"-c postgres") cat {folder}/postgres.log ;;
  logs*"-c agent"*) cat {folder}/agent.log ;;
  *) echo "kubectl $*: not of this page" >&2; exit 1 ;;
esac
"""
"""`kubectl logs` of a chat whose parts have written their logs to files."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z")


def _logging_settings() -> str:
    """The lines of the image's postgresql.conf that are about the log."""
    lines = (IMAGE / "postgresql.conf").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("log_"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresCluster]:
    with PostgresCluster(_logging_settings(), superuser="root") as made:
        yield made


async def _logs(folder: Path, postgres: PostgresCluster, capture: pytest.CaptureFixture[str]) -> None:
    """Have each part write its log: of requests that succeed, fail and are slow, and of statements that fail."""
    dsn = postgres.dsn(postgres.create_database())
    migrate(dsn)
    (folder / "front").mkdir()
    with ServerProcess(dsn, "chat1") as server:
        server.wait_ready()
        await _send_slowly(server)
        port = int(server.url.rsplit(":", 1)[1])
        async with in_front(folder / "front", ROUTE, behind=port) as front:
            await front.client.get(f"{front.https}/api/nosuch")
            connection = await asyncpg.connect(dsn)
            with pytest.raises(asyncpg.UndefinedColumnError):
                await connection.fetch("SELECT nosuch\n  FROM pg_class")
            await connection.close()
            server.terminate()

            async def answers_itself() -> bool:
                await front.client.get(f"{front.https}/x")
                return "<NOSRV>" in {line["server"] for line in front.logged("request")}

            await until(answers_itself, "HAProxy has no server any more", PATIENCE_SECONDS)
            (folder / "haproxy.log").write_text(front.log_text())
        (folder / "chatserver.log").write_text(server.log_text())
    (folder / "postgres.log").write_text(postgres.log.read_text())
    capture.readouterr()
    log("error", "volume full")
    (folder / "agent.log").write_text(capture.readouterr().err)


async def _send_slowly(server: ServerProcess) -> None:
    """Send a message while somebody holds the lock of its chat."""
    async with await sign_in(server.url) as ana:
        await ana.send("first", client_id=str(uuid.uuid4()), to=ana.username)
        holder = await asyncpg.connect(server.dsn)
        async with holder.transaction():
            await holder.execute("SELECT FROM chats FOR UPDATE")
            slow = asyncio.create_task(ana.send("second", client_id=str(uuid.uuid4()), to=ana.username))

            async def held() -> bool:
                return bool(await holder.fetchval("SELECT clock_timestamp() - now() > interval '1.2 s'"))

            await until(held, "the lock is held", PATIENCE_SECONDS, poll_seconds=0.05)
        # On a slow machine it may be answered 503 by then, which is a slow send too.
        with contextlib.suppress(Problem):
            await slow
        await holder.close()


def _install(folder: Path) -> None:
    program = folder / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(folder=folder))
    program.chmod(0o755)


async def _types(folder: Path, block: str) -> str:
    """What a block of the page prints."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return await run("bash", "-c", f"set -euo pipefail\n{block}", env={"PATH": path}, timeout_seconds=60)


def _objects(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


async def test_each_command_of_the_page_finds_what_it_is_for(
    tmp_path: Path, postgres: PostgresCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    await _logs(tmp_path, postgres, capfd)
    _install(tmp_path)
    one, failing, slow, sends, warnings, reports, agent = [await _types(tmp_path, block) for block in commands(PAGE)]
    assert len({line["request_id"] for line in _objects(one)}) == 1
    assert "503 <NOSRV> GET /x" in failing
    assert all(line["milliseconds"] > 1000 for line in _objects(slow))
    (send,) = _objects(sends)
    assert send["seconds"] > 1
    assert send["seconds"] == pytest.approx(
        sum(send[f"{share}_seconds"] for share in ("queue", "pool", "commit")), abs=0.01
    )
    assert all("warning " in line or "error " in line for line in warnings.splitlines())
    errors = _objects(reports)
    assert {"42703"} <= {line["code"] for line in errors}
    error = [line for line in errors if line["code"] == "42703"][-1]
    assert (error["client"], error["role"], error["level"]) == ("127.0.0.1", "root", "ERROR")
    assert TIME.fullmatch(error["timestamp"])
    (full,) = _objects(agent)
    assert (full["event"], full["level"]) == ("volume full", "error")
    assert TIME.fullmatch(full["timestamp"])


async def test_a_request_of_a_client_is_found_in_the_logs_of_haproxy_and_of_the_server(
    tmp_path: Path, postgres: PostgresCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    await _logs(tmp_path, postgres, capfd)
    # The last ones that failed were HAProxy's own; those before them reached the server.
    lines = [line for line in (tmp_path / "haproxy.log").read_text().splitlines() if '"status":503' not in line]
    (tmp_path / "haproxy.log").write_text("\n".join([*lines, ""]))
    _install(tmp_path)
    found = _objects(await _types(tmp_path, commands(PAGE, "One request in all logs")[0]))
    assert [line.get("event") for line in found] == ["request", "request"]
    assert {line["status"] for line in found} == {404}
    for line in found:
        assert TIME.fullmatch(line["timestamp"])


def _parser() -> re.Pattern[str]:
    (pattern,) = re.findall(r"^```regex\n(.*)\n```$", PAGE.read_text(), re.MULTILINE)
    return re.compile(pattern)


async def test_the_parser_of_the_page_takes_every_line_of_postgresql(postgres: PostgresCluster) -> None:
    connection = await asyncpg.connect(postgres.dsn())
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetch("SELECT nosuch\n  FROM pg_class")
    await connection.close()
    postgres.stop()
    postgres.start()
    lines = postgres.log.read_text().splitlines()
    parser = _parser()
    parsed = [match for line in lines if (match := parser.match(line))]
    assert [line for line in lines if not parser.match(line) and not line.startswith("\t")] == []
    assert any(line.startswith("\t") for line in lines), "of the statement of two lines"
    assert {"ERROR", "STATEMENT", "LOG"} <= {match["level"] for match in parsed}
    assert any(match["message"].startswith("database system is ready") for match in parsed)
    # What the server writes before it has read its configuration has neither a code nor UTC.
    first = parser.match('2026-11-29 18:49:24.258 GMT [18110] LOG:  skipping missing configuration file "/x"')
    assert first
    assert (first["code"], first["client"], first["level"]) == (None, None, "LOG")


def test_the_page_has_one_parser() -> None:
    text = PAGE.read_text()
    pattern = _parser().pattern
    assert f"| regexp `{pattern}`" in text
    (captured,) = re.findall(r'capture\("(.*)"\)$', text, re.MULTILINE)
    assert captured.replace("\\\\", "\\").replace("(?<", "(?P<") == pattern


def test_the_fields_of_haproxy_are_those_of_the_page() -> None:
    section = PAGE.read_text().partition("### HAProxy\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed | {"event", "timestamp"} == set(re.findall(r'"(\w+)":', LOG_FORMAT))
