"""The compiled wheel of the tests is built again where something changed that goes into it, and only there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

SCRIPT = ".ci/compiled-wheel"
BUILDER = """#!/bin/sh
while [ "$1" != --out-dir ]; do shift; done
echo >> builds
: > "$2/chatcluster-$(wc -l < builds).whl"
"""
"""In place of uv, which takes minutes: notes each build in the tree, and leaves a wheel that is named by its number."""


def inputs() -> list[str]:
    [found] = re.findall(r"^inputs=\((.+)\)$", (ROOT / SCRIPT).read_text(), re.MULTILINE)
    return str(found).split()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of the same form, with a file in each folder."""
    for name in inputs():
        if (ROOT / name).is_dir():
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "module.py").write_text("")
        else:
            (tmp_path / name).write_text("")
    (tmp_path / ".ci").mkdir()
    for script in (SCRIPT, "images/build/compiled-wheel"):
        shutil.copy(ROOT / script, tmp_path / script)
    builder = tmp_path / "builder"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    return tmp_path


def wheel(tree: Path) -> str:
    done = subprocess.run(
        [str(tree / SCRIPT), str(tree / "builder"), str(tree / "cache")],
        env={**os.environ, "UV_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    path = Path(done.stdout.strip())
    assert path.exists()
    return path.name


def test_it_is_built_once_for_the_same_sources(tree: Path) -> None:
    assert wheel(tree) == "chatcluster-1.whl"
    (tree / "chatserver" / "__pycache__").mkdir()
    (tree / "chatserver" / "__pycache__" / "module.pyc").touch()
    (tree / "tests").mkdir()
    (tree / "tests" / "test_module.py").touch()
    assert wheel(tree) == "chatcluster-1.whl"


@pytest.mark.parametrize("name", inputs())
def test_it_is_built_again_where_one_of_them_changed(tree: Path, name: str) -> None:
    wheel(tree)
    changed = tree / name / "module.py" if (tree / name).is_dir() else tree / name
    changed.write_text("changed")
    assert wheel(tree) == "chatcluster-2.whl"
    changed.write_text("")
    assert wheel(tree) == "chatcluster-1.whl"


def test_what_a_build_that_failed_left_is_no_wheel(tree: Path) -> None:
    (tree / "builder").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        wheel(tree)
    assert list((tree / "cache").iterdir()) == []


def test_all_that_the_wheel_contains_names_it() -> None:
    contained = [
        package.partition("/")[0] for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ]
    settings = ["pyproject.toml", "hatch_build.py", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    assert set(inputs()) == {*contained, *settings, "images/build"}
