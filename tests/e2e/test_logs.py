"""The commands of docs/operations/logs.md on a real chat, and the lines of its PostgreSQL."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.support.pages import OPERATIONS, Admin, commands

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster

PAGE = OPERATIONS / "logs.md"


async def test_the_commands_of_the_page_about_logs_run_on_a_real_chat(cluster: Cluster, tmp_path: Path) -> None:
    admin = Admin(cluster, tmp_path)
    printed = [await admin.types(block) for block in commands(PAGE)]
    agent = [json.loads(line) for line in printed[-1].splitlines()]
    assert {"postgres-agent"} == {line["logger"] for line in agent}


async def test_the_lines_of_postgresql_have_the_form_of_the_page(cluster: Cluster) -> None:
    (pattern,) = re.findall(r"^```regex\n(.*)\n```$", PAGE.read_text(), re.MULTILINE)
    printed = await cluster.kubectl("logs", "demo-postgres-0", "-n", "chat", "-c", "postgres")
    lines = [line for line in printed.splitlines() if not line.startswith(("{", "\t"))]
    parsed = [re.match(pattern, line) for line in lines]
    assert [line for line, match in zip(lines, parsed, strict=True) if match is None] == []
    assert any(match and match["code"] for match in parsed)
