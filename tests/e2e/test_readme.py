"""The README, word by word: its commands run in a fresh copy of the tree, and what they made goes again."""

import re
from pathlib import Path

import pytest

from localcluster.paths import DEFAULT_NAME, ClusterPaths
from tests.support.cluster import ROOT, run
from tests.support.pages import commands
from tests.support.traces import left, snapshot

TIMEOUT_SECONDS = 35 * 60


@pytest.mark.machine
async def test_the_readmes_commands_work_and_leave_nothing(tmp_path: Path) -> None:
    # The unmarked blocks need a registry, or would run this test in itself.
    blocks = commands(ROOT / "README.md")
    assert blocks[0] == "make up\n"
    assert blocks[-1] == "make down\n"
    copy = tmp_path / "chatcluster"
    await run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(copy))
    paths = ClusterPaths.of(DEFAULT_NAME, copy / ".local")
    before = snapshot(paths)
    # A second `make up` finds all that the first one made.
    script = "set -euo pipefail\n" + "\n".join([*blocks[:-1], blocks[0], blocks[-1]])
    try:
        printed = await run("bash", "-c", f"cd {copy} && {script}", timeout_seconds=TIMEOUT_SECONDS)
    finally:
        await run("make", "-C", str(copy), "down", timeout_seconds=300)
    print(printed)  # noqa: T201 - shown when it fails
    assert re.search(r"^Chat is ready: https://127\.0\.0\.1:\d+/$", printed, re.MULTILINE)
    assert "it was there" in printed
    assert '"status": "read"' in printed
    assert re.search(r"^demo +True", printed, re.MULTILINE)
    assert re.search(r"^Ready for \d+[smh]", printed, re.MULTILINE), "the plugin's status"
    assert "minReplicas" in printed
    assert re.search(r"^chatserver_connections \d", printed, re.MULTILINE)
    assert left(paths, before) == []
