"""Programs are built once, however many commands need them at the same time, and those of one module by one command."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from localcluster import gomodules, nodeimage, toolchain
from localcluster.progress import Stage

if TYPE_CHECKING:
    from pathlib import Path

# Makes what `go install` would: a file named after each package.
GO = """#!/bin/sh
packages=
mkdir -p "$GOBIN"
for argument; do
  case $argument in
  install | -*) ;;
  */server/v3) packages="$packages server" ;;
  *) packages="$packages ${argument##*/}" ;;
  esac
done
echo "${PWD##*/}:$packages" >> "$COUNT"
sleep 0.3
for package in $packages; do touch "$GOBIN/$package"; done
"""


@pytest.fixture(autouse=True)
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the `go` of these tests writes what it builds, a line a command."""
    go = tmp_path / "programs" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    return tmp_path / "count"


def test_commands_that_want_the_same_program_build_it_once(tmp_path: Path, count: Path) -> None:
    found: list[Path] = []

    def want() -> None:
        found.append(toolchain.ensure("kind", Stage("kind"), tmp_path / "log"))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert count.read_text() == "cluster: kind\n"
    assert len(found) == 3
    assert all((folder / "kind").exists() for folder in found)
    assert sorted(path.name for path in found[0].parent.iterdir()) == [found[0].name, "lock"]


def test_programs_of_one_module_are_built_by_one_command_and_kept_by_their_names(tmp_path: Path, count: Path) -> None:
    toolchain.ensure("kubectl", Stage("kubectl"), tmp_path / "log")
    names = ("etcd", "kubectl", "kwok", "kube-apiserver")
    found = toolchain.ensure_all(names, Stage("tools"), tmp_path / "log")
    assert count.read_text() == "cluster: kubectl\ncluster: server kube-apiserver\nkwok: kwok\n"
    assert all([path.name for path in found[name].iterdir()] == [name] for name in names)


def test_the_node_image_takes_two_commands(tmp_path: Path, count: Path) -> None:
    """local-path-provisioner imports logrus in another spelling than the others do."""
    found = nodeimage.programs(Stage("node image"), tmp_path / "log")
    commands = [line.split() for line in count.read_text().splitlines()]
    assert ["cluster:", "local-path-provisioner"] in commands
    assert [command[0] for command in commands] == ["cluster:", "cluster:"]
    assert sum(len(command) - 1 for command in commands) == len(found) == len(nodeimage.PROGRAMS)


def test_every_program_has_its_module_in_the_tree() -> None:
    folders = {path.name for path in gomodules.GO_MODULES.iterdir()}
    assert {program.module for program in gomodules.PROGRAMS.values()} == folders
    assert gomodules.TAGS.keys() <= folders
    for program in gomodules.PROGRAMS.values():
        required = (gomodules.GO_MODULES / program.module / "go.mod").read_text()
        assert not program.package or f"\t{program.package}\n" in required or f"tool {program.package}\n" in required
