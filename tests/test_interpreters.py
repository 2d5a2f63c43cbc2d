"""Which Python the commands run on: that of the images, and otherwise one of which the user hears."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench.interpreter import built

ROOT = Path(__file__).parent.parent

NOBODYS = "3.99"
"""A version that no machine has, and no address serves."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree that asks for a Python that is not here, with the script that looks for it."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "python", tmp_path / ".ci")
    (tmp_path / ".python-version").write_text(f"{NOBODYS}\n")
    return tmp_path


def installed(folder: Path, version: str) -> Path:
    """Put a Python where pyenv would have it, and not on the PATH."""
    program = folder / "pyenv" / "versions" / version / "bin" / f"python{version.rpartition('.')[0]}"
    program.parent.mkdir(parents=True)
    program.touch()
    return program


def look(folder: Path, *version: str) -> subprocess.CompletedProcess[str]:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None
    # Nothing that uv could find: neither on the PATH nor among those that it installed or could download.
    programs = folder / "programs"
    programs.mkdir()
    for name in ("bash", "dirname", "sort", "tail"):
        (programs / name).symlink_to(shutil.which(name) or name)
    environment = {
        "HOME": str(folder),
        "PATH": str(programs),
        "PYENV_ROOT": str(folder / "pyenv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
    }
    command = ["bash", str(folder / ".ci" / "python"), uv, *version]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_python_that_only_pyenv_knows_is_found(copy: Path) -> None:
    installed(copy, f"{NOBODYS}.9")
    newest = installed(copy, f"{NOBODYS}.10")
    done = look(copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{newest}\n", "")


def test_without_the_images_python_the_nearest_is_used_with_a_notice(copy: Path) -> None:
    installed(copy, "3.11.7")
    nearest = installed(copy, "3.12.1")
    done = look(copy)
    assert (done.returncode, done.stdout) == (0, f"{nearest}\n")
    assert f"NOTICE: Python {NOBODYS}" in done.stderr
    assert "using Python 3.12 instead" in done.stderr
    assert f"uv python install {NOBODYS}" in done.stderr


def test_without_any_python_the_remedy_is_named(copy: Path) -> None:
    done = look(copy)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Python {NOBODYS} is required" in done.stderr
    assert "set UV_PYTHON to its path" in done.stderr


def test_no_other_python_stands_in_for_the_oldest(copy: Path) -> None:
    installed(copy, "3.12.1")
    done = look(copy, NOBODYS)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_oldest_python_is_the_same_for_users_tests_types_and_lint() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = re.search(r"^OLDEST = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    oldest = found[1]
    assert project["project"]["requires-python"] == f">={oldest}"
    assert project["tool"]["mypy"]["python_version"] == oldest
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_what_users_run_on_a_python_of_their_own_is_tested_on_the_oldest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    components = {package.partition("/")[0].replace("-", "_") for package in packages}
    found = re.search(r"^OLDEST_TESTS = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    # Beside the wheel the client's own, and what `make up` runs.
    assert set(found[1].split()) == {f"tests/{name}" for name in {*components, "client", "localcluster"}}


def test_a_report_says_whether_its_python_was_optimised() -> None:
    assert re.search(r"\d, (not )?optimised$", built())
