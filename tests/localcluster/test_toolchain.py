"""Programs are built once, however many commands want them at the same time."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from localcluster import toolchain
from localcluster.progress import Stage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GO = """#!/bin/sh
echo built >> "$COUNT"
sleep 0.3
mkdir -p "$GOBIN" && touch "$GOBIN/kind"
"""


def test_commands_that_want_the_same_program_build_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "programs" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    found: list[Path] = []

    def want() -> None:
        found.append(toolchain.ensure("kind", Stage("kind"), tmp_path / "log"))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (tmp_path / "count").read_text() == "built\n"
    assert len(found) == 3
    assert all((folder / "kind").exists() for folder in found)
    assert sorted(path.name for path in found[0].parent.iterdir()) == [found[0].name, "lock"]
